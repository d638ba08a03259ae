"""Database errors, classified once: what may be retried, what pauses a run, and what ends it.

StorageError                base class: the database cannot be used now
├── DatabaseLockedError     another process holds the lock: retryable, for a limited time
├── DatabaseFullError       its disk is full: retryable, without a limit
├── DatabaseFailedError     anything else, such as damage: retrying cannot help
│   └── DatabaseReadOnlyError  nothing can be written, but reading works
└── SchemaError             its schema is not that of this version, or its URL is invalid

Errors are told apart by SQLite's result code and PostgreSQL's SQLSTATE, never by their text. Each message is one line:
what happened, why, and the next step.
"""

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

PRIMARY_CODE = 0xFF  # of an extended SQLite result code
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NO_SPACE_CODES = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)  # also what a full disk may cause
LOCKED_STATES = ("55P03", "40001", "40P01")  # lock not available, serialization failure, deadlock detected
FULL_STATE = "53100"
NO_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT)
MEGABYTE = 1_000_000
NEEDED_BYTES = MEGABYTE  # free on the disk: the write-ahead log and its index grow by some pages per transaction
DAMAGED_STEP = "restore a backup, or move the file away to start a new library"
SQLITE_FAILURES = {  # what happened, and the next step
    sqlite3.SQLITE_CORRUPT: ("cannot be read as a database", DAMAGED_STEP),
    sqlite3.SQLITE_NOTADB: ("cannot be read as a database", DAMAGED_STEP),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check that the folder exists and is writable"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "check its disk, then start again"),
}


class StorageError(Exception):
    """The database cannot be used now."""


class DatabaseLockedError(StorageError):
    """Another process holds the lock. Retryable."""


class DatabaseFullError(StorageError):
    """The disk of the database is full. Retryable: the user may free some space."""


class DatabaseFailedError(StorageError):
    """The database is damaged, missing, or refuses a statement. Retrying cannot help."""


class DatabaseReadOnlyError(DatabaseFailedError):
    """Nothing can be written to the database."""


class SchemaError(StorageError):
    """The database's schema is not that of this version."""


RETRYABLE = (DatabaseLockedError, DatabaseFullError)


@contextmanager
def classified(engine: Engine) -> Iterator[None]:
    """Raise database errors as a StorageError."""
    try:
        yield
    except DBAPIError as error:
        raise storage_error(engine, error) from error


def sqlite_file(engine: Engine) -> Path | None:
    """The database file of a SQLite engine, None for an in-memory or other database."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database))


def database_name(engine: Engine) -> str:
    """The file, or the URL without its password."""
    file = sqlite_file(engine)
    return str(file) if file is not None else engine.url.render_as_string(hide_password=True)


def storage_error(engine: Engine, error: DBAPIError) -> StorageError:
    """What an error of the driver means."""
    name = database_name(engine)
    if engine.dialect.name == "sqlite":
        return _sqlite_error(name, sqlite_file(engine), error)
    state = getattr(error.orig, "sqlstate", None)
    if state in LOCKED_STATES:
        return DatabaseLockedError(locked_sentence(name))
    if state == FULL_STATE:
        return DatabaseFullError(f"the disk of {name} is full: free some disk space on its server")
    return DatabaseFailedError(f"{name} cannot be used ({_text(error)}): check the server, then start again")


def sqlite_code(error: DBAPIError) -> int:
    """SQLite's primary result code. The driver's own errors have none: SQLITE_ERROR."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return sqlite3.SQLITE_ERROR if code is None else code & PRIMARY_CODE


def is_disk_full(folder: Path) -> bool:
    """Whether the disk of a folder is full. Where space is left, a quota may be used up: a test file is written."""
    try:
        if shutil.disk_usage(folder).free < NEEDED_BYTES:
            return True
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(NEEDED_BYTES))
    except OSError as error:
        return error.errno in NO_SPACE_ERRORS
    return False


def full_sentence(name: str) -> str:
    """What a full disk means, for the user."""
    needed = NEEDED_BYTES // MEGABYTE
    return f"the disk of {name} is full: free at least {needed} MB; a running worker continues by itself"


def read_only_sentence(name: str) -> str:
    """What a read-only database means, for the user."""
    return f"{name} is read-only: make the file and its folder writable, or set EVERYFRAME_HOME to another folder"


def _sqlite_error(name: str, file: Path | None, error: DBAPIError) -> StorageError:
    primary = sqlite_code(error)
    if primary in LOCKED_CODES:
        return DatabaseLockedError(locked_sentence(name))
    if primary == sqlite3.SQLITE_FULL or (primary in NO_SPACE_CODES and file is not None and is_disk_full(file.parent)):
        return DatabaseFullError(full_sentence(name))
    if primary == sqlite3.SQLITE_READONLY:
        return DatabaseReadOnlyError(read_only_sentence(name))
    what, step = SQLITE_FAILURES.get(primary, ("refused a statement", "check the library with `everyframe doctor`"))
    return DatabaseFailedError(f"{name} {what} ({_text(error)}): {step}")


def locked_sentence(name: str) -> str:
    """What a locked database means, for the user."""
    return f"{name} is locked by another process: close it, or try again in a moment"


def _text(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
