"""The dashboard's entry point: checks the library, then runs the chosen page.

`streamlit run app.py` serves `app` and runs this file for every tab.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from db.errors import StorageError
from enrich.process import keep_files_private
from enrich.wording import printable
from pages.parts.session import library_problem
from pages.parts.web.access import access_middleware, announced
from pages.parts.web.routes import routes

# More contrast for a selected segment and for the shortcut key on a coloured button; less padding around the page.
STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 4.5rem; padding-bottom: 3rem; }
[data-testid=stButtonGroup] button, [data-testid=stBaseButton-primary] kbd { color: inherit !important; }
</style>"""
keep_files_private()  # uploads, and the files of jobs
app = st.App(__file__, routes=routes(), middleware=access_middleware(), lifespan=announced)
PagesManager.uses_pages_directory = False  # else a first visitor's link opens a page without this file


def draw() -> None:
    """Draw one tab."""
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
    st.html(STYLE)
    if problem := library_problem():
        show_problem(problem)
        return
    try:
        page.run()
    except StorageError as error:  # locked, damaged or read-only
        show_problem(str(error))


def show_problem(problem: str) -> None:
    """Why the library cannot be used, and the next step."""
    st.title("EveryFrame")
    st.error("The library cannot be used.")
    st.text(printable(problem))


if __name__ == "__main__":
    draw()
