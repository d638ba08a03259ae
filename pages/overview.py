"""Overview: what is going on, how far it is, and the buttons that start and stop it."""

import streamlit as st

from pages.parts.controls import draw_controls
from pages.parts.failures import draw_failures
from pages.parts.figures import draw_cards
from pages.parts.first_steps import draw_first_steps, draw_lack
from pages.parts.hosts import draw_hosts
from pages.parts.latest import draw_latest
from pages.parts.minutes import draw_minutes
from pages.parts.now import look
from pages.parts.ready_by import draw_ready_by
from pages.parts.session import settings
from pages.parts.watch import EVERY, draw_standing, scene
from pages.parts.wishes import Wish


def figures() -> None:
    """The status cards, and who describes."""
    draw_cards(look(), settings())
    draw_hosts(look().status, settings())


def course() -> None:
    """The run so far, and what came of it last."""
    found = look().status
    if found.run is not None:
        st.subheader("Frames a minute", anchor=False)
        draw_minutes(found.run, is_running=found.is_running)
    st.subheader("Described last", anchor=False)
    draw_latest()


st.title("Overview")
now = look()
drawn = scene(now)
every = EVERY if drawn.is_live else None
draw_standing(drawn)
if not now.status.videos:
    draw_first_steps(settings(), drawn.lack)
else:
    draw_controls(drawn.wishes)
    if drawn.lack is not None:
        draw_lack(settings(), drawn.lack)
    st.fragment(figures, run_every=every)()
    draw_ready_by(may_start=Wish.START in drawn.wishes)
    draw_failures(now.status)
    st.fragment(course, run_every=every)()
