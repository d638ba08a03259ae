"""Background workers and the database: what is shown and said, and that a fatal error ends worker and supervisor."""

import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db import runs
from db.engine import writing
from db.models import RunState
from enrich.control import control
from enrich.control.status import WorkerHealth, read_status
from enrich.errors import ControlError
from enrich.logs import log_path
from enrich.process import this_process
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_truthful

LATE = timedelta(seconds=12)


@contextmanager
def write_lock(workspace: Workspace) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(workspace.settings.home / "library.db", timeout=10, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def late_run(workspace: Workspace) -> datetime:
    """A live run of this process without a heartbeat for 12 s; the time now."""
    now = datetime.now(UTC)
    with writing(workspace.library.engine) as connection:
        run_id, _ = runs.begin(connection, this_process(), options={}, is_alive=lambda _: True, now=now - LATE)
        runs.set_state(connection, run_id, RunState.RUNNING)
    return now


def test_status_says_that_the_database_is_locked_and_for_how_long(workspace: Workspace, late_run: datetime) -> None:
    with write_lock(workspace):
        found = read_status(workspace.library.engine, now=late_run, measures=False)
    assert (found.health, found.state) == (WorkerHealth.WELL, RunState.WAITING)
    assert found.run is not None
    assert found.run.reason == "the database is locked by another process (12 s): close that program; retrying"
    later = late_run + timedelta(minutes=5)
    with write_lock(workspace):
        assert read_status(workspace.library.engine, now=later, measures=False).health is WorkerHealth.WELL
    assert read_status(workspace.library.engine, now=later, measures=False).health is WorkerHealth.SILENT


def test_status_says_that_the_disk_is_full(
    workspace: Workspace, late_run: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.engine.NEEDED_BYTES", 10**18)
    found = read_status(workspace.library.engine, now=late_run, measures=False)
    assert found.state is RunState.WAITING
    assert found.run is not None
    assert "is full: free at least" in (found.run.reason or "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot suspend a process")
def test_pause_of_a_suspended_worker_names_the_next_step(
    settings: Settings, workspace: Workspace, background: Background
) -> None:
    control.start(settings)
    background.until_state("running")
    worker = background.worker()
    worker.send_signal(signal.SIGSTOP)
    background.until(lambda: worker.status() == "stopped", "it is suspended")
    step = r"is suspended: continue the process, or end it with `everyframe stop`"
    try:
        for request in (control.pause, control.resume):
            with pytest.raises(ControlError, match=step):
                request(settings)
        status = read_status(workspace.library.engine, now=datetime.now(UTC), measures=False)
        assert status.health is WorkerHealth.SILENT
    finally:
        worker.send_signal(signal.SIGCONT)
    background.until_state("running")
    assert control.pause(settings).is_done


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot suspend a process")
def test_stop_ends_a_suspended_worker(
    settings: Settings, workspace: Workspace, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "TERMINATE_SECONDS", 1.0)
    control.start(settings)
    background.until_state("running")
    background.worker().send_signal(signal.SIGSTOP)
    stopped = control.stop(settings, grace_seconds=1)
    assert stopped is not None
    assert stopped.was_killed
    assert workspace.states_of_runs() == ["stopped"]


def test_worker_without_a_heartbeat_is_reported_by_pause(
    settings: Settings, workspace: Workspace, late_run: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REQUEST_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(ControlError, match=r"has not responded for 1\d s: .*`everyframe stop`"):
        control.pause(settings)


@pytest.mark.slow
def test_stop_while_the_database_is_locked_does_not_wait_for_it(
    settings: Settings, workspace: Workspace, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.engine.BUSY_SECONDS", 0.2)
    monkeypatch.setattr(control, "TERMINATE_SECONDS", 1.0)
    control.start(settings)
    background.until_state("running")
    with write_lock(workspace):
        stopped = control.stop(settings)
    assert stopped is not None
    assert stopped.was_killed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let a file in use be changed")
def test_supervisor_does_not_restart_a_worker_whose_database_is_damaged(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip)
    control.start(settings)
    background.until_described(3)
    worker, supervisor = background.worker(), background.supervisor()
    whole = {file: file.read_bytes() for file in workspace.settings.home.glob("library.db*")}
    for file, data in whole.items():
        if not file.name.endswith("-shm"):
            with file.open("r+b") as damaged:
                damaged.seek(2 * 4096)
                damaged.write(b"\x55" * max(0, len(data) - 2 * 4096))
    background.until(lambda: not worker.is_running() and not supervisor.is_running(), "both have ended")
    output = (settings.home / "logs" / "output.txt").read_text(encoding="utf-8")
    assert output.count("\n") == 1, output
    assert output.startswith("everyframe: ")
    assert "cannot be read as a database" in output
    assert "restore a backup" in output
    assert "Traceback" not in output
    assert log_path(settings).read_text(encoding="utf-8").count("run_began") == 1
    workspace.library.engine.dispose()
    for file in whole:
        file.unlink(missing_ok=True)
    for file, data in whole.items():
        if file.name.endswith((".db", "-wal")):
            file.write_bytes(data)
    started = control.start(settings)
    assert not started.was_running, "the run of the ended process is not taken for live"
    background.until(lambda: workspace.video().enrichment_status == "enriched", "it is enriched")
    assert_truthful(workspace)
