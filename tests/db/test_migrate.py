"""Opening a library: created, checked, migrated after a backup, or refused in one line; never half migrated."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text

from db import migrate
from db.engine import make_engine, reading, writing
from db.errors import StorageError, full_sentence
from db.migrate import OlderSchemaError, SchemaError, check, check_integrity, open_library
from db.models import Frame, Task, Video
from db.search import search
from tests.db.conftest import RECREATE
from tests.db.library import add, contents, describe, disposing, extract, opened, refusal, url

ROOT = Path(__file__).parents[2]
OF_THIS_VERSION = migrate.REVISION  # the `newer` fixture changes it


# a new library


def test_new_library_is_created_with_its_folder(tmp_path):
    file = tmp_path / "a folder" / "100%" / "library.db"

    with opened(file) as engine:
        check(engine)
        with writing(engine) as connection:
            describe(connection, extract(connection, add(connection))[0], "a dog")
            assert len(search(connection, "dog").hits) == 1
        with reading(engine) as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"

    assert [path.name for path in file.parent.iterdir()] == ["library.db"], "there was nothing to back up"


def test_opening_it_again_changes_nothing(file):
    before = contents(file)

    with opened(file) as engine:
        assert migrate.migrate(engine) is None

    assert contents(file) == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_processes_can_create_the_same_library_at_once(tmp_path):
    code = "import sys; from db.migrate import open_library; input(); open_library(sys.argv[1]).dispose()"
    command_line = [sys.executable, "-c", code, url(tmp_path / "library.db")]
    programs = [
        subprocess.Popen(command_line, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for program in programs:
        program.stdin.write(b"\n")
        program.stdin.flush()
    message = [program.communicate()[1].decode() for program in programs]

    assert message == [""] * 4
    assert [program.returncode for program in programs] == [0] * 4


def test_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("no folder")

    assert "cannot be created" in refusal(tmp_path / "file" / "library.db")


def test_there_is_one_line_of_migrations():
    assert ScriptDirectory.from_config(migrate._config()).get_heads() == [migrate.REVISION]


# refused databases


def test_empty_file_is_refused_with_the_command_to_set_it_up(tmp_path):
    file = tmp_path / "library.db"
    file.touch()

    assert refusal(file) == f"{file} is empty: run `everyframe migrate` to set it up"

    with disposing(make_engine(url(file))) as engine:
        assert migrate.migrate(engine) is None
        check(engine)


def test_another_programs_database_is_refused_and_not_changed(tmp_path):
    file = tmp_path / "photos.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE photos (id)")
    before = file.read_bytes()

    assert refusal(file) == f"{file} is not an EveryFrame library: set EVERYFRAME_DATABASE_URL to another database"
    with disposing(make_engine(url(file))) as engine, pytest.raises(SchemaError, match="not an EveryFrame"):
        migrate.migrate(engine)

    assert file.read_bytes() == before, "including its journal mode"
    assert list(tmp_path.iterdir()) == [file]


def test_newer_library_is_refused_with_the_upgrade_command(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    message = f"{file} was made by a newer EveryFrame (schema 9999): run `pip install --upgrade everyframe`"
    assert refusal(file) == message
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
def test_damaged_database_is_refused_with_the_next_step_in_one_line(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()

    message = refusal(file)

    assert message.startswith(f"{file} cannot be read as a database (")
    assert message.endswith("): restore a backup, or move the file away to start a new library")
    assert "\n" not in message
    assert file.read_bytes() == before


def test_integrity_check_finds_damage_deep_in_the_file(file):
    with opened(file) as engine:
        with writing(engine) as connection:
            extract(connection, add(connection), 500)
        check_integrity(engine)
    data = bytearray(file.read_bytes())
    data[-20 * 4096 : -18 * 4096] = b"\x55" * 2 * 4096
    file.write_bytes(data)

    with opened(file) as engine, pytest.raises(StorageError, match="restore a backup") as caught:
        check_integrity(engine)

    assert "\n" not in str(caught.value)


def test_folder_instead_of_a_file_is_refused(tmp_path):
    assert "cannot be opened" in refusal(tmp_path)


def test_locked_library_is_reported_as_locked_not_damaged(file, monkeypatch, newer):
    newer("op.add_column('videos', sa.Column('note', sa.Text()))")
    monkeypatch.setattr("db.engine.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        assert refusal(file) == f"{file} is locked by another process: close it, or try again in a moment"


# migrating


@pytest.fixture
def filled(file):
    """A library with rows in it."""
    with opened(file) as engine, writing(engine) as connection:
        frames = extract(connection, add(connection), 3)
        describe(connection, frames[0], "a dog runs")
    return file


def backups(file: Path) -> list[Path]:
    return sorted(file.parent.glob("library.db.*"))


def test_check_refuses_an_older_library_with_the_command(filled, newer):
    newer(RECREATE)

    with disposing(make_engine(url(filled))) as engine, pytest.raises(OlderSchemaError) as caught:
        check(engine)

    assert (
        str(caught.value)
        == f"{filled} was made by an older EveryFrame (schema {OF_THIS_VERSION}): run `everyframe migrate`"
    )


def test_older_library_is_migrated_on_opening_and_keeps_its_rows(filled, newer):
    newer(RECREATE)

    with opened(filled) as engine:
        check(engine)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT title, note FROM videos")).all() == [("wedding", "none")]
            assert len(connection.execute(select(Frame.id)).all()) == 3, "although videos was recreated"
            assert len(connection.execute(select(Task.id)).all()) == 4
            assert len(search(connection, "dog").hits) == 1
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_backup_made_before_a_migration_has_all_rows(filled, newer):
    before = contents(filled)
    with opened(filled) as writer, writing(writer) as connection:  # a row that is only in the WAL
        add(connection, "added last")
    newer(RECREATE)

    with disposing(make_engine(url(filled))) as engine:
        backup = migrate.migrate(engine)

    assert backups(filled) == [backup]
    assert backup.name == f"library.db.before-next-from-{OF_THIS_VERSION}"
    assert contents(backup).keys() == before.keys()
    with disposing(make_engine(url(backup))) as engine, reading(engine) as connection:
        assert connection.scalars(select(Video.title)).all() == ["wedding", "added last"]
        assert len(search(connection, "dog").hits) == 1
    with disposing(make_engine(url(backup))) as engine:
        check_integrity(engine)
        with pytest.raises(OlderSchemaError):
            check(engine)


MIDWAY = {
    "a statement": "op.execute('SELECT * FROM nowhere')",
    "a row without its owner": "op.execute('DELETE FROM videos')",
    "an error in the script": "raise ZeroDivisionError",
}


@pytest.mark.parametrize("breaking", MIDWAY.values(), ids=MIDWAY.keys())
def test_migration_that_fails_midway_changes_nothing(filled, newer, breaking):
    before = contents(filled)
    newer(f"{RECREATE}\n    op.create_table('extra', sa.Column('id', sa.Integer()))\n    {breaking}")

    with pytest.raises((SchemaError, RuntimeError, ZeroDivisionError)):
        open_library(url(filled))

    assert contents(filled) == before
    assert contents(backups(filled)[0]) == before


def test_failed_migration_is_one_line_with_the_path_of_the_backup(filled, newer):
    newer("op.execute('SELECT * FROM nowhere')")

    message = refusal(filled)

    assert "could not be migrated (no such table: nowhere); it was not changed (backup: " in message
    assert str(backups(filled)[0]) in message
    assert "\n" not in message


def test_full_disk_during_a_migration_is_reported_as_full(filled, newer):
    before = contents(filled)
    newer("op.execute('PRAGMA max_page_count = 1')\nop.create_table('extra', sa.Column('id', sa.Integer()))")

    assert refusal(filled) == full_sentence(str(filled))

    assert contents(filled) == before


def test_migration_can_be_retried_after_a_failure(filled, newer, tmp_path):
    newer("op.execute('SELECT * FROM nowhere')")
    refusal(filled)
    script = tmp_path / "versions" / "next.py"
    script.write_text(script.read_text().replace("SELECT * FROM nowhere", "CREATE TABLE extra (id)"))
    shutil.rmtree(script.parent / "__pycache__", ignore_errors=True)

    with opened(filled) as engine:
        assert inspect(engine).has_table("extra")

    assert len(backups(filled)) == 1


def test_migration_is_refused_if_the_backup_fails(filled, newer):
    before = contents(filled)
    newer(RECREATE)
    obstacle = filled.parent / f"library.db.before-next-from-{OF_THIS_VERSION}"
    obstacle.mkdir()

    assert refusal(filled).startswith(f"cannot back up {filled} before the migration (")

    assert contents(filled) == before
    assert backups(filled) == [obstacle], "no partial copy is left"


def test_damaged_library_is_not_migrated(filled, newer):
    with opened(filled) as engine, writing(engine) as connection:
        extract(connection, add(connection, "long"), 500)
    data = bytearray(filled.read_bytes())
    data[-20 * 4096 : -18 * 4096] = b"\x55" * 2 * 4096
    filled.write_bytes(data)
    newer("op.create_table('extra', sa.Column('id', sa.Integer()))")

    assert "restore a backup" in refusal(filled)

    assert filled.read_bytes() == bytes(data)
    assert backups(filled) == []


# a library that cannot be written


def test_older_read_only_library_is_refused_without_a_change(filled, newer, file_permissions):
    newer(RECREATE)
    before = filled.read_bytes()
    filled.chmod(0o444)

    assert refusal(filled) == (
        f"{filled} is read-only: make the file and its folder writable, or set EVERYFRAME_HOME to another folder"
    )
    assert filled.read_bytes() == before
    assert backups(filled) == []
