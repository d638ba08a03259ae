"""The buttons Start, Pause, Resume and Stop, each in a fixed place: those that fit the worker's state."""

from dataclasses import dataclass
from datetime import time

import streamlit as st

from enrich.errors import EveryFrameError
from pages.parts.overview.requests import RequestJob, WorkerRequest, dismiss_request, send_request
from pages.parts.overview.status import refresh_overview
from pages.parts.plain import plain
from pages.parts.session import settings

SEND_FAILED = "worker request failed"  # why this tab's last click could not start a process

LABELS = {
    WorkerRequest.START: "Start",
    WorkerRequest.PAUSE: "Pause",
    WorkerRequest.RESUME: "Resume",
    WorkerRequest.STOP: "Stop",
}
ICONS = {
    WorkerRequest.START: ":material/play_arrow:",
    WorkerRequest.PAUSE: ":material/pause:",
    WorkerRequest.RESUME: ":material/play_arrow:",
    WorkerRequest.STOP: ":material/stop:",
}
SHORTCUTS = {WorkerRequest.START: "s", WorkerRequest.PAUSE: "p", WorkerRequest.RESUME: "p", WorkerRequest.STOP: "x"}
# Every button has a fixed place, so that none moves under the pointer when another appears or disappears.
FIXED_PLACES = """<style>
.st-key-controls { display: grid; grid-template-columns: repeat(2, 8.5rem); }
.st-key-controls > * { width: 100% !important; grid-row: 1; grid-column: 1; }
.st-key-controls > .st-key-worker-stop { grid-column: 2; }
</style>"""


@dataclass(frozen=True, slots=True)
class WorkerControl:
    """A button, and whether it can be pressed now."""

    request: WorkerRequest
    is_enabled: bool


def draw_controls(controls: tuple[WorkerControl, ...], failed: RequestJob | None) -> None:
    """The buttons, and why the last request failed."""
    st.html(FIXED_PLACES)
    with st.container(horizontal=True, key="controls"):
        for control in controls:
            request = control.request
            st.button(
                LABELS[request],
                key=f"worker-{request}",
                icon=ICONS[request],
                shortcut=SHORTCUTS[request],
                type="primary" if request in (WorkerRequest.START, WorkerRequest.RESUME) else "secondary",
                disabled=not control.is_enabled,
                on_click=request_worker,
                args=[request],
                width="stretch",
            )
    if error := st.session_state.get(SEND_FAILED):
        st.error(plain(as_sentence(error)))
    if failed is not None:
        with st.container(horizontal=True, vertical_alignment="center", key="request-failed"):
            st.error(f"{LABELS[failed.request]} failed. {plain(as_sentence(failed.error))}")
            st.button("Dismiss", key=f"dismiss-{failed.id}", type="tertiary", on_click=_dismiss, args=[failed.id])


def request_worker(request: WorkerRequest, stop_at: time | None = None) -> None:
    """Send a request and return; the status line shows what comes of it. For callbacks."""
    st.session_state.pop(SEND_FAILED, None)
    try:
        send_request(settings(), request, stop_at=stop_at)
    except EveryFrameError as error:
        st.session_state[SEND_FAILED] = str(error)
    refresh_overview()


def _dismiss(job_id: str) -> None:
    dismiss_request(settings(), job_id)
    refresh_overview()


def as_sentence(text: str) -> str:
    """An error as a sentence; commands in it stay as they are."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "`")) else f"{text}."
