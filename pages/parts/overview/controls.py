"""The buttons Start, Pause, Resume and Stop, each in a fixed place, and a start that stops at a chosen time.

The buttons are those that fit the worker's state. The forecast for a time is calculated in the background and shown
with the time of its calculation, so that it does not change while it is being read.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import streamlit as st

from enrich.clock import format_deadline, next_occurrence
from enrich.errors import EveryFrameError
from enrich.wording import markdown_text, one_line, printable
from pages.parts.inquiry import follow, inquiries
from pages.parts.overview.requests import RequestJob, WorkerRequest, dismiss_request, send_request
from pages.parts.overview.status import refresh_overview
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
        st.error(markdown_text(as_sentence(error)))
    if failed is not None:
        with st.container(horizontal=True, vertical_alignment="center", key="request-failed"):
            st.error(f"{LABELS[failed.request]} failed. {markdown_text(as_sentence(failed.error))}")
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


TIME = "stop-at"
FRESH_SECONDS = 900.0
BAD_SECONDS = 8.0  # how long a failed forecast is shown; shorter, because the user may fix the problem at any moment
STEP_SECONDS = 900
FORECAST_CHARACTERS = 300


def draw_stop_at(*, can_start: bool, is_running: bool, end: datetime | None) -> None:
    """A time, a forecast for it, and, while no worker is running, a button that starts one until then.

    `end`: when the running worker stops by itself.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", key="stop-at-row"):
        chosen: time | None = st.time_input(
            "Stop at",
            value=None,
            key=TIME,
            step=STEP_SECONDS,
            width=200,
            help="Spreads the work evenly over all videos and stops at this time",
        )
        if chosen is not None and not is_running:
            st.button(
                f"Start until {format_deadline(next_occurrence(chosen, datetime.now(UTC)), datetime.now(UTC))}",
                key="start-until",
                icon=":material/schedule:",
                disabled=not can_start,
                on_click=request_worker,
                args=[WorkerRequest.START, chosen],
            )
    if chosen is None:
        return
    _draw_forecast(chosen)
    if is_running:
        runs = "has no stop time" if end is None else f"stops at {format_deadline(end, datetime.now(UTC))}"
        st.caption(f"The running worker {runs}. To change that, stop it and start it again here.")


def _draw_forecast(chosen: time) -> None:
    """What would be described by then; until that is calculated, a note that it is being calculated."""
    question = ("plan", "--by", f"{chosen:%H:%M}")
    answer = inquiries().ask(settings(), *question, fresh_seconds=FRESH_SECONDS)
    if answer.outcome is not None and not answer.outcome.is_good:
        answer = inquiries().ask(settings(), *question, fresh_seconds=BAD_SECONDS)
    outcome = answer.outcome
    if outcome is None or answer.is_asking:  # the last forecast may be for other settings
        st.text("Calculating how much can be described by then…")
        follow(settings(), *question)
        return
    data = outcome.data if isinstance(outcome.data, dict) else {}
    text = str(data.get("text") or data.get("reason") or outcome.error)
    sentence = one_line(text[:1].upper() + text[1:], FORECAST_CHARACTERS)
    calculated_at = datetime.now().astimezone() - timedelta(seconds=answer.age_seconds)
    st.text(f"{printable(sentence)} (calculated at {calculated_at:%H:%M})")
