"""What the Search page says where it has nothing to show: how to look, and why nothing was found."""

import streamlit as st

from pages.parts.plain import plain
from pages.parts.search.query import SearchQuery, widen

WORDS_CHARACTERS = 60
HOW = """
- Write what can be *seen*: `dance`, `white dress garden`, `children cake`. All of the words must fit, in any order.
- Words in quotes stay together: `"cutting the cake"`.
- The beginning of a word with a star finds all that begins with it: `danc*` finds dancing, dancers, danced.
- What you have corrected yourself comes first.
"""
INSTEAD = """
- Descriptions say what can be *seen*: try `woman in a white dress` rather than a name.
- Fewer words find more, and the model may use another word for the same thing: `couch` for `sofa`.
- The beginning of a word with a star finds all that begins with it: `danc*` finds dancing, dancers, danced.
"""


def show_hints(*, has_films: bool, is_described: bool, is_working: bool) -> None:
    """How to look for something."""
    if is_described:
        st.markdown(HOW)
    else:
        _show_undescribed(has_films=has_films, is_working=is_working)


def show_nothing(wanted: SearchQuery, *, has_films: bool, is_described: bool, is_working: bool) -> None:
    """Why nothing was found, and what to do."""
    if not is_described:
        _show_undescribed(has_films=has_films, is_working=is_working)
        return
    words = f"“{plain(wanted.words, WORDS_CHARACTERS)}”" if wanted.words else ""
    tag = f"the tag “{plain(wanted.tag, WORDS_CHARACTERS)}”" if wanted.tag else ""
    filters = " with these filters" if wanted.is_narrowed and not (tag and not words) else ""
    st.info(f"Nothing was found for {words or tag}{filters}.")
    if wanted.is_narrowed:
        st.button("Look everywhere", on_click=widen, args=[wanted])
    if is_working:
        st.caption("Frames are still being described. What fits appears here by itself.")
    st.markdown(INSTEAD)


def _show_undescribed(*, has_films: bool, is_working: bool) -> None:
    if is_working:
        st.info("Nothing is described yet. Frames can be found here as soon as they are described.")
    elif has_films:
        st.info("Nothing is described yet, so there is nothing to find. Start the work on the Overview page.")
        st.page_link("pages/overview.py", label="To the Overview")
    else:
        st.info("The library is empty, so there is nothing to find. Add your films on the Library page.")
        st.page_link("pages/library.py", label="To the Library")
