"""Overview: the worker's state and controls, progress, failures, and the latest described frames."""

import streamlit as st

from pages.parts.overview.controls import draw_controls, draw_stop_at
from pages.parts.overview.figures import draw_cards, draw_hosts, draw_latest, draw_minutes
from pages.parts.overview.notices import draw_failures, draw_first_steps, draw_missing
from pages.parts.overview.state import draw_status_line, page_state
from pages.parts.overview.status import read_overview
from pages.parts.session import live, settings

REFRESH = "2s"
CHART_REFRESH = "10s"  # a bar is one minute
# Parts that refresh every 2 s must not fade meanwhile. Images have equal heights, those of upright videos too. The
# details of the cards are wrapped: Streamlit cuts them off after one line.
STYLE = """<style>
.st-key-overview [data-stale] { opacity: 1 !important; transition: none !important; }
.st-key-latest-frames img { height: 95px; object-fit: cover; }
.st-key-status-cards [data-testid="stMetricDelta"] { border-radius: 0.5rem; }
.st-key-status-cards [data-testid="stMetricDelta"] :is([data-testid="stMarkdownContainer"], p) { white-space: normal; }
</style>"""


def cards() -> None:
    """The status cards, and the model with its hosts."""
    draw_cards(read_overview(), settings())
    draw_hosts(read_overview().status, settings())


def chart() -> None:
    """Frames per minute in the last run."""
    found = read_overview().status
    if found.run is not None:
        draw_minutes(found.run, is_running=found.is_running)


now = read_overview()
state = page_state(now)
refresh = REFRESH if state.is_live else None
st.html(STYLE)
with st.container(key="overview"):
    st.title("Overview")
    draw_status_line(state)
    if not now.status.videos:
        if state.is_live:
            draw_controls(state.controls, state.failed_request)
        draw_first_steps(settings(), state.missing, is_ready=state.is_ready)
    else:
        draw_controls(state.controls, state.failed_request)
        if state.missing is not None:
            draw_missing(settings(), state.missing)
        live(run_every=refresh)(cards)()
        is_running = now.status.is_running or now.status.is_supervised
        draw_stop_at(can_start=state.can_start, is_running=is_running, end=now.status.until)
        draw_failures(now.status)
        if now.status.described:
            st.subheader("Latest frames", anchor=False)
            live(run_every=refresh)(draw_latest)()
        if now.status.run is not None:
            st.subheader("Frames per minute", anchor=False)
            live(run_every=CHART_REFRESH if state.is_live else None)(chart)()
