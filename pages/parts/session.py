"""The one engine of the dashboard, shared by all tabs, and whether the library can be shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import streamlit as st

from db.engine import make_engine, sqlite_file
from db.engine import reading as reading_from
from db.engine import writing as writing_to
from db.migrate import SchemaError, check
from enrich.errors import EveryFrameError
from enrich.library.library import open_engine
from enrich.settings import Settings, current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@st.cache_resource
def engine_of(url: str) -> "Engine":
    """The engine of the library at `url`."""
    return make_engine(url)


def settings() -> Settings:
    """The settings as they are now. Raises SettingsError."""
    return current_settings()


def engine() -> "Engine":
    """The engine of the settings' library. Raises SettingsError or SchemaError."""
    return engine_of(settings().url)


@contextmanager
def reading() -> "Iterator[Connection]":
    """A transaction that reads the library."""
    with reading_from(engine()) as connection:
        yield connection


@contextmanager
def writing() -> "Iterator[Connection]":
    """A transaction that writes into the library."""
    with writing_to(engine()) as connection:
        yield connection


def library_problem() -> str | None:
    """Why the library cannot be shown, and what to do; None if it can be. A library that is not there yet is made."""
    try:
        found = engine()
        file = sqlite_file(found)
        if file is not None and not file.exists():
            open_engine(settings()).dispose()
        check(found)
    except (EveryFrameError, SchemaError) as error:
        return str(error)
    return None
