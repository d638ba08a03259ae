"""The engine: what SQLite is told, so that many may write at once and nothing saved is lost."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from db.engine import BUSY_SECONDS, make_engine, migrating, reading, sqlite_file, writing
from db.models import Frame, Video
from tests.db.library import NOW, add, add_tasks

WRITERS = 6
TURNS = 40


def pragma(connection, name):
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_every_connection_is_durable_strict_about_references_and_patient(engine):
    with reading(engine) as first, reading(engine) as second, writing(engine) as third:
        for connection in (first, second, third):
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 2, "FULL: a power cut loses no commit"
            assert pragma(connection, "foreign_keys") == 1
            assert pragma(connection, "busy_timeout") == BUSY_SECONDS * 1000


def test_writers_queue_and_none_works_on_what_it_read_too_early(engine):
    with writing(engine) as connection:
        add(connection)
    errors = []

    def count():
        try:
            for _ in range(TURNS):
                with writing(engine) as connection:
                    seen = connection.execute(select(Video.decode_failures)).scalar_one()
                    connection.execute(update(Video).values(decode_failures=seen + 1))
        except Exception as error:  # noqa: BLE001 whatever it is, the main thread tells
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with reading(engine) as connection:
        assert connection.scalar(select(Video.decode_failures)) == WRITERS * TURNS


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_is_not_committed(engine):
    with writing(engine) as writer:
        add(writer)
        with reading(engine) as reader:
            assert reader.scalar(select(func.count()).select_from(Video)) == 0


def test_a_read_transaction_sees_one_view_from_its_first_look_on(engine):
    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(Video)) == 0
        with writing(engine) as writer:
            add(writer)
        assert reader.scalar(select(func.count()).select_from(Video)) == 0

    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(Video)) == 1


def test_an_error_rolls_the_whole_transaction_back(engine):
    def fail_midway():
        with writing(engine) as connection:
            add_tasks(connection, add(connection), 3)
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail_midway()

    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 0


def test_a_row_cannot_refer_to_nothing(library):
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        library.execute(Frame.__table__.insert().values(video_id=99, timestamp=0.0, image_path="x"))


def test_a_migration_may_drop_a_table_without_taking_along_what_refers_to_it(engine):
    with writing(engine) as connection:
        add_tasks(connection, add(connection), 3)

    with migrating(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE kept AS SELECT * FROM videos")
        connection.exec_driver_sql("DELETE FROM videos")
        connection.exec_driver_sql("INSERT INTO videos SELECT * FROM kept")

    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM tasks")) == 4
        assert pragma(connection, "foreign_keys") == 1


def test_a_migration_that_leaves_rows_referring_to_nothing_is_rolled_back(engine):
    with writing(engine) as connection:
        add_tasks(connection, add(connection), 3)

    with pytest.raises(RuntimeError, match="refer to nothing"), migrating(engine) as connection:
        connection.exec_driver_sql("DELETE FROM videos")

    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Video)) == 1
        assert pragma(connection, "foreign_keys") == 1


def test_the_file_of_a_library_is_known_where_there_is_one(engine, file):
    assert sqlite_file(engine) == file
    assert sqlite_file(make_engine("sqlite://")) is None


# moments


def added_at(library, moment):
    library.execute(update(Video).values(recorded_at=moment))
    return library.scalar(select(Video.recorded_at))


def test_a_moment_comes_back_as_the_same_moment_in_utc(library):
    add(library)
    in_india = datetime(2026, 5, 1, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    back = added_at(library, in_india)

    assert back == in_india
    assert back.tzinfo is UTC
    assert (back.day, back.hour, back.microsecond) == (30, 21, 123456)


def test_no_moment_stays_none(library):
    add(library)

    assert added_at(library, None) is None


def test_a_moment_without_a_zone_is_refused(library):
    add(library)

    with pytest.raises(StatementError, match="without a time zone"):
        added_at(library, datetime(2026, 5, 1))  # noqa: DTZ001 that is what is refused


def test_moments_compare_as_moments_whatever_zone_they_came_in(library):
    add(library, recorded_at=NOW.astimezone(timezone(timedelta(hours=-9))))
    same_hour_elsewhere = NOW.replace(tzinfo=timezone(timedelta(hours=9)))

    assert library.scalar(select(Video.id).where(Video.recorded_at <= NOW)) is not None
    assert library.scalar(select(Video.id).where(Video.recorded_at <= same_hour_elsewhere)) is None
