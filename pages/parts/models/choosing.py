"""Choosing the model that describes the frames: one click, kept in the settings file."""

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.settings import variable_that_sets
from enrich.settings_file import change
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain

_SAID, _FAILED = "choosing_said", "choosing_failed"


def choose(name: str) -> None:
    """Have this model describe from now on. For callbacks."""
    st.session_state.pop(_SAID, None)
    try:
        change("model", name)
    except EveryFrameError as error:
        st.session_state[_FAILED] = str(error)
    else:
        st.session_state[_SAID] = name
        inquiries().forget()


def say_choice() -> None:
    """What the last click on a choice came to, once."""
    if failed := st.session_state.pop(_FAILED, None):
        st.error(f"The choice was not saved: {plain(failed)}")
    if name := st.session_state.pop(_SAID, None):
        st.success(
            f"{plain(name)} describes your frames from the next start on. "
            "A worker that runs goes on with the model it began with: stop and start it on the Overview page."
        )


def fixed_by() -> str | None:
    """The environment variable that says which model it is, so that no click can."""
    return variable_that_sets("model")
