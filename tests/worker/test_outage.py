"""A run whose database is locked, full, damaged, deleted or lacks a table: real errors of a real SQLite file."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from db.errors import DatabaseFailedError, DatabaseFullError, DatabaseLockedError, DatabaseReadOnlyError
from db.models import RunState
from enrich.library.library import Library
from enrich.worker import database_thread
from enrich.worker.database_thread import LOCKED_REASON, Outage
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_complete_without_attempts, assert_settled, assert_truthful

Clip = Callable[..., Path]
FRAMES = 40


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_thread, "RETRY_SECONDS", 0.02)


@pytest.fixture
def impatient(workspace: Workspace) -> Workspace:
    """A library whose connections wait for the lock for 20 ms only."""
    on_checkout(workspace.library, lambda connection: connection.execute("PRAGMA busy_timeout=20"))
    return workspace


def on_checkout(library: Library, prepare: Callable[[sqlite3.Connection], object]) -> None:
    event.listen(library.engine, "checkout", lambda connection, *_: prepare(connection))


def database(workspace: Workspace) -> Path:
    return workspace.settings.home / "library.db"


@contextmanager
def write_lock(workspace: Workspace) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(database(workspace), timeout=10, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class Disk:
    """A disk on which the database cannot grow while it `is_full`: SQLite itself reports that it is full.

    Every write of a worker lets the database grow, as the write-ahead log does on a real disk.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.is_full = False
        workspace.change("CREATE TABLE ballast (bytes)")
        grow = "BEGIN INSERT INTO ballast VALUES (zeroblob(8192)); END"
        workspace.change(f"CREATE TRIGGER runs_grow AFTER UPDATE ON runs {grow}")
        workspace.change(f"CREATE TRIGGER tasks_grow AFTER UPDATE ON tasks {grow}")
        workspace.change(f"CREATE TRIGGER frames_grow AFTER INSERT ON frames {grow}")
        on_checkout(workspace.library, self._limit)

    def _limit(self, connection: sqlite3.Connection) -> None:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages if self.is_full else 1_000_000}")


def is_described(worker: Worker, count: int) -> Callable[[], bool]:
    return lambda: worker.status.counts.frames_described > count


# locked


