"""The one engine of the dashboard, shared by all tabs, and whether the library can be shown."""

from typing import TYPE_CHECKING

import streamlit as st

from db.engine import make_engine, sqlite_file
from db.migrate import SchemaError, check
from enrich.errors import SettingsError
from enrich.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


@st.cache_resource
def engine_of(url: str) -> "Engine":
    """The engine of the library at `url`."""
    return make_engine(url)


def engine() -> "Engine":
    """The engine of the settings' library."""
    return engine_of(load_settings().url)


def library_problem() -> str | None:
    """Why the library cannot be shown, and what to do; None if it can be."""
    try:
        found = engine()
    except (SettingsError, SchemaError) as error:
        return str(error)
    file = sqlite_file(found)
    if file is not None and not file.exists():
        return "There is no library yet. Begin one with `everyframe add PATH`, then `everyframe enrich`."
    try:
        check(found)
    except SchemaError as error:
        return str(error)
    return None
