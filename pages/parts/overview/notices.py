"""What failed, grouped by why, with buttons that try again; and films that wait for something.

How to begin, for an empty library; and what to do where Ollama or the model is missing.
"""

import streamlit as st

from db import store
from enrich.control.status import Status
from enrich.settings import Settings
from enrich.wording import counted, first_line
from pages.parts.overview.status import refresh_overview
from pages.parts.plain import plain, shown
from pages.parts.readiness import MissingRequirement, draw_pull, last_pull
from pages.parts.session import writing

OLLAMA = "https://ollama.com/download"
LONGEST = 300  # characters
SHOWN = 8  # reasons, and films that wait
LONGEST_REASON = 200  # characters
RETRIED = "how much was put back"


def draw_first_steps(settings: Settings, lack: MissingRequirement | None) -> None:
    """Three steps."""
    st.subheader("1. A model that sees", anchor=False)
    if lack is None:
        model = "the baseline, which needs no model" if settings.describer == "baseline" else plain(settings.model)
        st.markdown(f"Your frames are described on this machine by {model}. Nothing leaves it.")
    else:
        draw_lack(settings, lack)
    st.subheader("2. Your films", anchor=False)
    st.markdown("Add films or whole folders. They are only ever read.")
    st.page_link("pages/library.py", label="Add films", icon=":material/video_library:")
    st.subheader("3. Start", anchor=False)
    st.markdown(
        "Then press Start on this page. It works in the background, and what is described can be searched at once."
    )


def draw_lack(settings: Settings, lack: MissingRequirement) -> None:
    """What is missing, and the button or the link that mends it."""
    with st.container(border=True, key="lack"):
        st.warning(plain(first_line(lack.sentence, LONGEST)))
        pulled = last_pull(settings, settings.model)
        if lack.model is not None or (pulled is not None and pulled.is_running):
            draw_pull(settings, settings.model)
        elif lack.is_away:
            st.markdown("Start Ollama there, or install it first. This page notices by itself.")
            st.link_button("Get Ollama", OLLAMA, icon=":material/open_in_new:")
        else:
            st.page_link("pages/models.py", label="Choose a model", icon=":material/arrow_forward:")


def draw_failures(found: Status) -> None:
    """The failures of the library; nothing where there is none."""
    if found.failures:
        st.subheader("What failed", anchor=False)
        for number, (reason, count) in enumerate(found.failures[:SHOWN]):
            _row(f"{count:,} × {shown(first_line(reason, LONGEST_REASON))}", reason, f"retry-{number}")
        if len(found.failures) > 1:
            st.button("Try all again", key="retry-all", on_click=retry, icon=":material/refresh:")
    if found.waiting:
        st.subheader("Films that wait", anchor=False)
        for title, why in found.waiting[:SHOWN]:
            st.text(f"{shown(title)}: {shown(first_line(why, LONGEST_REASON))}")
        st.page_link("pages/library.py", label="To the Library", icon=":material/arrow_forward:")


def retry(reason: str | None = None) -> None:
    """Put back what failed for a reason, or all."""
    with writing() as connection:
        count = store.retry(connection, reason=reason)
    st.toast(f"{counted(count, 'frame')} will be tried again.", icon=":material/refresh:")
    refresh_overview()


def _row(text: str, reason: str, key: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"row-{key}"):
        st.text(text, width="stretch")
        st.button(
            "Try again",
            key=key,
            on_click=retry,
            args=[reason],
            icon=":material/refresh:",
            help="With the next start, or at once while it works",
        )
