"""The frame of the dashboard. `streamlit run app.py` serves `app`, and runs this file for every tab.

It checks the library and hands over to a page.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pages.parts.plain import shown
from pages.parts.session import library_problem
from pages.parts.web.access import access_middleware
from pages.parts.web.routes import routes

# Two things that Streamlit writes too faintly, what is chosen in a row of choices and the key on a coloured button; and
# the empty room it leaves above a title and below a page's end.
READABLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 4.5rem; padding-bottom: 3rem; }
[data-testid=stButtonGroup] button, [data-testid=stBaseButton-primary] kbd { color: inherit !important; }
</style>"""
app = st.App(__file__, routes=routes(), middleware=access_middleware())
PagesManager.uses_pages_directory = False  # or a first visitor's link to a page would show it without this frame


def draw() -> None:
    """Draw what a tab shows."""
    st.set_page_config(page_title="EveryFrame", layout="wide")
    page = st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", default=True),
            st.Page("pages/library.py", title="Library"),
            st.Page("pages/frames.py", title="Frames"),
            st.Page("pages/search.py", title="Search"),
            st.Page("pages/models.py", title="Models"),
            st.Page("pages/costs.py", title="Costs"),
            st.Page("pages/setup.py", title="Setup"),
        ],
        position="top",
    )
    st.html(READABLE)
    if problem := library_problem():
        st.title("EveryFrame")
        st.error("The library cannot be opened.")
        st.text(shown(problem))
    else:
        page.run()


if __name__ == "__main__":
    draw()
