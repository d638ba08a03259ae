"""Notices of the overview: first steps, a missing requirement, failed frames with retry buttons, waiting videos."""

from urllib.parse import urlsplit

import streamlit as st

from db import store
from enrich.control.status import Status
from enrich.control.status_wording import DAMAGED_STEP
from enrich.network import LOOPBACK_NAMES
from enrich.settings import Settings
from enrich.wording import format_count, markdown_text, one_line, printable
from pages.parts.overview.status import refresh_overview
from pages.parts.readiness import MissingRequirement, draw_pull, last_pull
from pages.parts.session import reports_storage_errors, writing

OLLAMA = "https://ollama.com/download"
SENTENCE_CHARACTERS = 300
REASON_CHARACTERS = 200
MAX_ROWS = 8  # of failure reasons, and of waiting videos


def draw_first_steps(settings: Settings, missing: MissingRequirement | None, *, is_ready: bool) -> None:
    """What to do with an empty library, in three steps. `is_ready`: the model was found on every host."""
    st.subheader("1. Choose a vision model", anchor=False)
    if missing is None:
        st.markdown(model_text(settings, is_ready=is_ready))
    else:
        draw_missing(settings, missing)
    st.subheader("2. Add videos", anchor=False)
    st.markdown("Add single videos or whole folders. Your files are never modified.")
    st.page_link("pages/library.py", label="Add videos", icon=":material/video_library:")
    st.subheader("3. Start", anchor=False)
    st.markdown(
        "Once videos are added, press Start on this page. Processing runs in the background; described frames are "
        "searchable at once."
    )


def model_text(settings: Settings, *, is_ready: bool) -> str:
    """Where frames will be described, and with what, as far as was checked."""
    if settings.describer == "baseline":
        return "The baseline measures your frames on this computer. It describes nothing: choose a model for that."
    model, hosts = markdown_text(settings.model), markdown_text(", ".join(settings.ollama_hosts))
    if not is_ready:
        return f"Checking {model} on {hosts}…"
    if all(urlsplit(host).hostname in LOOPBACK_NAMES for host in settings.ollama_hosts):
        return f"{model} is installed and will describe your frames on this computer. Nothing leaves it."
    return f"{model} is installed and will describe your frames on {hosts}, which receives them."


def draw_missing(settings: Settings, missing: MissingRequirement) -> None:
    """What is missing, and the button or link that fixes it."""
    with st.container(border=True, key="missing-requirement"):
        st.warning(markdown_text(one_line(missing.sentence, SENTENCE_CHARACTERS)))
        pulled = last_pull(settings, settings.model)
        if missing.model is not None or (pulled is not None and pulled.is_running):
            draw_pull(settings, settings.model)
        elif missing.is_away:
            st.markdown("Start Ollama, or install it first. This page updates by itself.")
            st.link_button("Download Ollama", OLLAMA, icon=":material/open_in_new:")
        else:
            st.page_link("pages/models.py", label="Choose a model", icon=":material/arrow_forward:")


def draw_failures(found: Status) -> None:
    """Damaged videos, failed frames by reason, and videos that are waiting; nothing if there are none."""
    if found.damaged:
        st.subheader("Damaged videos", anchor=False)
        for title, how in found.damaged[:MAX_ROWS]:
            st.text(f"{printable(title)}: {how}")
        st.caption(DAMAGED_STEP)
    if found.failures:
        st.subheader("Failed", anchor=False)
        for number, (reason, count) in enumerate(found.failures[:MAX_ROWS]):
            _failure(f"{count:,} × {printable(one_line(reason, REASON_CHARACTERS))}", reason, f"retry-{number}")
        if len(found.failures) > 1:
            st.button("Retry all failed", key="retry-all", on_click=retry, icon=":material/refresh:")
    if found.waiting:
        st.subheader("Waiting videos", anchor=False)
        for title, reason in found.waiting[:MAX_ROWS]:
            st.text(f"{printable(title)}: {printable(one_line(reason, REASON_CHARACTERS))}")
        st.page_link("pages/library.py", label="Open Library", icon=":material/arrow_forward:")


@reports_storage_errors
def retry(reason: str | None = None) -> None:
    """Queue the frames that failed for a reason again, or all failed ones. For callbacks."""
    with writing() as connection:
        count = store.retry(connection, reason=reason)
    st.toast(f"{format_count(count, 'frame')} queued for retry.", icon=":material/refresh:")
    refresh_overview()


def _failure(text: str, reason: str, key: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"row-{key}"):
        st.text(text, width="stretch")
        st.button(
            "Retry",
            key=key,
            on_click=retry,
            args=[reason],
            icon=":material/refresh:",
            help="Retries now if the worker is running, otherwise after the next start",
        )
