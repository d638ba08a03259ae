"""The worker's state in plain words, the controls that fit it, and the fragment that keeps a page up to date.

Live fragments hold no widgets. Everything with widgets is drawn by the page, which the status line's fragment reruns
within about a second when the state it was drawn for changes: by another tab, a terminal or the worker itself.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, assert_never

import streamlit as st

from db import runs
from db.models import HostState, RunState
from db.runs import RunRow
from enrich.clock import format_deadline
from enrich.control.status import Status, WorkerHealth
from enrich.control.status_wording import finished_text, is_finished, problems, work_text
from enrich.wording import one_line, printable
from pages.parts.overview.controls import WorkerControl, as_sentence
from pages.parts.overview.requests import RequestJob, WorkerRequest, failed_request, is_paused, request_in_flight
from pages.parts.overview.status import OverviewStatus, read_overview
from pages.parts.readiness import MissingRequirement, is_ready, missing_requirement
from pages.parts.session import live, settings

REASON_CHARACTERS = 300
REFRESH = "1s"

Tone = Literal["green", "orange", "red", "gray", "blue"]


@dataclass(frozen=True, slots=True)
class StateText:
    """A state: one or two words, a colour, and a sentence that may contain names of files and servers."""

    name: str
    tone: Tone
    sentence: str


IN_FLIGHT = {
    WorkerRequest.START: StateText("Starting…", "blue", "The worker is starting."),
    WorkerRequest.STOP: StateText("Stopping…", "orange", "Finishing current frames, then stopping."),
    WorkerRequest.PAUSE: StateText("Pausing…", "orange", "Finishing current frames, then pausing."),
    WorkerRequest.RESUME: StateText("Resuming…", "blue", "The worker is resuming."),
}


def available_requests(found: Status) -> tuple[WorkerRequest, ...]:
    """The requests that the worker's state allows."""
    match found.health:
        case WorkerHealth.NONE:
            return (WorkerRequest.START,)
        case WorkerHealth.CRASHED:
            return (WorkerRequest.STOP,) if found.is_supervised else (WorkerRequest.START,)
        case WorkerHealth.SILENT:
            return (WorkerRequest.STOP,)
        case WorkerHealth.WELL | WorkerHealth.STALLED:
            if not _is_stopping(found):
                return (_pause_or_resume(found), WorkerRequest.STOP)
            return (WorkerRequest.STOP,) if found.is_stalled else ()
        case _:
            assert_never(found.health)


def worker_controls(found: Status, in_flight: WorkerRequest | None) -> tuple[WorkerControl, ...]:
    """The buttons to draw. All are disabled while a request is in flight, or if the state allows none."""
    available = available_requests(found)
    is_enabled = in_flight is None and bool(available)
    drawn = available or (_pause_or_resume(found), WorkerRequest.STOP)
    return tuple(WorkerControl(request, is_enabled=is_enabled) for request in drawn)


def state_text(found: Status, in_flight: WorkerRequest | None = None) -> StateText:
    """What the worker is doing."""
    if in_flight is not None:
        return IN_FLIGHT[in_flight]
    run = found.run
    if not found.videos and not found.is_running:
        return StateText("Empty", "gray", "The library is empty. Three steps make your videos searchable.")
    if run is None:
        return StateText("Not started", "gray", "Press Start. Processing continues when you close this page.")
    match found.health:
        case WorkerHealth.NONE:
            return _ended(found, run)
        case WorkerHealth.CRASHED | WorkerHealth.SILENT | WorkerHealth.STALLED:
            return _unhealthy(found, run)
        case WorkerHealth.WELL:
            return _running(found, run)
        case _:
            assert_never(found.health)


def _pause_or_resume(found: Status) -> WorkerRequest:
    return WorkerRequest.RESUME if is_paused(found) else WorkerRequest.PAUSE


def _is_stopping(found: Status) -> bool:
    requested = found.run.requested if found.run is not None else None
    return found.is_running and (requested == runs.STOP or found.state is RunState.STOPPING)


def _ended(found: Status, run: RunRow) -> StateText:
    if run.error:
        return StateText("Stopped", "red", f"{_error(run)} Press Start to continue.")
    if is_finished(found):
        return StateText("Finished", "orange" if problems(found) else "green", finished_text(found))
    since = f"{run.heartbeat_at.astimezone():%d %B %H:%M}".lstrip("0")
    return StateText("Stopped", "gray", f"Last active {since}. Press Start to continue.")


