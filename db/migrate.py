"""Opening a library: create, check and migrate its schema with Alembic.

A library is never left half migrated: all migrations run in one transaction, and on SQLite the database is copied first
(`library.db.before-<new revision>-from-<old revision>`). A database of a newer EveryFrame, of another program, without
tables or damaged is refused with a message that names the next step.

The revision alone is not trusted: tables, columns, indexes and triggers must exist. Columns hold data, so a database
without one of them is refused; indexes, triggers and the search index can be recreated, which `migrate` does.
"""

import os
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import DatabaseError

from db import reservations, search
from db.counts import recount
from db.engine import create_private, make_engine, migrating, require_writable, writing
from db.errors import (
    DAMAGED_STEP,
    RETRYABLE,
    DatabaseFailedError,
    SchemaError,
    classified,
    database_name,
    sqlite_file,
    storage_error,
)
from db.models import Base, Video

if TYPE_CHECKING:
    from alembic.config import Config

_OTHER_TABLES = (reservations.Reservation, search.SearchDocument)  # defined beside the code that uses them

__all__ = ["REVISION", "SchemaError", "check", "check_integrity", "migrate", "open_library"]

REVISION = "0003"  # the schema this version works with: the head of the migrations
VERSION_TABLE = "alembic_version"
MIGRATE_COMMAND = "everyframe migrate"
NEWER_COMMAND = "pip install --upgrade everyframe"
SEARCH_INDEX = "search_index"
MAX_LISTED = 5  # in a message
TRIGGERS = frozenset(  # of a SQLite library, as the migrations make them; the models know tables and indexes only
    {
        "analyses_booked",
        "frames_retallied",
        "frames_tallied",
        "frames_untallied",
        "search_documents_deleted",
        "search_documents_inserted",
        "search_documents_updated",
        "tasks_retallied",
        "tasks_tallied",
        "tasks_untallied",
        "videos_tallied",
    }
)


class OlderSchemaError(SchemaError):
    """The database was made by an older EveryFrame and can be migrated."""


class EmptySchemaError(SchemaError):
    """The database has no tables."""


class IncompleteSchemaError(SchemaError):
    """The database lacks indexes or triggers, which can be recreated without losing data."""


def open_library(url: str) -> Engine:
    """Open the library at `url`: created if missing, migrated (after a backup) if older. Raises StorageError."""
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
    """Raise SchemaError unless the schema is that of this version (OlderSchemaError: run `migrate`).

    Compares the tables, columns, indexes and triggers too. Raises StorageError if the database cannot be read.
    """
    with classified(engine), engine.connect() as connection:
        _check(connection, database_name(engine))


def check_integrity(engine: Engine) -> None:
    """Raise DatabaseFailedError if the database file is damaged. Reads the whole file; SQLite only."""
    if engine.dialect.name != "sqlite":
        return
    with classified(engine), engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise DatabaseFailedError(
            f"{database_name(engine)} is damaged ({' '.join(str(found).split())}): {DAMAGED_STEP}"
        )


def migrate(engine: Engine) -> Path | None:
    """Upgrade the schema to this version. Returns the path of the backup made before, if there was anything to back up.

    Missing indexes and triggers are recreated. Checks, copies and migrates under one write lock, so that two programs
    that start at once take turns. Raises SchemaError for the database of another program or a newer one, for one that
    lacks a table or column, if the backup cannot be written, and if the migration fails; then nothing is changed.
    Raises StorageError for one that is damaged, read-only or locked.
    """
    backup = None
    require_writable(engine)
    try:
        with classified(engine), migrating(engine) as connection:
            try:
                _check(connection, database_name(engine))
            except (OlderSchemaError, IncompleteSchemaError):
                check_integrity(engine)
                revision = str(_revision(connection)[0])
                _require_columns_of(revision, connection, database_name(engine))
                backup = _back_up(engine, revision)
            except EmptySchemaError:
                pass
            else:
                return None
            try:
                _upgrade(connection)
                missing = _missing(connection)
                _require_columns(missing, database_name(engine))
                _recreate(connection, missing)
            except DatabaseError as error:
                if isinstance(storage_error(engine, error), RETRYABLE):
                    raise
                raise SchemaError(_migration_failed(database_name(engine), backup, error)) from error
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
        _check_content(connection, name)
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision not in known:
        raise SchemaError(f"{name} was made by a newer EveryFrame (schema {revision}): run `{NEWER_COMMAND}`")
    raise OlderSchemaError(f"{name} was made by an older EveryFrame (schema {revision}): run `{MIGRATE_COMMAND}`")


