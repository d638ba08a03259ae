"""Removing a model from Ollama: the question, and the doing."""

import streamlit as st

from enrich.jobs.command import run_command
from enrich.wording import size
from pages.parts.inquiry import inquiries
from pages.parts.models.installed import Model, is_same
from pages.parts.plain import plain
from pages.parts.session import settings

_ASKED, _FAILED, _REMOVED = "discarding_asked", "discarding_failed", "discarding_removed"
REMOVE_SECONDS = 60.0


def ask(model: Model) -> None:
    """Have the question asked. For callbacks."""
    st.session_state[_ASKED] = model
    st.session_state.pop(_FAILED, None)


def question() -> None:
    """Draw the question while it is asked, and say once what was removed."""
    if name := st.session_state.pop(_REMOVED, None):
        st.success(f"Removed: {plain(name)}.")
    model = st.session_state.get(_ASKED)
    if isinstance(model, Model):
        st.dialog("Remove this model?", on_dismiss=_keep)(_draw)(model)


def _draw(model: Model) -> None:
    if _ASKED not in st.session_state:
        st.rerun()
    st.markdown(
        f"**{plain(model.name)}** is deleted from {plain(' and '.join(model.hosts))}: {size(model.size_bytes)}."
    )
    if is_same(model.name, settings().model):
        st.warning("It is the model that describes your frames: without it the work stops.")
    st.markdown("What it has described stays. It can be got again, which downloads it anew.")
    if failed := st.session_state.get(_FAILED):
        st.error(f"It was not removed: {plain(failed)}")
    with st.container(horizontal=True):
        st.button("Remove it", type="primary", on_click=_remove, args=[model])
        st.button("Keep it", on_click=_keep)


def _remove(model: Model) -> None:
    outcome = run_command(settings(), "models", "remove", model.name, "--yes", seconds=REMOVE_SECONDS)
    inquiries().forget()
    if outcome.is_good:
        st.session_state[_REMOVED] = model.name
        _keep()
    else:
        st.session_state[_FAILED] = outcome.error


def _keep() -> None:
    st.session_state.pop(_ASKED, None)
