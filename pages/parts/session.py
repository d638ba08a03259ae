"""The dashboard's database engine, shared by all tabs, its transactions, and whether the library can be opened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import streamlit as st

from db.engine import make_engine
from db.engine import reading as reading_from
from db.engine import writing as writing_to
from db.errors import StorageError, sqlite_file
from db.migrate import check
from enrich.errors import EveryFrameError
from enrich.library.library import open_engine
from enrich.settings import Settings, current_settings
from enrich.wording import markdown_text

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")


@st.cache_resource
def engine_of(url: str) -> "Engine":
    """The engine for a database URL; made once."""
    return make_engine(url)


def settings() -> Settings:
    """The current settings. Raises SettingsError."""
    return current_settings()


def engine() -> "Engine":
    """The engine of the current library. Raises SettingsError or StorageError."""
    return engine_of(settings().url)


@contextmanager
def reading() -> "Iterator[Connection]":
    """A read transaction on the library."""
    with reading_from(engine()) as connection:
        yield connection


@contextmanager
def writing() -> "Iterator[Connection]":
    """A write transaction on the library."""
    with writing_to(engine()) as connection:
        yield connection


def live(*, run_every: str | None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Draw a function as a fragment, which refreshes by itself. Use this instead of `st.fragment`.

    An error inside a fragment does not reach the page: a library that cannot be used is reported in its place.
    """

    def decorate(draw: Callable[P, None]) -> Callable[P, None]:
        @wraps(draw)
        def reporting(*arguments: P.args, **named: P.kwargs) -> None:
            try:
                draw(*arguments, **named)
            except StorageError as error:
                st.error(markdown_text(str(error)))

        return st.fragment(reporting, run_every=run_every)

    return decorate


def reports_storage_errors(callback: Callable[P, None]) -> Callable[P, None]:
    """For callbacks that write: a locked, full, read-only or damaged library is reported, and nothing else is done."""

    @wraps(callback)
    def reporting(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            callback(*arguments, **named)
        except StorageError as error:
            st.toast(f"Not saved: {markdown_text(str(error))}", icon=":material/error:", duration="infinite")

    return reporting


def library_problem() -> str | None:
    """Why the library cannot be opened, and the next step; None if it can. Creates a library if there is none yet."""
    try:
        found = engine()
    except (EveryFrameError, StorageError) as error:
        return str(error)
    try:
        file = sqlite_file(found)
        if file is not None and not file.exists():
            open_engine(settings()).dispose()
        check(found)
    except EveryFrameError as error:
        return str(error)
    except StorageError as error:
        found.dispose()  # the file may have been replaced: use the one that is there next time
        return str(error)
    return None
