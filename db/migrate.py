"""Opening a library: create, check and migrate its schema with Alembic.

A library is never left half migrated: all migrations run in one transaction, and on SQLite the database is copied first
(`library.db.before-<new revision>-from-<old revision>`). A database of a newer EveryFrame, of another program, without
tables or damaged is refused with a message that names the next step.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError

from db.engine import SchemaError, make_engine, migrating, sqlite_file, writing

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["REVISION", "SchemaError", "check", "check_integrity", "migrate", "open_library"]

REVISION = "0002"  # the schema this version works with: the head of the migrations
VERSION_TABLE = "alembic_version"
MIGRATE_COMMAND = "everyframe migrate"
NEWER_COMMAND = "pip install --upgrade everyframe"
DAMAGED_STEP = "restore a backup, or move the file away to start a new library"


class OlderSchemaError(SchemaError):
    """The database was made by an older EveryFrame and can be migrated."""


class EmptySchemaError(SchemaError):
    """The database has no tables."""


def open_library(url: str) -> Engine:
    """Open the library at `url`: created if missing, migrated (after a backup) if older. Raises SchemaError."""
    engine = make_engine(url)
    file = sqlite_file(engine)
    try:
        if file is not None and not file.exists():
            _create_folder(file)
            _create(engine, file)
        else:
            _open(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check(engine: Engine) -> None:
    """Raise SchemaError unless the schema is that of this version (OlderSchemaError: run `migrate`)."""
    with _readable(engine), engine.connect() as connection:
        _check(connection, _name(engine))


def check_integrity(engine: Engine) -> None:
    """Raise SchemaError if the database file is damaged. Reads the whole file; SQLite only."""
    if engine.dialect.name != "sqlite":
        return
    with _readable(engine), engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise SchemaError(f"{_name(engine)} is damaged ({' '.join(str(found).split())}): {DAMAGED_STEP}")


def migrate(engine: Engine) -> Path | None:
    """Upgrade the schema to this version. Returns the path of the backup made before, if there was anything to back up.

    Checks, copies and migrates under one write lock, so that two programs that start at once take turns. Raises
    SchemaError for the database of another program, a newer or damaged one, if the backup cannot be written, and if the
    migration fails; then nothing is changed.
    """
    from alembic import command  # takes 0.1 s to import

    backup = None
    try:
        with _readable(engine), migrating(engine) as connection:
            try:
                _check(connection, _name(engine))
            except OlderSchemaError:
                check_integrity(engine)
                backup = _back_up(engine, str(_revision(connection)[0]))
            except EmptySchemaError:
                pass
            else:
                return None
            config = _config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except DatabaseError as error:
                raise SchemaError(_migration_failed(_name(engine), backup, error)) from error
    finally:
        engine.dispose()  # pooled connections have cached the old schema
    return backup


def _create(engine: Engine, file: Path) -> None:
    """Create a library atomically: no other process sees it half made, even if several create it at once."""
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        migrate(make_engine(engine.url.set(database=str(part)).render_as_string(hide_password=False)))
        os.link(part, file)
    except FileExistsError:
        pass  # another process was faster
    except OSError:  # the file system has no hard links
        migrate(engine)
    finally:
        for leftover in part.parent.glob(f"{part.name}*"):
            leftover.unlink()


def _open(engine: Engine) -> None:
    try:
        check(engine)
    except OlderSchemaError:
        migrate(engine)
    except EmptySchemaError:
        with writing(engine):
            pass  # another process may be creating it, and holds the write lock until it has finished
        check(engine)


def _check(connection: Connection, name: str) -> None:
    revision, is_empty = _revision(connection)
    if revision is None and is_empty:
        raise EmptySchemaError(f"{name} is empty: run `{MIGRATE_COMMAND}` to set it up")
    if revision is None:
        raise SchemaError(f"{name} is not an EveryFrame library: set EVERYFRAME_DATABASE_URL to another database")
    if revision == REVISION:
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        raise SchemaError(f"{name} was made by a newer EveryFrame (schema {revision}): run `{NEWER_COMMAND}`")
    raise OlderSchemaError(f"{name} was made by an older EveryFrame (schema {revision}): run `{MIGRATE_COMMAND}`")


@contextmanager
def _readable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise SchemaError(_unreadable(_name(engine), error)) from error


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> tuple[str | None, bool]:
    """The schema's revision, None if it has none; and whether there are no tables at all."""
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        return None, not tables
    return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")), False  # noqa: S608  # a constant


def _back_up(engine: Engine, revision: str) -> Path | None:
    file = sqlite_file(engine)
    if file is None:
        return None  # a PostgreSQL server has its own backups
    target = file.with_name(f"{file.name}.before-{REVISION}-from-{revision}")
    partial = target.with_name(f"{target.name}.part")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as backup:
            source.backup(backup)
        partial.replace(target)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise SchemaError(f"cannot back up {file} before the migration ({error}): free some disk space") from error
    return target


def _create_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SchemaError(
            f"{file.parent} cannot be created ({error.strerror}): set EVERYFRAME_HOME to another folder"
        ) from error


def _name(engine: Engine) -> str:
    file = sqlite_file(engine)
    return str(file) if file is not None else engine.url.render_as_string(hide_password=True)


def _unreadable(name: str, error: DatabaseError) -> str:
    if isinstance(error, OperationalError) and "unable to open" in str(error.orig):
        return f"{name} cannot be opened: check that the folder exists and is writable"
    if isinstance(error, OperationalError) and "locked" in str(error.orig):
        return f"{name} is locked by another process: close it, or try again in a moment"
    return f"{name} cannot be read as a database ({error.orig}): {DAMAGED_STEP}"


def _migration_failed(name: str, backup: Path | None, error: DatabaseError) -> str:
    kept = f" (backup: {backup})" if backup is not None else ""
    return f"{name} could not be migrated ({error.orig}); it was not changed{kept}: free disk space, or report this"
