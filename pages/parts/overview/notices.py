"""What failed, grouped by why, with buttons that try again; and films that wait for something."""

import streamlit as st

from db import store
from enrich.control.status import Status
from enrich.wording import counted, first_line
from pages.parts.overview.status import look_anew
from pages.parts.plain import shown
from pages.parts.session import writing

SHOWN = 8  # reasons, and films that wait
LONGEST_REASON = 200  # characters
RETRIED = "how much was put back"


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
    look_anew()


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
