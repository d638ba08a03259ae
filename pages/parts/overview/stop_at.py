"""The "Stop at" time: how much would be described by then, and a start that stops at that time.

The forecast is calculated in the background and shown with the time of its calculation, so that it does not change
while it is being read.
"""

from datetime import UTC, datetime, time, timedelta

import streamlit as st

from enrich.clock import format_deadline, next_occurrence
from enrich.wording import one_line
from pages.parts.inquiry import follow, inquiries
from pages.parts.overview.controls import request_worker
from pages.parts.overview.requests import WorkerRequest
from pages.parts.plain import shown
from pages.parts.session import settings

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
    st.text(f"{shown(sentence)} (calculated at {calculated_at:%H:%M})")
