"""Watching for changes from elsewhere: another tab, a terminal, the worker itself.

Live parts draw themselves anew and hold no widgets. What holds widgets is drawn by the page; this has the page drawn
again, some 1 s later, when other buttons fit than are there, or other parts are to be live.

What can be asked of the worker in the state it is in, and what that state is in plain words.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, assert_never

import streamlit as st

from db import runs
from db.models import HostState, RunState
from db.runs import RunRow
from enrich.clock import said_end
from enrich.control.status import Status, WorkerHealth
from enrich.wording import first_line
from pages.parts.overview.status import OverviewStatus, read_overview
from pages.parts.plain import shown
from pages.parts.readiness import MissingRequirement, missing_requirement
from pages.parts.session import settings

LONGEST_REASON = 300  # characters
Tone = Literal["green", "orange", "red", "gray", "blue"]
EVERY = "1s"


class WorkerRequest(StrEnum):
    """What can be asked of the worker."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class StateText:
    """A state: a word or two, its tone, and a sentence, which may hold what files and servers are called."""

    name: str
    tone: Tone
    sentence: str


NOTHING_LEFT = "Nothing is left to describe. It waits for more films."

ASKED = {  # what a worker was asked for and has not done yet
    runs.STOP: StateText("Stopping", "orange", "The frames in hand get some seconds to be done."),
    runs.PAUSE: StateText("Pausing", "orange", "The frames in hand are still finished."),
    runs.RESUME: StateText("Resuming", "blue", "It goes on in a moment."),
}


def fitting(found: Status) -> tuple[WorkerRequest, ...]:
    """What can be asked of the worker now."""
    match found.health:
        case WorkerHealth.NONE:
            return (WorkerRequest.START,)
        case WorkerHealth.CRASHED:
            return (WorkerRequest.STOP,) if found.is_supervised else (WorkerRequest.START,)
        case WorkerHealth.SILENT:
            return (WorkerRequest.STOP,)
        case WorkerHealth.WELL | WorkerHealth.STALLED:
            asked = found.run.requested if found.run is not None else None
            if asked == runs.STOP or found.state is RunState.STOPPING:
                return ()
            paused = asked == runs.PAUSE or (found.state is RunState.PAUSED and asked != runs.RESUME)
            return (WorkerRequest.RESUME if paused else WorkerRequest.PAUSE, WorkerRequest.STOP)
        case _:
            assert_never(found.health)


def words(found: Status) -> StateText:
    """What the worker is doing."""
    run = found.run
    if not found.videos and not found.is_running:
        return StateText("Empty", "gray", "The library is empty. Three steps, and your films can be searched.")
    if run is None:
        return StateText(
            "Not started", "gray", "Press Start: it works in the background, also when this page is closed."
        )
    match found.health:
        case WorkerHealth.NONE:
            return _ended(found, run)
        case WorkerHealth.CRASHED | WorkerHealth.SILENT | WorkerHealth.STALLED:
            return _in_trouble(found, run)
        case WorkerHealth.WELL:
            return _at_work(found, run)
        case _:
            assert_never(found.health)


def until(run: RunRow | None) -> datetime | None:
    """When a run ends by itself, None if it has no such end."""
    end = run.options.get("until") if run is not None else None
    return datetime.fromisoformat(end) if end else None


def _ended(found: Status, run: RunRow) -> StateText:
    if run.error:
        return StateText("Stopped", "red", f"{first_line(run.error, LONGEST_REASON)}. Start goes on where it was.")
    if not found.left and found.videos_decoded == found.videos:
        return StateText("Finished", "green", "Nothing is left to describe.")
    since = f"{run.heartbeat_at.astimezone():%d %B %H:%M}".lstrip("0")
    return StateText("Stopped", "gray", f"It worked until {since}. Start goes on where it was.")


def _in_trouble(found: Status, run: RunRow) -> StateText:
    if found.health is WorkerHealth.CRASHED:
        again = "It is started again by itself." if found.is_supervised else "Start goes on where it was."
        return StateText("Crashed", "red", f"{first_line(run.error or 'Its process is gone')}. {again}")
    if found.health is WorkerHealth.SILENT:
        return StateText(
            "No sign of life", "red", f"Nothing was heard of it since {run.heartbeat_at.astimezone():%H:%M}."
        )
    return StateText("Stalled", "orange", f"It does not get on with {found.stalls[0]}. Stop and start may help.")


def _at_work(found: Status, run: RunRow) -> StateText:
    if run.requested is not None and run.state is not RunState.STOPPING:
        return ASKED[run.requested]
    reason = first_line(run.reason, LONGEST_REASON)
    match run.state:
        case RunState.STOPPING:
            return ASKED[runs.STOP]
        case RunState.STARTING:
            return StateText("Starting", "blue", "It begins in a moment.")
        case RunState.PAUSED:
            return StateText("Paused", "gray", "The model's memory is free for other work. Resume goes on.")
        case RunState.WAITING:
            return StateText("Waiting", "orange", reason or "It waits for more to do.")
        case _:
            name = "Done" if _is_idle(found) else "Working"
            return StateText(name, "green", f"{_work(found)}{_end(run)}")


def _is_idle(found: Status) -> bool:
    """Whether a worker that runs has nothing to do."""
    is_busy = found.video is not None or any(host.calls or host.state == HostState.PROBING for host in found.hosts)
    return not is_busy and not found.left and found.videos_decoded == found.videos


def _work(found: Status) -> str:
    calls = sum(len(host.calls) for host in found.hosts)
    if found.video is not None:
        return f"It reads {found.video} and describes frames." if calls else f"It reads {found.video}."
    if any(host.state == HostState.PROBING for host in found.hosts):
        return "The model is being loaded."
    return NOTHING_LEFT if _is_idle(found) else "It describes frames."


def _end(run: RunRow) -> str:
    end = until(run)
    return "" if end is None else f" It ends by itself at {said_end(end, datetime.now(UTC))}."


@dataclass(frozen=True, slots=True)
class PageState:
    """What a page is drawn for: as long as it is the same, the page need not be drawn again."""

    wishes: tuple[WorkerRequest, ...]
    is_live: bool
    lack: MissingRequirement | None
    failures: tuple[tuple[str, int], ...]
    waiting: tuple[tuple[str, str], ...]
    counts: tuple[int, ...]  # where live parts show them: only whether there is anything


def scene(now: OverviewStatus) -> PageState:
    """What the page is to be drawn for now."""
    found = now.status
    is_live = found.is_running or found.is_supervised
    counts = (found.videos, found.videos_decoded, found.frames, found.described, found.videos_enriched)
    is_at_work = found.is_running and all(host.state == HostState.SERVING for host in found.hosts) and bool(found.hosts)
    return PageState(
        wishes=fitting(found),
        is_live=is_live,
        lack=None if is_at_work else missing_requirement(settings(), is_doubtful=found.is_running),
        failures=tuple(found.failures),
        waiting=tuple(found.waiting),
        counts=(found.videos > 0, found.described > 0) if is_live else counts,
    )


def draw_standing(drawn: PageState) -> None:
    """What the worker is doing, in words; and the watch."""
    st.fragment(_standing, run_every=EVERY)(drawn)


def _standing(drawn: PageState) -> None:
    now = read_overview()
    if scene(now) != drawn:
        st.rerun()
    said = words(now.status)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(said.name, color=said.tone)
        st.text(shown(said.sentence), width="stretch")
