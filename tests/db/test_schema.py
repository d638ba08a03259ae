"""A schema is known by its content, not by its revision: what is missing is named, and recreated or refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from db import migrate
from db.engine import make_engine, reading, writing
from db.migrate import SchemaError, check
from db.models import Base
from db.search import search
from tests.db.library import add, contents, describe, disposing, extract, opened, refusal, url


def changed(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


LOST_DATA = {
    "a table": ("DROP TABLE checkpoints", "lacks checkpoints,"),
    "a column": ("ALTER TABLE videos DROP COLUMN camera", "lacks videos.camera,"),
    "a renamed column": ("ALTER TABLE frames RENAME COLUMN sharpness TO crispness", "lacks frames.sharpness,"),
}


@pytest.mark.parametrize(("statement", "message"), LOST_DATA.values(), ids=LOST_DATA.keys())
def test_library_without_a_table_or_column_is_refused(file, statement, message):
    changed(file, statement)

    assert message in refusal(file)
    assert refusal(file).endswith(": restore a backup, or move the file away to start a new library")
    with disposing(make_engine(url(file))) as engine, pytest.raises(SchemaError, match="restore a backup"):
        migrate.migrate(engine)


LOST_OBJECTS = {
    "an index": ("DROP INDEX ix_tasks_claim", "ix_tasks_claim"),
    "a trigger of the counts": ("DROP TRIGGER frames_tallied", "frames_tallied"),
    "a trigger of the search": ("DROP TRIGGER search_documents_inserted", "search_documents_inserted"),
    "the search index": ("DROP TABLE search_index", "search_index"),
}


@pytest.mark.parametrize(("statement", "name"), LOST_OBJECTS.values(), ids=LOST_OBJECTS.keys())
def test_library_without_an_index_or_trigger_is_mended_by_migrate(file, statement, name):
    whole = contents(file).keys()
    changed(file, statement)
    with disposing(make_engine(url(file))) as engine, writing(engine) as connection:  # not seen by what is missing
        frames = extract(connection, add(connection), 3)
        if name != "search_index":
            describe(connection, frames[0], "a dog runs")

    assert refusal(file) == f"{file} lacks {name}: run `everyframe migrate` to recreate it"
    with disposing(make_engine(url(file))) as engine:
        backup = migrate.migrate(engine)
        check(engine)
        with writing(engine) as connection:
            if name == "search_index":
                describe(connection, frames[0], "a dog runs")
            assert len(search(connection, "dog").hits) == 1
            kept, described = connection.execute(text("SELECT kept, described FROM tallies")).one()
    assert (kept, described) == (3, 1)
    assert contents(file).keys() == whole
    assert backup is not None, "a copy was made before"


def test_check_expects_the_triggers_and_indexes_of_the_migrations(engine):
    with reading(engine) as connection:
        missing = migrate._missing(connection)
        triggers = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all()
        indexes = connection.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        ).all()
    assert missing == migrate._Missing([], [])
    assert set(triggers) == migrate.TRIGGERS
    assert set(indexes) == {index.name for table in Base.metadata.tables.values() for index in table.indexes}


def test_additional_tables_and_columns_are_no_problem(file):
    changed(file, "CREATE TABLE notes (id)", "ALTER TABLE videos ADD COLUMN note", "CREATE INDEX mine ON notes (id)")
    with opened(file) as engine:
        check(engine)
