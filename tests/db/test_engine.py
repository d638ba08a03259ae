"""The engine: SQLite settings for concurrent writers and durable commits, and datetimes in UTC."""

import errno
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from sqlalchemy import func, make_url, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from db.engine import (
    BUSY_SECONDS,
    MASK,
    absolute_url,
    database_file,
    make_engine,
    masked_url,
    migrating,
    reading,
    write_obstacle,
    writing,
)
from db.errors import (
    DatabaseFailedError,
    DatabaseFullError,
    DatabaseLockedError,
    DatabaseReadOnlyError,
    SchemaError,
    sqlite_file,
    storage_error,
)
from db.models import Frame, Video
from tests.db.library import NOW, add, add_tasks

ROOT = Path(__file__).parents[2]
WRITERS = 6
TURNS = 40


def pragma(connection, name):
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_every_connection_sets_wal_full_sync_foreign_keys_and_timeout(engine):
    with reading(engine) as first, reading(engine) as second, writing(engine) as third:
        for connection in (first, second, third):
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 2, "FULL: a power failure loses no commit"
            assert pragma(connection, "foreign_keys") == 1
            assert pragma(connection, "busy_timeout") == BUSY_SECONDS * 1000


def test_concurrent_writers_wait_and_lose_no_update(engine):
    with writing(engine) as connection:
        add(connection)
    errors = []

    def count():
        try:
            for _ in range(TURNS):
                with writing(engine) as connection:
                    seen = connection.execute(select(Video.decode_failures)).scalar_one()
                    connection.execute(update(Video).values(decode_failures=seen + 1))
        except Exception as error:  # noqa: BLE001 the main thread reports it
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with reading(engine) as connection:
        assert connection.scalar(select(Video.decode_failures)) == WRITERS * TURNS


def test_reader_does_not_wait_and_sees_no_uncommitted_rows(engine):
    with writing(engine) as writer:
        add(writer)
        with reading(engine) as reader:
            assert reader.scalar(select(func.count()).select_from(Video)) == 0


def test_read_transaction_sees_one_snapshot(engine):
    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(Video)) == 0
        with writing(engine) as writer:
            add(writer)
        assert reader.scalar(select(func.count()).select_from(Video)) == 0

    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(Video)) == 1


def test_error_rolls_the_whole_transaction_back(engine):
    def fail_midway():
        with writing(engine) as connection:
            add_tasks(connection, add(connection), 3)
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail_midway()

    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 0


def test_foreign_keys_are_enforced(library):
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        library.execute(Frame.__table__.insert().values(video_id=99, timestamp=0.0, image_path="x"))


def test_migration_may_recreate_a_table_that_others_refer_to(engine):
    with writing(engine) as connection:
        add_tasks(connection, add(connection), 3)

    with migrating(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM videos")
        connection.exec_driver_sql("DELETE FROM videos")
        connection.exec_driver_sql("INSERT INTO videos SELECT * FROM kept")

    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM tasks")) == 4
        assert pragma(connection, "foreign_keys") == 1


def test_migration_that_breaks_foreign_keys_is_rolled_back(engine):
    with writing(engine) as connection:
        add_tasks(connection, add(connection), 3)

    with pytest.raises(RuntimeError, match="broken foreign keys"), migrating(engine) as connection:
        connection.exec_driver_sql("DELETE FROM videos")

    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 1
        assert pragma(connection, "foreign_keys") == 1


def test_sqlite_file_is_the_path_or_none(engine, file):
    assert sqlite_file(engine) == file
    assert sqlite_file(make_engine("sqlite://")) is None


# datetimes


def stored(library, value):
    library.execute(update(Video).values(recorded_at=value))
    return library.scalar(select(Video.recorded_at))


def test_datetime_is_returned_in_utc(library):
    add(library)
    in_india = datetime(2026, 5, 1, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    returned = stored(library, in_india)

    assert returned == in_india
    assert returned.tzinfo is UTC
    assert (returned.day, returned.hour, returned.microsecond) == (30, 21, 123456)


def test_missing_datetime_stays_none(library):
    add(library)

    assert stored(library, None) is None


def test_datetime_without_a_zone_is_refused(library):
    add(library)

    with pytest.raises(StatementError, match="without a time zone"):
        stored(library, datetime(2026, 5, 1))  # noqa: DTZ001 the subject of the test


def test_datetimes_compare_correctly_across_zones(library):
    add(library, recorded_at=NOW.astimezone(timezone(timedelta(hours=-9))))
    same_hour_elsewhere = NOW.replace(tzinfo=timezone(timedelta(hours=9)))

    assert library.scalar(select(Video.id).where(Video.recorded_at <= NOW)) is not None
    assert library.scalar(select(Video.id).where(Video.recorded_at <= same_hour_elsewhere)) is None


# database URLs


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ann:secret@db/films", f"postgresql://ann:{MASK}@db/films"),
        ("postgresql://db/films?user=ann&Password=secret", "postgresql://db/films?Password=%2A%2A%2A&user=ann"),
        ("postgresql://ann:one@db/films?token=two", f"postgresql://ann:{MASK}@db/films?token=%2A%2A%2A"),
        ("postgresql://ann@db/films?sslmode=require", None),
        ("sqlite:///films/library.db", None),
    ],
)
def test_secrets_of_a_database_url_are_masked(url, masked):
    assert masked_url(url) == masked
    assert masked is None or MASK in unquote(masked), "so that a masked URL is recognized and not stored"


