"""How to begin, for an empty library; and what to do where Ollama or the model is missing."""

import streamlit as st

from enrich.settings import Settings
from enrich.wording import first_line
from pages.parts.plain import plain
from pages.parts.pulling import draw_pull, last_pull
from pages.parts.readiness import Lack

OLLAMA = "https://ollama.com/download"
LONGEST = 300  # characters


def draw_first_steps(settings: Settings, lack: Lack | None) -> None:
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


def draw_lack(settings: Settings, lack: Lack) -> None:
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
