"""Database URLs, engines and transactions: what differs between SQLite and PostgreSQL, except the search index.

Write inside `writing(engine)` and read inside `reading(engine)`. On SQLite a write transaction starts with
BEGIN IMMEDIATE, so that concurrent writers wait for the lock instead of failing halfway, and readers never block.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

BUSY_SECONDS = 30  # how long a SQLite writer waits for the write lock before "database is locked"
MASK = "***"  # stands for a secret that is not shown; SQLAlchemy's for a password
SECRET_PARAMETERS = ("password", "passwd", "pwd", "sslpassword", "token")  # in the query of a database URL
_WRITES = "everyframe_writes"
_IS_OURS = "SELECT count(*) = 0 OR max(name = 'alembic_version') FROM sqlite_master"


class SchemaError(Exception):
    """The database cannot be used in its present state. The message is one line: what is wrong and what to do."""


def make_engine(url: str) -> Engine:
    """An engine for the library at `url`. For SQLite the folder must exist; the file need not."""
    try:
        return _engine(url)
    except (ArgumentError, ImportError, ValueError) as error:
        raise _unusable(error) from error


def database_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for other databases. Raises SchemaError for an invalid URL."""
    parsed = _parsed(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def absolute_url(url: str) -> str:
    """`url` with an absolute path if it is a SQLite file. Raises SchemaError for an invalid URL."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        parsed = parsed.set(database=str(Path(parsed.database).absolute()))
    return parsed.render_as_string(hide_password=False)


def masked_url(url: str) -> str | None:
    """`url` with its password and secret query parameters masked; None if it has none. Raises SchemaError."""
    parsed = _parsed(url)
    secrets = {key: MASK for key in parsed.query if key.lower() in SECRET_PARAMETERS}
    if parsed.password is None and not secrets:
        return None
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> SchemaError:
    # The URL itself is left out: it may contain a password.
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
    """The database file of a SQLite engine, None for an in-memory or other database."""
    if engine.dialect.name != "sqlite" or engine.url.database in (None, "", ":memory:"):
        return None
    return Path(str(engine.url.database))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: one consistent snapshot."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: committed at the end, rolled back on any error."""
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        yield connection


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A write transaction in which a migration may recreate tables.

    On SQLite foreign keys are off inside it: otherwise dropping the old version of a table would delete every row that
    refers to it. They are checked before the commit.
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
                    raise RuntimeError(f"the migration leaves rows in {broken[0]} with broken foreign keys")
        finally:
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # committed work survives a power failure
    try:
        if cursor.execute(_IS_OURS).fetchone()[0]:  # WAL changes the file: leave another program's database alone
            cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:  # a database in a read-only folder can still be read
        pass
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
