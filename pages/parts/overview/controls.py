"""Start, pause, resume, stop: only what fits the state, and the same in every tab.

What the worker does is read from the library, never remembered here. A tab keeps only what its own last click came to.
"""

from collections.abc import Callable
from datetime import datetime

import streamlit as st

from enrich.control import control
from enrich.errors import EveryFrameError
from pages.parts.overview.state import WorkerRequest
from pages.parts.overview.status import refresh_overview
from pages.parts.plain import plain
from pages.parts.session import settings

TROUBLE = "trouble with the worker"  # the sentence that the last click came to, if it failed

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
# Every button has its place, or one would move away under the pointer while another one comes and goes.
PLACES = """<style>
.st-key-controls { display: grid; grid-template-columns: repeat(2, 8.5rem); }
.st-key-controls > * { width: 100% !important; grid-row: 1; grid-column: 1; }
.st-key-controls > .st-key-wish-stop { grid-column: 2; }
</style>"""
BUSY = {
    WorkerRequest.START: "Starting …",
    WorkerRequest.PAUSE: "Pausing: the frames in hand are still finished …",
    WorkerRequest.RESUME: "Resuming …",
    WorkerRequest.STOP: "Stopping: the frames in hand get some seconds …",
}


def draw_controls(wishes: tuple[WorkerRequest, ...]) -> None:
    """The buttons for what can be asked of the worker."""
    st.html(PLACES)
    with st.container(horizontal=True, key="controls"):
        for wish in wishes:
            st.button(
                LABELS[wish],
                key=f"wish-{wish}",
                icon=ICONS[wish],
                shortcut=SHORTCUTS[wish],
                type="primary" if wish in (WorkerRequest.START, WorkerRequest.RESUME) else "secondary",
                on_click=carry_out,
                args=[wish],
                width="stretch",
            )
    if trouble := st.session_state.get(TROUBLE):
        st.error(plain(trouble))


def carry_out(wish: WorkerRequest, until: datetime | None = None) -> None:
    """Ask the worker for something, and say so while it takes; `until`: when a start is to end by itself."""
    st.session_state.pop(TROUBLE, None)
    said = st.toast(BUSY[wish], icon=ICONS[wish], duration="infinite")
    try:
        said.toast(_ask(wish, until), icon=":material/check:")
    except EveryFrameError as error:
        st.session_state[TROUBLE] = _sentence(str(error))
        said.toast("That did not work.", icon=":material/error:")
    refresh_overview()


def _ask(wish: WorkerRequest, until: datetime | None) -> str:
    """What came of a wish. Raises EveryFrameError."""
    found = settings()
    if wish is WorkerRequest.START:
        started = control.start(found) if until is None else control.start(found, until=until)
        return "It was running already." if started.was_running else "It works in the background now."
    if wish is WorkerRequest.STOP:
        stopped = control.stop(found)
        if stopped is None:
            return "It had stopped already."
        return "It had to be ended; what is described stays." if stopped.was_killed else "It has stopped."
    ask: Callable[..., control.RequestResult] = control.pause if wish is WorkerRequest.PAUSE else control.resume
    if not ask(found).is_done:
        return "It was asked, and will do so in a moment."
    return "It is paused." if wish is WorkerRequest.PAUSE else "It goes on."


def _sentence(text: str) -> str:
    """An error as a sentence; commands in it stay as they are."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "`")) else f"{text}."