@pytest.mark.parametrize(
    ("url", "file", "absolute"),
    [
        ("sqlite:///films/library.db", "films/library.db", "sqlite:////home/films/library.db"),
        ("sqlite:////data/library.db", "/data/library.db", "sqlite:////data/library.db"),
        ("postgresql://ann:secret@db/films", None, "postgresql://ann:secret@db/films"),
        ("postgresql://db/films?password=secret", None, "postgresql://db/films?password=secret"),
        ("sqlite://", None, "sqlite://"),
    ],
)
def test_file_and_absolute_form_of_a_database_url(url, file, absolute, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert database_file(url) == (Path(file) if file is not None else None)
    assert absolute_url(url) == absolute.replace("/home", str(tmp_path))


@pytest.mark.parametrize("function", [database_file, absolute_url, masked_url, make_engine])
def test_invalid_database_url_is_refused_without_showing_it(function):
    with pytest.raises(SchemaError, match="EVERYFRAME_DATABASE_URL cannot be used") as caught:
        function("postgresql//ann:secret@db")

    assert "secret" not in str(caught.value)


# errors


class DriverError(Exception):
    """An error of a driver with an error code."""

    def __init__(self, **codes):
        super().__init__("words that nobody reads")
        vars(self).update(codes)


def classify(engine, **codes):
    return storage_error(engine, OperationalError("SELECT 1", {}, DriverError(**codes)))


CODES = {
    "SQLITE_BUSY": DatabaseLockedError,
    "SQLITE_BUSY_SNAPSHOT": DatabaseLockedError,
    "SQLITE_BUSY_TIMEOUT": DatabaseLockedError,
    "SQLITE_LOCKED": DatabaseLockedError,
    "SQLITE_LOCKED_SHAREDCACHE": DatabaseLockedError,
    "SQLITE_FULL": DatabaseFullError,
    "SQLITE_READONLY": DatabaseReadOnlyError,
    "SQLITE_READONLY_DBMOVED": DatabaseReadOnlyError,
    "SQLITE_CORRUPT": DatabaseFailedError,
    "SQLITE_CORRUPT_VTAB": DatabaseFailedError,
    "SQLITE_NOTADB": DatabaseFailedError,
    "SQLITE_IOERR_READ": DatabaseFailedError,
    "SQLITE_IOERR_WRITE": DatabaseFailedError,
    "SQLITE_CANTOPEN": DatabaseFailedError,
    "SQLITE_ERROR": DatabaseFailedError,
    "SQLITE_CONSTRAINT_UNIQUE": DatabaseFailedError,
    "SQLITE_NOMEM": DatabaseFailedError,
    "SQLITE_INTERRUPT": DatabaseFailedError,
}


@pytest.mark.parametrize("code", CODES)
def test_sqlite_errors_are_classified_by_code(engine, code):
    found = classify(engine, sqlite_errorcode=getattr(sqlite3, code))
    assert type(found) is CODES[code]
    assert "\n" not in str(found)
    assert ": " in str(found), "it names the next step"


def test_driver_error_without_a_code_is_fatal(engine):
    assert type(classify(engine)) is DatabaseFailedError


STATES = {
    "55P03": DatabaseLockedError,
    "40001": DatabaseLockedError,
    "40P01": DatabaseLockedError,
    "53100": DatabaseFullError,
    "42P01": DatabaseFailedError,
    "08006": DatabaseFailedError,
    None: DatabaseFailedError,
}


@pytest.mark.parametrize("state", STATES)
def test_postgresql_errors_are_classified_by_sqlstate(state):
    engine = SimpleNamespace(  # its driver may not be installed
        dialect=SimpleNamespace(name="postgresql"), url=make_url("postgresql://ann:secret@127.0.0.1:9/films")
    )
    found = classify(engine, sqlstate=state)
    assert type(found) is STATES[state]
    assert "secret" not in str(found)


@pytest.mark.parametrize("code", ["SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN"])
def test_failed_write_on_a_full_disk_is_a_full_disk(engine, code, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert type(classify(engine, sqlite_errorcode=getattr(sqlite3, code))) is DatabaseFullError


def test_failed_write_with_a_used_up_quota_is_a_full_disk(engine, monkeypatch):
    def no_quota(**_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_quota)
    assert type(classify(engine, sqlite_errorcode=sqlite3.SQLITE_IOERR_WRITE)) is DatabaseFullError


def test_locked_database_raises_a_locked_error(engine, file, monkeypatch):
    monkeypatch.setattr("db.engine.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert isinstance(write_obstacle(engine), DatabaseLockedError)
        with pytest.raises(DatabaseLockedError, match="is locked by another process"), writing(engine):
            pass
    assert write_obstacle(engine) is None


def test_deleted_database_is_an_error_and_not_made_anew(engine, file):
    with writing(engine) as connection:
        add(connection)
    file.unlink()
    for transaction in (reading, writing, reading):
        with pytest.raises(DatabaseFailedError, match="was deleted or replaced"), transaction(engine):
            pass
    assert not file.exists()


def test_disposed_engine_uses_the_file_that_is_there(engine, file):
    with reading(engine):
        pass
    backup = file.with_name("backup.db")
    shutil.copy(file, backup)
    backup.replace(file)
    with pytest.raises(DatabaseFailedError, match="was deleted or replaced"), reading(engine):
        pass
    engine.dispose()
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 0


def test_backup_copied_over_an_open_library_is_kept_as_it_is(engine, file):
    backup = file.read_bytes()
    with writing(engine) as connection:
        add(connection)
    for suffix in ("-wal", "-shm"):
        file.with_name(f"{file.name}{suffix}").unlink()
    file.write_bytes(backup)
    for transaction in (reading, writing, reading):
        with pytest.raises(DatabaseFailedError, match="was deleted or replaced"), transaction(engine):
            pass
    engine.dispose()
    assert file.read_bytes() == backup
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 0


# a library that cannot be written

MODES = {"file": (0o444, 0o755), "folder": (0o644, 0o555), "file and folder": (0o444, 0o555)}


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def read_only(request, file, file_permissions):
    file_mode, folder_mode = request.param
    file.chmod(file_mode)
    file.parent.chmod(folder_mode)
    yield file
    file.parent.chmod(0o755)
    file.chmod(0o644)


def test_read_only_library_is_read_and_not_written(read_only):
    engine = make_engine(f"sqlite:///{read_only}")
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 0
    with pytest.raises(DatabaseReadOnlyError, match="is read-only: make the file"), writing(engine) as connection:
        add(connection)
    assert isinstance(write_obstacle(engine), DatabaseReadOnlyError)
    assert [path.name for path in read_only.parent.glob("library*")] == ["library.db"], "no write-ahead log is left"


def test_read_only_reader_sees_what_another_process_writes(file, file_permissions):
    code = (
        "import sys; from db.engine import *; from db.models import Video; from tests.db.library import add\n"
        "engine = make_engine(sys.argv[1])\n"
        "with writing(engine) as connection: add(connection)\n"
        "print('added', flush=True); input()"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{file}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"added\n"
        file.parent.chmod(0o555)
        with reading(make_engine(f"sqlite:///{file}")) as connection:
            assert connection.scalar(select(func.count()).select_from(Video)) == 1, "although it is in the WAL only"
        file.parent.chmod(0o755)
        writer.communicate(b"\n")