@dataclass(frozen=True, slots=True)
class _Missing:
    """What a database of this revision lacks."""

    columns: list[str]  # table.column, or the table
    objects: list[str]  # indexes, triggers, and the search index


def _check_content(connection: Connection, name: str) -> None:
    missing = _missing(connection)
    _require_columns(missing, name)
    if missing.objects:
        raise IncompleteSchemaError(f"{name} lacks {_listed(missing.objects)}: run `{MIGRATE_COMMAND}` to recreate it")


def _require_columns_of(revision: str, connection: Connection, name: str) -> None:
    """Raise SchemaError for a database that lacks a table or column of its revision: no migration expects that."""
    with _model(revision) as made:
        wanted = _content(made)[0]
    _require_columns(_Missing(_missing_columns(wanted, _content(connection)[0]), []), name)


def _require_columns(missing: _Missing, name: str) -> None:
    if missing.columns:
        raise SchemaError(f"{name} lacks {_listed(missing.columns)}, which its schema should have: {DAMAGED_STEP}")


def _missing(connection: Connection) -> _Missing:
    columns, objects = _content(connection)
    tables = Base.metadata.tables
    missing = _missing_columns({name: set(table.columns.keys()) for name, table in tables.items()}, columns)
    if objects is None:
        return _Missing(missing, [])
    wanted = {str(index.name) for table in tables.values() for index in table.indexes} | TRIGGERS | {SEARCH_INDEX}
    return _Missing(missing, sorted(wanted - objects))


def _missing_columns(wanted: Mapping[str, Collection[str]], found: Mapping[str, Collection[str]]) -> list[str]:
    """The wanted tables that were not found, and the columns of the others."""
    tables = sorted(wanted.keys() - found.keys())
    return tables + [
        f"{table}.{column}"
        for table in wanted.keys() & found.keys()
        for column in wanted[table]
        if column not in found[table]
    ]


def _content(connection: Connection) -> tuple[dict[str, set[str]], set[str] | None]:
    """The columns of each table, and the names of all objects; None for a database without triggers of ours.

    The tables of the search index are objects: they can be recreated.
    """
    columns: dict[str, set[str]] = {}
    if connection.dialect.name != "sqlite":
        for (_, table), found in inspect(connection).get_multi_columns().items():
            columns[table] = {column["name"] for column in found}
        return columns, None
    of_tables = "FROM sqlite_master AS found, pragma_table_xinfo(found.name) AS part WHERE found.type = 'table'"
    for table, column in connection.exec_driver_sql(f"SELECT found.name, part.name {of_tables}"):
        if not table.startswith(SEARCH_INDEX):
            columns.setdefault(table, set()).add(column)
    return columns, set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _upgrade(connection: Connection, revision: str = "head") -> None:
    from alembic import command  # takes 0.1 s to import

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def _model(revision: str) -> Iterator[Connection]:
    """An empty SQLite database of a revision, as the migrations make it."""
    with make_engine("sqlite://").begin() as connection:
        _upgrade(connection, revision)
        yield connection


def _recreate(connection: Connection, missing: _Missing) -> None:
    """Recreate missing indexes and triggers, and what the triggers should have kept in step."""
    if not missing.objects:
        return
    with _model(REVISION) as made:
        statements = made.execute(text("SELECT name, sql FROM sqlite_master ORDER BY type = 'trigger'")).all()
    for name, statement in statements:
        if name in missing.objects:
            connection.exec_driver_sql(statement)
    if any(name.startswith("search") for name in missing.objects):
        connection.exec_driver_sql(f"INSERT INTO {SEARCH_INDEX}({SEARCH_INDEX}) VALUES ('rebuild')")  # noqa: S608  # a constant
    for video_id in connection.scalars(select(Video.id)).all():
        recount(connection, video_id)


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
    create_private(partial)
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
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        blocking = next(path for path in (file.parent, *file.parents) if path.exists() or path.is_symlink())
        why = error.strerror
        if not blocking.exists():
            why = f"{blocking} is a link to {blocking.readlink()}, which does not exist"  # such as an unplugged drive
        elif not blocking.is_dir():
            why = f"{blocking} is a file"
        raise SchemaError(f"{file.parent} cannot be created ({why}): set EVERYFRAME_HOME to another folder") from error


def _migration_failed(name: str, backup: Path | None, error: DatabaseError) -> str:
    kept = f" (backup: {backup})" if backup is not None else ""
    return f"{name} could not be migrated ({error.orig}); it was not changed{kept}: report this as a bug"
