"""The keeper: heartbeats and leases go on whatever the event loop does, and requests are handed on."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from db import queue, runs
from db.engine import writing
from db.models import TaskKind
from enrich.process import is_alive, this_process
from enrich.worker import heartbeat
from enrich.worker.heartbeat import Heartbeat
from tests.worker.workspace import Workspace


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "RENEW_SECONDS", 0.02)


@pytest.fixture
def run_id(workspace: Workspace) -> int:
    """A run that began an hour ago."""
    ago = datetime.now(UTC) - timedelta(hours=1)
    with writing(workspace.library.engine) as connection:
        return runs.begin(connection, this_process(), options={}, is_alive=is_alive, now=ago)[0]


@pytest.fixture
def job(workspace: Workspace, clip: Callable[..., Path], run_id: int) -> Iterator[queue.ClaimedTask]:
    """A task claimed an hour ago."""
    workspace.add(clip())
    ago = datetime.now(UTC) - timedelta(hours=1)
    with writing(workspace.library.engine) as connection:
        [job] = queue.claim(connection, kind=TaskKind.EXTRACT, run_id=run_id, host="here", limit=1, now=ago)
    return job


def wait_until(happens: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_fresh(moment: str) -> bool:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC) > datetime.now(UTC) - timedelta(seconds=60)


def keep(workspace: Workspace, run_id: int, on_request: Callable[[str], None] = lambda _: None) -> Heartbeat:
    return Heartbeat(workspace.library.engine, run_id, counts=lambda: {"frames_described": 3}, on_request=on_request)


def test_the_heartbeat_and_the_counts_are_written(workspace: Workspace, run_id: int) -> None:
    with keep(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
    assert workspace.value("SELECT counts FROM runs") == '{"frames_described": 3}'


def test_leases_of_held_tasks_are_pushed_on_until_they_are_dropped(
    workspace: Workspace, run_id: int, job: queue.ClaimedTask
) -> None:
    lease = "SELECT lease_until FROM tasks"
    with keep(workspace, run_id) as kept:
        kept.hold(job)
        wait_until(lambda: is_fresh(workspace.value(lease)))
        kept.drop(job)
    before = workspace.value(lease)
    with keep(workspace, run_id):
        beat = workspace.value("SELECT heartbeat_at FROM runs")
        wait_until(lambda: workspace.value("SELECT heartbeat_at FROM runs") > beat)
    assert workspace.value(lease) == before


def test_a_task_that_is_not_ours_any_more_is_left_alone(
    workspace: Workspace, run_id: int, job: queue.ClaimedTask
) -> None:
    workspace.change("UPDATE tasks SET lease_token = 'another', lease_until = '2100-01-01 00:00:00.000000'")
    before = workspace.value("SELECT lease_until FROM tasks")
    with keep(workspace, run_id) as kept:
        kept.hold(job)
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
        wait_until(kept._thread.is_alive)
    assert workspace.value("SELECT lease_until FROM tasks") == before


def test_a_request_is_handed_on(workspace: Workspace, run_id: int) -> None:
    asked: list[str] = []
    with keep(workspace, run_id, asked.append):
        workspace.change("UPDATE runs SET requested = 'stop'")
        wait_until(lambda: "stop" in asked)


def test_a_locked_database_does_not_end_it(workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    beat, beats = runs.beat, []

    def locked_at_first(*arguments: object, **named: object) -> str | None:
        beats.append(1)
        if len(beats) < 4:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return beat(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(heartbeat.runs, "beat", locked_at_first)
    with keep(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
    assert len(beats) >= 4


def test_it_ends_at_once_however_long_its_beats_are(
    workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 3600)
    start = time.monotonic()
    with keep(workspace, run_id):
        pass
    assert time.monotonic() - start < 5
