"""Which model describes, and where: one line a host, so that nothing moves when a host begins."""

import streamlit as st

from enrich.control.status import Host, Status
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
        return ["No model: the baseline measures light, colours, sharpness and motion"]
    model = options.get("model") or settings.model
    hosts = options.get("hosts") or list(settings.ollama_hosts)
    at_work = {host.host: host for host in found.hosts} if found.is_running else {}
    known = found.run.reason if found.run is not None else None
    lines = [f"{model} at {host}{_doing(at_work[host], known) if host in at_work else ''}" for host in hosts]
    lines += [host.warning for host in at_work.values() if host.warning]
    return lines


def _doing(host: Host, known: str | None) -> str:
    """What a host is doing; why it does not work, unless the worker gives that as its own reason."""
    if host.state == "open":
        return f": {counted(len(host.calls), 'frame')} in hand"
    reason = f": {first_line(host.reason, LONGEST_REASON)}" if host.reason and host.reason != known else ""
    return f" {HOST_STATES.get(host.state, host.state)}{reason}"


HOST_STATES = {
    "preparing": "is loading the model",
    "resting": "is left alone for a moment",
    "closed": "is not asked now",
}
