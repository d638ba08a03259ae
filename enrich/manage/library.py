"""Opening the library's database, also for whoever only watches a worker: without all that works on it."""

from pathlib import Path

from sqlalchemy import Engine

from db.engine import database_file
from db.migrate import SchemaError, open_library
from enrich.errors import LibraryError
from enrich.manage.share import share_below
from enrich.settings import Settings


def open_engine(settings: Settings) -> Engine:
    """The engine of the library the settings name; it is made if there is none yet. Raises LibraryError."""
    try:
        _require_local(database_file(settings.url))
        return open_library(settings.url)
    except SchemaError as error:
        raise LibraryError(str(error)) from error


def _require_local(file: Path | None) -> None:
    """Refuse a SQLite file on a network share, where its write-ahead log would lose what is written."""
    if file is None:
        return
    file = file.absolute()
    share = share_below(file.parent)
    if share is not None:
        raise LibraryError(
            f"{file} lies on a network share ({share}), which SQLite cannot use safely: "
            "set EVERYFRAME_HOME to a folder on a disk of this machine; the films may stay on the share"
        )