def _unhealthy(found: Status, run: RunRow) -> StateText:
    if found.health is WorkerHealth.CRASHED:
        next_step = "It restarts automatically." if found.is_supervised else "Press Start to continue."
        return StateText("Crashed", "red", f"{_error(run)} {next_step}")
    if found.health is WorkerHealth.SILENT:
        since = f"{run.heartbeat_at.astimezone():%H:%M}"
        return StateText("Not responding", "red", f"Last heartbeat at {since}. Press Stop, then Start.")
    return StateText("Stalled", "orange", f"{as_sentence(str(found.stalls[0]))} Press Stop, then Start.")


def _error(run: RunRow) -> str:
    return as_sentence(one_line(run.error or "the worker process has ended", REASON_CHARACTERS))


def _running(found: Status, run: RunRow) -> StateText:
    if run.requested is not None and run.state is not RunState.STOPPING:
        return IN_FLIGHT[WorkerRequest(run.requested)]
    match run.state:
        case RunState.STOPPING:
            return IN_FLIGHT[WorkerRequest.STOP]
        case RunState.STARTING:
            return IN_FLIGHT[WorkerRequest.START]
        case RunState.PAUSED:
            return StateText("Paused", "gray", "The model is unloaded, its memory is free. Press Resume to continue.")
        case RunState.WAITING:
            reason = one_line(run.reason, REASON_CHARACTERS)
            return StateText("Waiting", "orange", as_sentence(reason) if reason else "Waiting for more videos.")
        case _:
            name = "Done" if _is_idle(found) else "Working"
            tone: Tone = "orange" if _is_idle(found) and problems(found) else "green"
            return StateText(name, tone, f"{_activity(found)}{_stop_time_sentence(found.until)}")


def _is_idle(found: Status) -> bool:
    """Whether a running worker has nothing to do."""
    return work_text(found) is None and is_finished(found)


def _activity(found: Status) -> str:
    if _is_idle(found):
        return f"{finished_text(found)} Waiting for more videos."
    return work_text(found) or "Preparing the next videos."


def _stop_time_sentence(end: datetime | None) -> str:
    return "" if end is None else f" Stops at {format_deadline(end, datetime.now(UTC))}."


@dataclass(frozen=True, slots=True)
class PageState:
    """The state a page was drawn for; the page is drawn again when it changes."""

    name: str  # of the worker's state: the figures beside it must be of the same moment
    in_flight: WorkerRequest | None
    controls: tuple[WorkerControl, ...]
    failed_request: RequestJob | None
    is_live: bool
    missing: MissingRequirement | None
    is_ready: bool  # the model was found on every host
    failures: tuple[tuple[str, int], ...]
    waiting: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]  # while live fragments show the numbers: only whether there are any

    @property
    def can_start(self) -> bool:
        """Whether a worker can be started now."""
        return WorkerControl(WorkerRequest.START, is_enabled=True) in self.controls


def page_state(now: OverviewStatus) -> PageState:
    """The state to draw the page for."""
    found = now.status
    in_flight = request_in_flight(found, now.request)
    is_live = found.is_running or found.is_supervised or in_flight is not None
    counts = (found.videos, found.videos_decoded, found.frames, found.described, found.videos_enriched)
    is_serving = found.is_running and all(host.state == HostState.SERVING for host in found.hosts) and bool(found.hosts)
    return PageState(
        name=state_text(found, in_flight).name,
        in_flight=in_flight,
        controls=worker_controls(found, in_flight),
        failed_request=failed_request(found, now.request),
        is_live=is_live,
        missing=None if is_serving else missing_requirement(settings(), is_uncertain=found.is_running),
        is_ready=is_serving or is_ready(settings()),
        failures=tuple(found.failures),
        waiting=tuple(found.waiting),
        counts=(found.videos > 0, found.described > 0) if is_live else counts,
    )


def draw_status_line(drawn: PageState) -> None:
    """The worker's state in words. Its fragment also reruns the page when the state changes."""
    live(run_every=REFRESH)(_status_line)(drawn)


def _status_line(drawn: PageState) -> None:
    now = read_overview()
    if page_state(now) != drawn:
        st.rerun()
    text = state_text(now.status, drawn.in_flight)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(text.name, color=text.tone)
        st.text(printable(text.sentence), width="stretch")
