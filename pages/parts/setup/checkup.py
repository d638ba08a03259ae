"""What `everyframe doctor` finds, with the commands that mend it, ready to be copied."""

from typing import Any

import streamlit as st

from enrich.settings import Settings
from enrich.wording import first_line, span
from pages.parts.inquiry import follow, inquiries
from pages.parts.plain import plain

FRESH_SECONDS = 600.0  # it reads the whole database once, which takes some seconds where that is large
FINDING_CHARACTERS = 500
LAYOUT = "<style>.st-key-checkup { min-height: 16rem; }</style>"  # what comes below stays where it is
LINKS = ("https://ollama.com/download",)  # the only address that remedies of ours name


def draw_checkup(settings: Settings) -> None:
    """What is well and what is missing; it is looked at anew when somebody asks, or after some minutes."""
    answer = inquiries().ask(settings, "doctor", fresh_seconds=FRESH_SECONDS)
    with st.container():
        if answer.is_asking:
            follow(settings, "doctor")
    outcome = answer.outcome
    st.html(LAYOUT)
    with st.container(key="checkup"):
        if outcome is None:
            st.info("Looking at this machine, the library and Ollama …")
        elif not isinstance(outcome.data, list):
            st.error(f"That could not be looked at: {plain(first_line(outcome.error, FINDING_CHARACTERS))}")
        else:
            _draw_checks(outcome.data)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Look again", on_click=inquiries().forget, icon=":material/refresh:", disabled=answer.is_asking)
        if outcome is not None:
            st.caption("Looking …" if answer.is_asking else f"Looked at {span(answer.age_seconds)} ago")


def _draw_checks(checks: list[dict[str, Any]]) -> None:
    bad = [check for check in checks if not check["is_good"]]
    if not bad:
        st.success("Everything is there.")
    for check in bad:
        st.error(f"**{plain(check['what'])}**: {plain(first_line(check['finding'], FINDING_CHARACTERS))}")
        if remedy := check["remedy"]:
            st.caption("To mend it, run this, or do what it says:")
            st.code(first_line(remedy, FINDING_CHARACTERS), language=None, wrap_lines=True)
            for link in (link for link in LINKS if link in remedy):
                st.link_button("Get Ollama", link, icon=":material/open_in_new:")
    for check in checks:
        if check["is_good"]:
            finding = plain(first_line(check["finding"], FINDING_CHARACTERS))
            st.markdown(f":material/check_circle: **{plain(check['what'])}** · {finding}")
