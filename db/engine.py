"""`make_engine(url)`: all that differs between SQLite and PostgreSQL, outside the search index.

Writes go through `writing(engine)`, reads through `reading(engine)`: on SQLite a write transaction begins with
BEGIN IMMEDIATE, so that two writers queue up instead of failing half-way, and a read never blocks.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

BUSY_SECONDS = 30  # how long a SQLite writer waits for another before "database is locked"
_WRITES = "everyframe_writes"
_IS_OURS = "SELECT count(*) = 0 OR max(name = 'alembic_version') FROM sqlite_master"


class SchemaError(Exception):
    """The database cannot be used as it is; the text says why and what to do, in one line."""


def make_engine(url: str) -> Engine:
    """An engine for the library at `url`. For SQLite the folder must exist; the file may not."""
    try:
        return _engine(url)
    except (ArgumentError, ImportError, ValueError) as error:
        raise _unusable(error) from error


def database_file(url: str) -> Path | None:
    """The file a SQLite address names, None for all else. Raises SchemaError for what is no address."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _unusable(error) from error
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _unusable(error: Exception) -> SchemaError:
    # Without the address: it may hold a password.
    return SchemaError(f"EVERYFRAME_DATABASE_URL cannot be used: {error}")


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    in_memory = parsed.database in (None, "", ":memory:")
    engine = create_engine(
        parsed,
        poolclass=NullPool if in_memory else QueuePool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_file(engine: Engine) -> Path | None:
    """The database file of a SQLite engine, None for all else."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, with one consistent view."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back on any error."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A write transaction in which tables may be made anew.

    On SQLite foreign keys rest meanwhile, or dropping a table's old form would delete all that refers to it; they are
    checked before the commit.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    with engine.connect().execution_options(**{_WRITES: True}) as connection:
        cursor = connection.connection.cursor()  # outside a transaction: inside, the pragma does nothing
        cursor.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise RuntimeError(f"the migration leaves rows of {broken[0]} that refer to nothing")
        finally:
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's own guess
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # a night's work survives a power cut
    try:
        if cursor.execute(_IS_OURS).fetchone()[0]:  # WAL is written into the file: not into another program's
            cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:  # a read-only folder can still be looked at
        pass
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
