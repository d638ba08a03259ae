"""Be ready by: the end of a night's work, and what it will reach by then.

What is worked out is said with the time it was worked out at: it is not changed while somebody reads it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time

import streamlit as st

from enrich.clock import next_clock, said_end
from enrich.jobs.command import run_command
from enrich.wording import first_line
from pages.parts.overview.controls import carry_out
from pages.parts.overview.state import WorkerRequest
from pages.parts.plain import shown
from pages.parts.session import settings

TIME = "ready-by"
REACH = "what the night will reach"
STEP_SECONDS = 900
LONGEST = 300  # characters


@dataclass(frozen=True, slots=True)
class ReachableCoverage:
    """What is described by a moment, in a sentence, as worked out at another."""

    until: datetime
    sentence: str
    at: datetime


def draw_ready_by(*, may_start: bool, end: datetime | None) -> None:
    """A time, what will be reached by it, and, where nothing runs, a start that ends then.

    `end`: when what runs will end by itself.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", key="ready-by-row"):
        st.time_input(
            "Be ready by",
            value=None,
            key=TIME,
            step=STEP_SECONDS,
            width=200,
            on_change=work_out,
            help="The whole library is covered evenly until then, ever finer; nothing new is begun after it",
        )
        reach: ReachableCoverage | None = st.session_state.get(REACH)
        if reach is not None and may_start:
            st.button(
                f"Start until {said_end(reach.until, datetime.now(UTC))}",
                key="start-until",
                icon=":material/schedule:",
                on_click=start_until,
            )
    if reach is not None:
        st.text(f"{shown(reach.sentence)} (worked out at {reach.at.astimezone():%H:%M})")
        if not may_start:
            has = "until all is done" if end is None else f"until {said_end(end, datetime.now(UTC))}"
            st.caption(f"It works {has}. To give it this end, stop it and start it again here.")


def work_out() -> None:
    """What will be reached by the time that was chosen."""
    chosen: time | None = st.session_state[TIME]
    if chosen is None:
        st.session_state.pop(REACH, None)
        return
    now = datetime.now(UTC)
    said = st.toast("Working out what that will reach …", duration="infinite")
    outcome = run_command(settings(), "plan", "--by", f"{chosen:%H:%M}", seconds=30)
    data = outcome.data if isinstance(outcome.data, dict) else {}
    sentence = data.get("text") or data.get("reason") or outcome.error
    st.session_state[REACH] = ReachableCoverage(
        next_clock(chosen, now), first_line(_capital(str(sentence)), LONGEST), now
    )
    said.toast("Worked out.", duration="short")


def start_until() -> None:
    """Start, and end at the time that was chosen."""
    chosen: time | None = st.session_state[TIME]
    if chosen is not None:
        carry_out(WorkerRequest.START, next_clock(chosen, datetime.now(UTC)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
