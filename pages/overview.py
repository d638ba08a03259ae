"""Overview: what is going on, how far it is, and the buttons that start and stop it."""

import streamlit as st

from pages.parts.overview.controls import draw_controls
from pages.parts.overview.figures import draw_cards, draw_hosts, draw_latest, draw_minutes
from pages.parts.overview.notices import draw_failures, draw_first_steps, draw_lack
from pages.parts.overview.ready_by import draw_ready_by
from pages.parts.overview.state import WorkerRequest, draw_standing, scene, until
from pages.parts.overview.status import read_overview
from pages.parts.session import settings

EVERY = "2s"
SLOWLY = "10s"  # a bar is a minute
# What is drawn anew every 2 s is not to fade meanwhile; pictures are as high as each other, upright films' too.
STEADY = """<style>
.st-key-overview [data-stale] { opacity: 1 !important; transition: none !important; }
.st-key-latest-frames img { height: 95px; object-fit: cover; }
</style>"""


def figures() -> None:
    """The status cards, and who describes."""
    draw_cards(read_overview(), settings())
    draw_hosts(read_overview().status, settings())


def course() -> None:
    """The run so far."""
    found = read_overview().status
    if found.run is not None:
        draw_minutes(found.run, is_running=found.is_running)


now = read_overview()
drawn = scene(now)
every = EVERY if drawn.is_live else None
st.html(STEADY)
with st.container(key="overview"):
    st.title("Overview")
    draw_standing(drawn)
    if not now.status.videos:
        if drawn.is_live:
            draw_controls(drawn.wishes)
        draw_first_steps(settings(), drawn.lack)
    else:
        draw_controls(drawn.wishes)
        if drawn.lack is not None:
            draw_lack(settings(), drawn.lack)
        st.fragment(figures, run_every=every)()
        draw_ready_by(may_start=WorkerRequest.START in drawn.wishes, end=until(now.status.run))
        draw_failures(now.status)
        if now.status.described:
            st.subheader("Described last", anchor=False)
            st.fragment(draw_latest, run_every=every)()
        if now.status.run is not None:
            st.subheader("Frames a minute", anchor=False)
            st.fragment(course, run_every=SLOWLY if drawn.is_live else None)()
