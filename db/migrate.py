"""Opening a library: create, check and migrate its schema with one Alembic tree.

A library is never half migrated: on SQLite every migration runs in one transaction, and before it a copy of the
database is made beside it (`library.db.before-<revision>`). A database of a newer EveryFrame, one without its tables,
and a damaged one are refused with a sentence that names what to do.
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

__all__ = ["REVISION", "SchemaError", "check", "check_pages", "migrate", "open_library"]

REVISION = "0001"  # that this program works with: the last of the tree
VERSION_TABLE = "alembic_version"
MIGRATE_COMMAND = "everyframe migrate"
NEWER_COMMAND = "pip install --upgrade everyframe"
MEND_DAMAGED = "restore a copy, or move it away to begin anew"


class OlderSchemaError(SchemaError):
    """The database is of an older EveryFrame and can be migrated."""


class EmptySchemaError(SchemaError):
    """There is a database, and nothing in it."""


def open_library(url: str) -> Engine:
    """The engine of the library at `url`, made if there is none, migrated (after a copy) if it is older.

    Raises SchemaError.
    """
    engine = make_engine(url)
    file = sqlite_file(engine)
    try:
        if file is not None and not file.exists():
            _make_folder(file)
            _make(engine, file)
        else:
            _open(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check(engine: Engine) -> None:
    """Refuse a database that is not of this version. Raises SchemaError (OlderSchemaError: `migrate` mends it)."""
    with _readable(engine), engine.connect() as connection:
        _check(connection, _name(engine))


def check_pages(engine: Engine) -> None:
    """Refuse a database file that is damaged anywhere, which reads all of it (SQLite only). Raises SchemaError."""
    if engine.dialect.name != "sqlite":
        return
    with _readable(engine), engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise SchemaError(f"{_name(engine)} is damaged ({' '.join(str(found).split())}): {MEND_DAMAGED}")


def migrate(engine: Engine) -> Path | None:
    """Bring the schema to this version; where the copy lies that was made before, if there was anything to copy.

    Looks, copies and migrates under one write lock: two programs that start at once do it one after the other.
    Raises SchemaError for a foreign, newer or damaged database, if there is no room for the copy, and if the
    migration fails, which leaves everything as it was.
    """
    from alembic import command  # a tenth of a second, which only a migration is worth

    copy = None
    try:
        with _readable(engine), migrating(engine) as connection:
            try:
                _check(connection, _name(engine))
            except OlderSchemaError:
                check_pages(engine)
                copy = _copy(engine, str(_revision(connection)[0]))
            except EmptySchemaError:
                pass
            else:
                return None
            config = _config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except DatabaseError as error:
                raise SchemaError(_why_not_migrated(_name(engine), copy, error)) from error
    finally:
        engine.dispose()  # no pooled connection keeps what it knew of the old schema
    return copy


def _make(engine: Engine, file: Path) -> None:
    """Make a library where there is none; it appears whole, whoever else makes or opens it at the same moment."""
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        migrate(make_engine(engine.url.set(database=str(part)).render_as_string(hide_password=False)))
        os.link(part, file)
    except FileExistsError:
        pass  # another program was quicker
    except OSError:  # no links on this file system
        migrate(engine)
    finally:
        for rest in part.parent.glob(f"{part.name}*"):
            rest.unlink()


def _open(engine: Engine) -> None:
    try:
        check(engine)
    except OlderSchemaError:
        migrate(engine)
    except EmptySchemaError:
        with writing(engine):
            pass  # another program may be making it just now: it holds the write lock until it has
        check(engine)


def _check(connection: Connection, name: str) -> None:
    revision, is_empty = _revision(connection)
    if revision is None and is_empty:
        raise EmptySchemaError(f"{name} is empty: run `{MIGRATE_COMMAND}` to set it up")
    if revision is None:
        raise SchemaError(f"{name} is not an EveryFrame library: set EVERYFRAME_DATABASE_URL to another")
    if revision == REVISION:
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        raise SchemaError(f"{name} was made by a newer EveryFrame (schema {revision}): run `{NEWER_COMMAND}`")
    raise OlderSchemaError(f"{name} is of an older EveryFrame (schema {revision}): run `{MIGRATE_COMMAND}`")


@contextmanager
def _readable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise SchemaError(_why_unreadable(_name(engine), error)) from error


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> tuple[str | None, bool]:
    tables = inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        return None, not tables
    return connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")), False  # noqa: S608  # our own name


def _copy(engine: Engine, revision: str) -> Path | None:
    file = sqlite_file(engine)
    if file is None:
        return None  # a PostgreSQL server has backups of its own
    target = file.with_name(f"{file.name}.before-{REVISION}-from-{revision}")
    partial = target.with_name(f"{target.name}.part")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        partial.replace(target)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise SchemaError(f"no copy could be made before the migration ({error}): free some disk space") from error
    return target


def _make_folder(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SchemaError(
            f"{file.parent} cannot be made ({error.strerror}): set EVERYFRAME_HOME to another folder"
        ) from error


def _name(engine: Engine) -> str:
    file = sqlite_file(engine)
    return str(file) if file is not None else engine.url.render_as_string(hide_password=True)


def _why_unreadable(name: str, error: DatabaseError) -> str:
    if isinstance(error, OperationalError) and "unable to open" in str(error.orig):
        return f"{name} cannot be opened: check that the folder exists and may be written"
    if isinstance(error, OperationalError) and "locked" in str(error.orig):
        return f"{name} is locked by another program: close that, or try again in a moment"
    return f"{name} cannot be read as a database ({error.orig}): {MEND_DAMAGED}"


def _why_not_migrated(name: str, copy: Path | None, error: DatabaseError) -> str:
    kept = f", and a copy is {copy}" if copy is not None else ""
    return f"{name} could not be migrated ({error.orig}); it is as it was{kept}: free disk space, or report this"