async def test_locked_database_shows_as_waiting_and_is_retried(
    impatient: Workspace, clip: Clip, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    standin.behave(delay=0.1)
    impatient.add(clip(frames=FRAMES))
    async with Running(impatient, RunOptions()) as running:
        worker = running.worker
        for described in (0, 10):
            await until(is_described(worker, described), "some are described")
            with write_lock(impatient):
                await until(lambda: worker.status.state is RunState.WAITING, "it shows that it waits")
                assert worker.status.reason == LOCKED_REASON
            await until(lambda: worker.status.reason is None, "it goes on")
        summary = await running.end()
    assert summary.is_good
    assert "is locked by another process" in caplog.text
    assert sorted(standin.described) == list(range(FRAMES))
    assert_truthful(impatient)
    assert_settled(impatient)


async def test_database_locked_too_long_ends_the_run_with_the_next_step(
    impatient: Workspace, clip: Clip, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.behave(delay=0.1)
    impatient.add(clip(frames=FRAMES))
    async with Running(impatient, RunOptions()) as running:
        await until(is_described(running.worker, 0), "some are described")
        with write_lock(impatient):
            monkeypatch.setattr(database_thread, "LOCKED_LIMIT_SECONDS", 0.5)
            error = await running.failure()
        assert isinstance(error, DatabaseFailedError)
        assert "is locked by another process: close it, or try again" in str(error)
        assert "so the run ended" in str(error)
        monkeypatch.setattr(database_thread, "LOCKED_LIMIT_SECONDS", 600.0)
        assert (await impatient.enrich()).is_good
        assert_complete_without_attempts(impatient)


async def test_idle_worker_also_gives_up_on_a_locked_database(
    impatient: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(impatient) as running:
        await until(lambda: running.worker.status.state is RunState.RUNNING, "it runs")
        with write_lock(impatient):
            monkeypatch.setattr(database_thread, "LOCKED_LIMIT_SECONDS", 0.3)
            assert isinstance(await running.failure(), DatabaseFailedError)


@pytest.mark.slow
async def test_stop_while_the_database_is_locked_ends_the_run_soon(
    impatient: Workspace, clip: Clip, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_thread, "STOP_LIMIT_SECONDS", 0.2)
    standin.behave(delay=0.1)
    impatient.add(clip(frames=FRAMES))
    async with Running(impatient, RunOptions()) as running:
        await until(is_described(running.worker, 0), "some are described")
        with write_lock(impatient):
            await until(lambda: running.worker.status.state is RunState.WAITING, "it waits")
            running.worker.stop()
            assert isinstance(await running.failure(), DatabaseLockedError)
        assert (await impatient.enrich()).is_good
        assert_truthful(impatient)


# full


async def test_full_disk_pauses_the_run_and_nothing_counts_as_failed(
    workspace: Workspace, clip: Clip, standin: StandIn
) -> None:
    disk = Disk(workspace)
    standin.behave(delay=0.1)
    workspace.add(clip(frames=FRAMES))
    async with Running(workspace, RunOptions()) as running:
        worker = running.worker
        for described in (0, 10):
            await until(is_described(worker, described), "some are described")
            disk.is_full = True
            await until(lambda: worker.status.state is RunState.WAITING, "it shows that it waits")
            assert worker.status.reason is not None
            assert f"the disk of {database(workspace)} is full: free at least 1 MB" in worker.status.reason
            disk.is_full = False
            await until(lambda: worker.status.reason is None, "it continues by itself")
        summary = await running.end()
    assert summary.is_good
    assert sorted(standin.described) == list(range(FRAMES)), "no model call is repeated"
    assert_complete_without_attempts(workspace)


@pytest.mark.slow
async def test_full_disk_has_no_time_limit(
    workspace: Workspace, clip: Clip, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_thread, "LOCKED_LIMIT_SECONDS", 0)
    disk = Disk(workspace)
    standin.behave(delay=0.1)
    workspace.add(clip(frames=FRAMES))
    async with Running(workspace, RunOptions()) as running:
        await until(is_described(running.worker, 0), "some are described")
        disk.is_full = True
        await until(lambda: running.worker.status.state is RunState.WAITING, "it waits")
        until_then = time.monotonic() + 0.5
        await until(lambda: time.monotonic() > until_then, "some retries later")
        disk.is_full = False
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_disk_that_is_full_from_the_first_frame_on_pauses_extraction(workspace: Workspace, clip: Clip) -> None:
    disk = Disk(workspace)
    workspace.add(clip(frames=FRAMES))
    disk.is_full = True
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: running.worker.status.state is RunState.WAITING, "it waits")
        disk.is_full = False
        assert (await running.end()).is_good
    assert workspace.video().error is None
    assert_complete_without_attempts(workspace)


async def test_stop_on_a_full_disk_ends_the_run_and_no_frame_is_repeated(
    workspace: Workspace, clip: Clip, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_thread, "STOP_LIMIT_SECONDS", 0.2)
    disk = Disk(workspace)
    standin.behave(delay=0.1)
    workspace.add(clip(frames=FRAMES))
    async with Running(workspace, RunOptions()) as running:
        await until(is_described(running.worker, 0), "some are described")
        disk.is_full = True
        await until(lambda: running.worker.status.state is RunState.WAITING, "it waits")
        running.worker.stop()
        assert isinstance(await running.failure(), DatabaseFullError)
        described = workspace.described()
        disk.is_full = False
        assert (await workspace.enrich()).counts.frames_described == FRAMES - described
        assert_complete_without_attempts(workspace)


# anything else


def overwrite(workspace: Workspace) -> None:
    """Damage every page but the first two, also in the write-ahead log."""
    for file in (database(workspace), database(workspace).with_name("library.db-wal")):
        size = file.stat().st_size
        with file.open("r+b") as damaged:
            damaged.seek(2 * 4096)
            damaged.write(b"\x55" * max(0, size - 2 * 4096))


def delete(workspace: Workspace) -> None:
    database(workspace).unlink()


def drop_table(workspace: Workspace) -> None:
    with closing(sqlite3.connect(database(workspace), timeout=10, isolation_level=None)) as other:
        other.execute("DROP TABLE tasks")


def replace(workspace: Workspace) -> None:
    file = database(workspace)
    copy = file.with_name("copy.db")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)


FATAL = {
    "overwritten": (overwrite, "cannot be read as a database", "restore a backup"),
    "deleted": (delete, "was deleted or replaced while it was in use", "restore a backup"),
    "replaced": (replace, "was deleted or replaced while it was in use", "restore a backup"),
    "without a table": (drop_table, "no such table", "everyframe doctor"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let a file in use be changed")
@pytest.mark.parametrize(("harm", "what", "step"), FATAL.values(), ids=FATAL.keys())
async def test_unusable_database_ends_the_run_at_once_with_the_next_step(
    workspace: Workspace,
    clip: Clip,
    standin: StandIn,
    harm: Callable[[Workspace], None],
    what: str,
    step: str,
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(frames=FRAMES))
    async with Running(workspace, RunOptions(until_idle=False)) as running:
        await until(is_described(running.worker, 0), "some are described")
        harm(workspace)
        error = await running.failure()
        assert isinstance(error, DatabaseFailedError)
        assert what in str(error)
        assert step in str(error)
        assert "\n" not in str(error)


async def test_idle_worker_ends_when_its_database_is_damaged(workspace: Workspace) -> None:
    async with Running(workspace) as running:
        await until(lambda: running.worker.status.state is RunState.RUNNING, "it runs")
        overwrite(workspace)
        assert isinstance(await running.failure(), DatabaseFailedError)


async def test_reason_of_a_fatal_error_is_in_the_run_row_if_it_can_be_written(
    workspace: Workspace, clip: Clip, standin: StandIn
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(frames=FRAMES))
    async with Running(workspace, RunOptions(until_idle=False)) as running:
        await until(is_described(running.worker, 0), "some are described")
        workspace.change("DROP TABLE analyses")
        error = await running.failure()
        assert isinstance(error, DatabaseFailedError)
        assert workspace.states_of_runs() == ["crashed"]
        assert "no such table" in workspace.value("SELECT error FROM runs")


async def test_paused_run_ends_when_its_database_is_damaged(workspace: Workspace) -> None:
    async with Running(workspace) as running:
        await until(lambda: running.worker.status.state is RunState.RUNNING, "it runs")
        workspace.change("UPDATE runs SET requested = 'pause'")
        await until(lambda: running.worker.status.state is RunState.PAUSED, "it is paused")
        overwrite(workspace)
        assert isinstance(await running.failure(), DatabaseFailedError)


# the outage itself


def test_each_piece_of_work_has_its_own_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_thread, "LOCKED_LIMIT_SECONDS", 0.05)
    found, locked = Outage(), DatabaseLockedError("locked")
    found.failed("writer", locked)
    found.failed("reader", locked)
    found.ended("reader")
    assert found.reason() == LOCKED_REASON, "the writer still waits"
    end = time.monotonic() + 0.06
    while time.monotonic() < end:
        found.ended("reader")
    with pytest.raises(DatabaseFailedError, match="so the run ended"):
        found.failed("writer", locked)
    assert found.error is not None


def test_read_only_database_is_not_retried() -> None:
    found = Outage()
    with pytest.raises(DatabaseReadOnlyError):
        found.failed("writer", DatabaseReadOnlyError("read-only"))
    assert found.reason() is None
    assert isinstance(found.error, DatabaseReadOnlyError)
