"""What the Search page shows without results: search tips, and why nothing was found."""

import streamlit as st

from pages.parts.plain import plain
from pages.parts.search.query import SearchQuery, clear_filters

QUOTED_CHARACTERS = 60
TIPS = """
- Describe what can be *seen*: `dance`, `white dress garden`, `children cake`. Results contain all words, in any order.
- Put an exact phrase in quotes: `"cutting the cake"`.
- End a word with a star to match its beginning: `danc*` finds dancing, dancers, danced.
- Frames with your own corrections come first.
"""
NO_RESULT_TIPS = """
- Descriptions contain what can be *seen*: try `woman in a white dress` instead of a name.
- Use fewer words, or another word for the same thing: `couch` instead of `sofa`.
- End a word with a star to match its beginning: `danc*` finds dancing, dancers, danced.
"""


def draw_tips(*, has_videos: bool, has_descriptions: bool, is_describing: bool) -> None:
    """Explain how to search, or why there is nothing to search yet."""
    if has_descriptions:
        st.markdown(TIPS)
    else:
        _draw_nothing_described(has_videos=has_videos, is_describing=is_describing)


def draw_no_results(query: SearchQuery, *, has_videos: bool, has_descriptions: bool, is_describing: bool) -> None:
    """Explain why nothing was found, and what to try next."""
    if not has_descriptions:
        _draw_nothing_described(has_videos=has_videos, is_describing=is_describing)
        return
    words = f"“{plain(query.words, QUOTED_CHARACTERS)}”" if query.words else ""
    tag = f"the tag “{plain(query.tag, QUOTED_CHARACTERS)}”" if query.tag else ""
    filters = " with these filters" if query.is_filtered and not (tag and not words) else ""
    st.info(f"No results for {words or tag}{filters}.")
    if query.is_filtered:
        st.button("Clear filters", on_click=clear_filters, args=[query])
    if is_describing:
        st.caption("Frames are still being described. New results appear automatically.")
    st.markdown(NO_RESULT_TIPS)


def _draw_nothing_described(*, has_videos: bool, is_describing: bool) -> None:
    if is_describing:
        st.info("No frames are described yet. Results appear as soon as the first ones are.")
    elif has_videos:
        st.info("No frames are described yet. Press Start on the Overview page.")
        st.page_link("pages/overview.py", label="Go to Overview")
    else:
        st.info("The library is empty. Add videos on the Library page.")
        st.page_link("pages/library.py", label="Go to Library")
