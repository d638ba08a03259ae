"""Database URLs, engines and transactions: what differs between SQLite and PostgreSQL, except the search index.

Write inside `writing(engine)` and read inside `reading(engine)`. On SQLite a write transaction starts with
BEGIN IMMEDIATE, so that concurrent writers wait for the lock instead of failing halfway, and readers never block.
Both raise errors of the database as a `db.errors.StorageError`.

A SQLite file that this user cannot write is opened read-only, and as immutable if nobody has it open: the write-ahead
log cannot be created then. A file that is deleted or replaced while an engine uses it is an error, until the engine is
disposed: SQLite would go on writing to the deleted file, or create an empty one. So is a deleted write-ahead log.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from db.errors import (
    LOCKED_CODES,
    NEEDED_BYTES,
    PRIMARY_CODE,
    DatabaseFailedError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseReadOnlyError,
    SchemaError,
    StorageError,
    classified,
    full_sentence,
    locked_sentence,
    read_only_sentence,
    sqlite_file,
)

BUSY_SECONDS = 10  # how long a SQLite writer waits for the write lock before "database is locked"
PRIVATE_MODE = 0o600
MASK = "***"  # stands for a secret that is not shown; SQLAlchemy's for a password
SECRET_PARAMETERS = ("password", "passwd", "pwd", "sslpassword", "token")  # in the query of a database URL
_WRITES = "everyframe_writes"
_HAS_READ = "everyframe_has_read"  # of a pooled connection: it has the write-ahead log open, if there is one
_LOG = "everyframe_log"  # of a pooled connection: which file its write-ahead log is
_IS_OURS = "SELECT count(*) = 0 OR max(name = 'alembic_version') FROM sqlite_master"


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
    # The URL itself is left out: it may contain a password. Of a wrong port, the error quotes a part of it.
    problem = "its port is not a number" if isinstance(error, ValueError) else str(error)
    return SchemaError(f"EVERYFRAME_DATABASE_URL cannot be used: {problem}")


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    file = None if parsed.database in (None, "", ":memory:") else Path(str(parsed.database))
    # A read-only file is opened anew for each transaction: whether it may be immutable can change.
    is_pooled = file is not None and not _is_read_only(file)
    engine = create_engine(
        parsed,
        poolclass=QueuePool if is_pooled else NullPool,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    if file is not None:
        _watch_file(engine, file)
        event.listen(engine, "do_connect", partial(_connect_file, file))  # after the check of a deleted file
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: one consistent snapshot."""
    with classified(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: committed at the end, rolled back on any error."""
    with (
        classified(engine),
        engine.connect().execution_options(**{_WRITES: True}) as connection,
        connection.begin(),
    ):
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
    with classified(engine), engine.connect().execution_options(**{_WRITES: True}) as connection:
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


def require_writable(engine: Engine) -> None:
    """Raise DatabaseReadOnlyError for a SQLite file that this user cannot write."""
    file = sqlite_file(engine)
    if file is not None and _is_read_only(file):
        raise DatabaseReadOnlyError(read_only_sentence(str(file)))


def write_obstacle(engine: Engine) -> StorageError | None:
    """Why nothing can be written to a SQLite file now: it is read-only, locked, or its disk is full. Does not wait."""
    file = sqlite_file(engine)
    if file is None or not file.exists():
        return None
    if _is_read_only(file):
        return DatabaseReadOnlyError(read_only_sentence(str(file)))
    if shutil.disk_usage(file.parent).free < NEEDED_BYTES:
        return DatabaseFullError(full_sentence(str(file)))
    try:
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        is_locked = error.sqlite_errorcode & PRIMARY_CODE in LOCKED_CODES
        return DatabaseLockedError(locked_sentence(str(file))) if is_locked else None
    return None


def _is_read_only(file: Path) -> bool:
    """Whether this user cannot write an existing file, or create the files of its write-ahead log beside it."""
    use_effective = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    return file.exists() and not all(os.access(path, os.W_OK, **use_effective) for path in (file, file.parent))


def create_private(file: Path) -> None:
    """Create an empty database file for its owner alone, if there is none.

    SQLite would create it as the umask says. It gives its log and its index the permissions of the database.
    """
    with suppress(OSError):  # connecting reports what is wrong
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_MODE))


def _connect_file(file: Path, dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> Any:
    """Connect to a read-only file; None for any other, so that it is connected to as usual."""
    if not _is_read_only(file):
        create_private(file)
        return None
    log, index = (file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm"))
    is_unused = not index.exists() and (not log.exists() or log.stat().st_size == 0)
    mode = "mode=ro&immutable=1" if is_unused else "mode=ro"
    return dialect.connect(f"{file.absolute().as_uri()}?{mode}", uri=True, **options)


def _watch_file(engine: Engine, file: Path) -> None:
    """Refuse to use connections to a file that is not the one at this path any more.

    A file that a backup was copied over is still the same one, but its write-ahead log was deleted: a connection would
    go on using the deleted log, and write it into the backup when it is closed, unless the file is locked. As long as a
    connection has the log open, SQLite itself never deletes it.
    """
    log = file.with_name(f"{file.name}-wal")
    used: list[tuple[int, int]] = []  # the file that the engine is connected to; empty: any
    locks: list[sqlite3.Connection] = []  # protects the file while connections to a deleted log are closed

    def refuse() -> None:
        raise DatabaseFailedError(
            f"{file} was deleted or replaced while it was in use: put it back or restore a backup, then start again"
        )

    def require_same(*_: Any) -> None:
        if locks or (used and _identity(file) != used[0]):
            refuse()

    def require_same_log(_connection: Any, record: Any, _proxy: Any) -> None:
        known = record.info.get(_LOG)
        if known is None or _identity(log) == known:
            return
        locks.append(_read_lock(file))
        engine.pool.dispose()
        refuse()

    def remember(_connection: Any, record: Any) -> None:
        found = _identity(file)
        if not used and found is not None:
            used.append(found)
        record.info[_LOG] = _identity(log) if record.info.get(_HAS_READ) else None

    def forget(_: Any) -> None:
        used.clear()
        while locks:
            locks.pop().close()

    event.listen(engine, "do_connect", require_same, insert=True)
    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", require_same)
    event.listen(engine, "checkout", require_same_log)
    event.listen(engine, "engine_disposed", forget)


def _read_lock(file: Path) -> sqlite3.Connection:
    """A connection with a read transaction: until it is closed, no other one can write its log into the file."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    with suppress(sqlite3.Error):  # what was copied is no database
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file is at a path; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # committed work survives a power failure
    for pragma in ("fullfsync", "checkpoint_fullfsync"):  # macOS: also where it is only in the drive's cache
        cursor.execute(f"PRAGMA {pragma}=ON")
    try:
        if cursor.execute(_IS_OURS).fetchone()[0]:  # WAL changes the file: leave another program's database alone
            cursor.execute("PRAGMA journal_mode=WAL")
        record.info[_HAS_READ] = True
    except sqlite3.OperationalError:  # the transaction reports what is wrong; a read-only database can still be read
        pass
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
