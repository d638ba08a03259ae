"""Opening a library: made, checked, migrated after a copy, or refused in one line; never half migrated."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, select, text

from db import migrate
from db.engine import make_engine, reading, writing
from db.migrate import OlderSchemaError, SchemaError, check, check_pages, open_library
from db.models import Base, Frame, Task, Video
from db.search import search
from tests.db.library import add, describe, extract

ROOT = Path(__file__).parents[2]
RELEASED = sorted(Path(__file__).parent.glob("schema_*.sql"))


def url(file: Path) -> str:
    return f"sqlite:///{file}"


@contextmanager
def disposing(engine: Engine) -> Iterator[Engine]:
    """An engine, and no open file of it afterwards."""
    try:
        yield engine
    finally:
        engine.dispose()


def opened(file: Path) -> AbstractContextManager[Engine]:
    """The library in `file`, open while the test looks at it."""
    return disposing(open_library(url(file)))


def refusal(file: Path) -> str:
    """What is said about a file that cannot be opened."""
    with pytest.raises(SchemaError) as caught:
        open_library(url(file))
    return str(caught.value)


def contents(file: Path) -> dict[str, str]:
    """Every object and row of a database, by name."""
    with closing(sqlite3.connect(file)) as connection:
        objects = dict(connection.execute("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master"))
        for name in [name for name in objects if name.startswith("table ")]:
            rows = connection.execute(f"SELECT * FROM {name.removeprefix('table ')}").fetchall()  # noqa: S608 our own
            objects[name] += repr(rows)
    return objects


# a new library


def test_a_new_library_is_made_with_its_folder(tmp_path):
    file = tmp_path / "a folder" / "100%" / "library.db"

    with opened(file) as engine:
        check(engine)
        with writing(engine) as connection:
            describe(connection, extract(connection, add(connection))[0], "a dog")
            assert len(search(connection, "dog").hits) == 1
        with reading(engine) as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"

    assert [path.name for path in file.parent.iterdir()] == ["library.db"], "no copy of nothing is made"


def test_opening_it_again_changes_nothing(file):
    before = contents(file)

    with opened(file) as engine:
        assert migrate.migrate(engine) is None

    assert contents(file) == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_programs_that_make_the_same_library_at_once_do_not_disturb_each_other(tmp_path):
    code = "import sys; from db.migrate import open_library; input(); open_library(sys.argv[1]).dispose()"
    command_line = [sys.executable, "-c", code, url(tmp_path / "library.db")]
    programs = [
        subprocess.Popen(command_line, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for program in programs:
        program.stdin.write(b"\n")
        program.stdin.flush()
    said = [program.communicate()[1].decode() for program in programs]

    assert said == [""] * 4
    assert [program.returncode for program in programs] == [0] * 4


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("no folder")

    assert "cannot be made" in refusal(tmp_path / "file" / "library.db")


# migrations and models


def described(engine) -> dict[str, object]:
    """A schema as the database itself tells it, clause order aside."""
    inspector = inspect(engine)
    schema: dict[str, object] = {}
    for table in inspector.get_table_names():
        if table.startswith(("search_index", "alembic_version")):
            continue
        schema[f"{table} columns"] = {
            column["name"]: (str(column["type"]), column["nullable"], column["default"], column["primary_key"])
            for column in inspector.get_columns(table)
        }
        schema[f"{table} primary key"] = inspector.get_pk_constraint(table)
        for kind in ("foreign_keys", "unique_constraints", "check_constraints"):
            found = getattr(inspector, f"get_{kind}")(table)
            schema[f"{table} {kind}"] = sorted(found, key=lambda constraint: constraint["name"])
    with engine.connect() as connection:
        indexes = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
        schema["indexes"] = {name: re.sub(r'["\s]+', " ", sql) for name, sql in indexes}
    return schema


def test_the_migrations_make_the_schema_the_models_say(engine):
    with disposing(create_engine("sqlite://")) as modelled:
        Base.metadata.create_all(modelled)

        assert described(engine) == described(modelled)


def test_the_comparison_sees_tables_constraints_and_indexes(engine):
    schema = described(engine)

    assert "timestamp" in schema["frames columns"]
    assert schema["frames foreign_keys"][0]["options"] == {"ondelete": "CASCADE"}
    assert schema["frames unique_constraints"][0]["column_names"] == ["video_id", "timestamp"]
    assert schema["indexes"]["ix_tasks_claim"].endswith("(status, kind, pass, priority DESC, id)")


def test_every_constraint_and_index_has_a_name(engine):
    schema = described(engine)

    for table in Base.metadata.tables:
        assert schema[f"{table} primary key"]["name"] == f"pk_{table}"
        for kind in ("foreign_keys", "unique_constraints"):
            assert all(constraint["name"] for constraint in schema[f"{table} {kind}"])


def test_there_is_one_line_of_migrations():
    assert ScriptDirectory.from_config(migrate._config()).get_heads() == [migrate.REVISION]


# what is refused


def test_an_empty_file_is_refused_with_the_command_that_sets_it_up(tmp_path):
    file = tmp_path / "library.db"
    file.touch()

    assert refusal(file) == f"{file} is empty: run `everyframe migrate` to set it up"

    with disposing(make_engine(url(file))) as engine:
        assert migrate.migrate(engine) is None
        check(engine)


def test_another_programs_database_is_refused_and_not_touched(tmp_path):
    file = tmp_path / "photos.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE photos (id)")
    before = file.read_bytes()

    assert refusal(file) == f"{file} is not an EveryFrame library: set EVERYFRAME_DATABASE_URL to another"
    with disposing(make_engine(url(file))) as engine, pytest.raises(SchemaError, match="not an EveryFrame"):
        migrate.migrate(engine)

    assert file.read_bytes() == before, "not even its journal mode"
    assert list(tmp_path.iterdir()) == [file]


def test_a_newer_library_is_refused_with_the_command_that_brings_the_newer_program(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    said = f"{file} was made by a newer EveryFrame (schema 9999): run `pip install --upgrade everyframe`"
    assert refusal(file) == said
    with disposing(make_engine(url(file))) as engine, pytest.raises(SchemaError, match="newer EveryFrame"):
        migrate.migrate(engine)


DAMAGES = {
    "a text file": lambda _: b"Dear diary,\n" * 500,
    "a text file shorter than a header": lambda _: b"hello",
    "the first half": lambda data: data[: len(data) // 2],
    "the first page": lambda data: data[:4096],
    "a part of a page": lambda data: data[:1000],
    "without its last page": lambda data: data[:-4096],
    "the header overwritten": lambda data: b"\0" * 100 + data[100:],
    "the schema overwritten": lambda data: data[:100] + b"\xff" * 3996 + data[4096:],
    "zeroes": lambda data: b"\0" * len(data),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_database_is_refused_in_one_line_that_says_what_to_do(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()

    said = refusal(file)

    assert said.startswith(f"{file} cannot be read as a database (")
    assert said.endswith("): restore a copy, or move it away to begin anew")
    assert "\n" not in said
    assert file.read_bytes() == before


def test_a_damage_deep_inside_is_found_when_every_page_is_checked(file):
    with opened(file) as engine:
        with writing(engine) as connection:
            extract(connection, add(connection), 500)
        check_pages(engine)
    data = bytearray(file.read_bytes())
    data[-20 * 4096 : -18 * 4096] = b"\x55" * 2 * 4096
    file.write_bytes(data)

    with opened(file) as engine, pytest.raises(SchemaError, match="restore a copy") as caught:
        check_pages(engine)

    assert "\n" not in str(caught.value)


def test_a_folder_in_its_place_is_refused(tmp_path):
    assert "cannot be opened" in refusal(tmp_path)


def test_a_library_locked_by_another_is_not_called_damaged(file, monkeypatch, newer):
    newer("op.add_column('videos', sa.Column('note', sa.Text()))")
    monkeypatch.setattr("db.engine.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        assert refusal(file) == f"{file} is locked by another program: close that, or try again in a moment"


# migrating


@pytest.fixture
def newer(monkeypatch, tmp_path):
    """Makes this program one of a newer schema, whose migration is the given lines."""
    versions = tmp_path / "versions"
    config_of_this_version = migrate._config

    def config():
        config = config_of_this_version()
        folders = [ROOT / "db" / "migrations" / "versions", versions]
        config.set_main_option("version_locations", os.pathsep.join(map(str, folders)))
        return config

    def write(lines: str) -> None:
        versions.mkdir()
        head = 'import sqlalchemy as sa\nfrom alembic import op\n\nrevision = "next"\n'
        body = textwrap.indent(textwrap.dedent(lines), "    ")
        script = f"{head}down_revision = {migrate.REVISION!r}\n\n\ndef upgrade():\n{body}\n"
        (versions / "next.py").write_text(script)
        monkeypatch.setattr(migrate, "_config", config)
        monkeypatch.setattr(migrate, "REVISION", "next")

    return write


@pytest.fixture
def filled(file):
    """A library with rows in it."""
    with opened(file) as engine, writing(engine) as connection:
        frames = extract(connection, add(connection), 3)
        describe(connection, frames[0], "a dog runs")
    return file


ANEW = """
    with op.batch_alter_table("videos", recreate="always") as batch:
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
"""


def copies(file: Path) -> list[Path]:
    return sorted(file.parent.glob("library.db.*"))


def test_an_older_library_is_refused_by_a_check_with_the_command(filled, newer):
    newer(ANEW)

    with disposing(make_engine(url(filled))) as engine, pytest.raises(OlderSchemaError) as caught:
        check(engine)

    assert str(caught.value) == f"{filled} is of an older EveryFrame (schema 0001): run `everyframe migrate`"


def test_an_older_library_is_migrated_when_it_is_opened_and_loses_nothing(filled, newer):
    newer(ANEW)

    with opened(filled) as engine:
        check(engine)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT title, note FROM videos")).all() == [("wedding", "none")]
            assert len(connection.execute(select(Frame.id)).all()) == 3, "though the table above them was made anew"
            assert len(connection.execute(select(Task.id)).all()) == 4
            assert len(search(connection, "dog").hits) == 1
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_before_it_a_copy_is_made_that_opens_and_has_the_rows(filled, newer):
    before = contents(filled)
    with opened(filled) as writer, writing(writer) as connection:  # one that lies in the WAL only
        add(connection, "added last")
    newer(ANEW)

    with disposing(make_engine(url(filled))) as engine:
        copy = migrate.migrate(engine)

    assert copies(filled) == [copy]
    assert copy.name == "library.db.before-next-from-0001"
    assert contents(copy).keys() == before.keys()
    with disposing(make_engine(url(copy))) as engine, reading(engine) as connection:
        assert connection.scalars(select(Video.title)).all() == ["wedding", "added last"]
        assert len(search(connection, "dog").hits) == 1
    with disposing(make_engine(url(copy))) as engine:
        check_pages(engine)
        with pytest.raises(OlderSchemaError):
            check(engine)


MIDWAY = {
    "a statement": "op.execute('SELECT * FROM nowhere')",
    "a row without its owner": "op.execute('DELETE FROM videos')",
    "an error in the script": "raise ZeroDivisionError",
}


@pytest.mark.parametrize("breaking", MIDWAY.values(), ids=MIDWAY.keys())
def test_a_migration_that_fails_midway_leaves_everything_as_it_was(filled, newer, breaking):
    before = contents(filled)
    newer(f"{ANEW}\n    op.create_table('extra', sa.Column('id', sa.Integer()))\n    {breaking}")

    with pytest.raises((SchemaError, RuntimeError, ZeroDivisionError)):
        open_library(url(filled))

    assert contents(filled) == before
    assert contents(copies(filled)[0]) == before


def test_a_migration_that_fails_says_so_in_one_line_and_where_the_copy_is(filled, newer):
    newer("op.execute('SELECT * FROM nowhere')")

    said = refusal(filled)

    assert "could not be migrated (no such table: nowhere); it is as it was, and a copy is" in said
    assert str(copies(filled)[0]) in said
    assert "\n" not in said


def test_after_a_failure_the_next_try_may_pass(filled, newer, tmp_path):
    newer("op.execute('SELECT * FROM nowhere')")
    refusal(filled)
    script = tmp_path / "versions" / "next.py"
    script.write_text(script.read_text().replace("SELECT * FROM nowhere", "CREATE TABLE extra (id)"))
    shutil.rmtree(script.parent / "__pycache__", ignore_errors=True)

    with opened(filled) as engine:
        assert inspect(engine).has_table("extra")

    assert len(copies(filled)) == 1


def test_without_room_for_the_copy_nothing_is_migrated(filled, newer):
    before = contents(filled)
    newer(ANEW)
    in_its_place = filled.parent / "library.db.before-next-from-0001"
    in_its_place.mkdir()

    assert refusal(filled).startswith("no copy could be made before the migration (")

    assert contents(filled) == before
    assert copies(filled) == [in_its_place], "and nothing half copied lies about"


def test_a_damaged_library_is_not_migrated(filled, newer):
    with opened(filled) as engine, writing(engine) as connection:
        extract(connection, add(connection, "long"), 500)
    data = bytearray(filled.read_bytes())
    data[-20 * 4096 : -18 * 4096] = b"\x55" * 2 * 4096
    filled.write_bytes(data)
    newer("op.create_table('extra', sa.Column('id', sa.Integer()))")

    assert "restore a copy" in refusal(filled)

    assert filled.read_bytes() == bytes(data)
    assert copies(filled) == []


# released schemas


def stored(script: Path, file: Path) -> Path:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
    return file


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
def test_a_library_of_every_released_schema_opens_and_keeps_what_is_in_it(script, tmp_path):
    with opened(stored(script, tmp_path / "library.db")) as engine:
        check(engine)
        check_pages(engine)
        with reading(engine) as connection:
            assert connection.scalars(select(Video.title)).all() == ["wedding"]
            assert connection.scalars(select(Frame.local_description).order_by(Frame.id)).first() == "Grandma laughs"
            assert [hit.source for hit in search(connection, "laughs cake").hits] == ["person", "deep"]
            tasks = connection.execute(select(Task.status, Task.lease_until).order_by(Task.id)).all()
            assert [task.status for task in tasks] == ["done", "done", "doing"]
            assert tasks[2].lease_until.tzinfo is not None


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
def test_a_released_migration_is_never_changed_afterwards(script, tmp_path):
    revision = script.stem.removeprefix("schema_")
    config = migrate._config()
    with disposing(make_engine(url(tmp_path / "made.db"))) as made, writing(made) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    def schema(file: Path) -> dict[str, str]:
        with closing(sqlite3.connect(file)) as connection:
            return dict(connection.execute("SELECT name, sql FROM sqlite_master"))

    assert schema(tmp_path / "made.db") == schema(stored(script, tmp_path / "stored.db")), (
        "write another migration; only before the first release: python -m tests.db.stored_schema"
    )


def test_every_revision_has_its_stored_schema():
    revisions = {script.revision for script in ScriptDirectory.from_config(migrate._config()).walk_revisions()}

    assert {script.stem.removeprefix("schema_") for script in RELEASED} == revisions
