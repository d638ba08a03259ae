"""The system check: what `everyframe doctor` reports, with fixes ready to be copied."""

from typing import Any

import streamlit as st

from enrich.settings import Settings
from enrich.wording import format_duration, one_line
from pages.parts.inquiry import follow, inquiries
from pages.parts.plain import plain

FRESH_SECONDS = 600.0  # the check reads the whole database, which takes seconds if that is large
FINDING_CHARACTERS = 500
LAYOUT = "<style>.st-key-checkup { min-height: 16rem; }</style>"  # so that the page below does not move
LINKS = ("https://ollama.com/download",)  # the addresses that fixes may contain


def draw_checkup(settings: Settings) -> None:
    """The results of the last check; it runs again on request, or after some minutes."""
    answer = inquiries().ask(settings, "doctor", fresh_seconds=FRESH_SECONDS)
    with st.container():
        if answer.is_asking:
            follow(settings, "doctor")
    outcome = answer.outcome
    st.html(LAYOUT)
    with st.container(key="checkup"):
        if outcome is None:
            st.info("Checking this computer, the library and Ollama…")
        elif not isinstance(outcome.data, list):
            st.error(f"The check failed: {plain(one_line(outcome.error, FINDING_CHARACTERS))}")
        else:
            _draw_checks(outcome.data)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Check again", on_click=inquiries().forget, icon=":material/refresh:", disabled=answer.is_asking)
        if outcome is not None:
            st.caption("Checking…" if answer.is_asking else f"Checked {format_duration(answer.age_seconds)} ago")


def _draw_checks(checks: list[dict[str, Any]]) -> None:
    failed = [check for check in checks if not check["is_good"]]
    if not failed:
        st.success("All set.")
    for check in failed:
        st.error(f"**{plain(check['what'])}**: {plain(one_line(check['finding'], FINDING_CHARACTERS))}")
        if remedy := check["remedy"]:
            st.caption("How to fix it:")
            st.code(one_line(remedy, FINDING_CHARACTERS), language=None, wrap_lines=True)
            for link in (link for link in LINKS if link in remedy):
                st.link_button("Download Ollama", link, icon=":material/open_in_new:")
    for check in checks:
        if check["is_good"]:
            finding = plain(one_line(check["finding"], FINDING_CHARACTERS))
            st.markdown(f":material/check_circle: **{plain(check['what'])}** · {finding}")
