"""Which model describes, and where: one line, and one for each host that is in trouble."""

import streamlit as st

from enrich.manage.status import Host, Status
from enrich.settings import Settings
from enrich.wording import counted, first_line
from pages.parts.plain import shown

LONGEST_REASON = 200  # characters


def draw_hosts(found: Status, settings: Settings) -> None:
    """The model and the hosts: of the worker while one is there, else of the settings."""
    st.text("\n".join(shown(line) for line in host_lines(found, settings)))


def host_lines(found: Status, settings: Settings) -> list[str]:
    """What is said of the model and the hosts."""
    options = found.run.options if found.run is not None and found.is_running else {}
    describer = options.get("describer") or settings.describer
    if describer == "baseline":
        return ["Model: none, the baseline measures light, colours, sharpness and motion"]
    model = options.get("model") or settings.model
    hosts = options.get("hosts") or list(settings.ollama_hosts)
    lines = [f"Model: {model}, at {', '.join(hosts)}"]
    if found.is_running:
        lines += [_line(host) for host in found.hosts]
        lines += [host.warning for host in found.hosts if host.warning]
    return lines


def _line(host: Host) -> str:
    if host.state == "open":
        return f"{host.host}: {counted(len(host.calls), 'frame')} in hand, {counted(host.slots, 'call')} at once"
    reason = f": {first_line(host.reason, LONGEST_REASON)}" if host.reason else ""
    return f"{host.host}: {HOST_STATES.get(host.state, host.state)}{reason}"


HOST_STATES = {"preparing": "is loading the model", "resting": "rests", "closed": "is not asked now"}
