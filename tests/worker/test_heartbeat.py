"""The heartbeat thread: it writes heartbeats, renews leases and passes requests on while the event loop is busy."""

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
    """A run that started an hour ago."""
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


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_fresh(moment: str) -> bool:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC) > datetime.now(UTC) - timedelta(seconds=60)


def start_heartbeat(workspace: Workspace, run_id: int, on_request: Callable[[str], None] = lambda _: None) -> Heartbeat:
    return Heartbeat(workspace.library.engine, run_id, counts=lambda: {"frames_described": 3}, on_request=on_request)


def test_heartbeat_and_counts_are_written(workspace: Workspace, run_id: int) -> None:
    with start_heartbeat(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
    assert workspace.value("SELECT counts FROM runs") == '{"frames_described": 3}'


def test_leases_are_renewed_until_the_task_is_dropped(
    workspace: Workspace, run_id: int, job: queue.ClaimedTask
) -> None:
    lease = "SELECT lease_until FROM tasks"
    with start_heartbeat(workspace, run_id) as active:
        active.hold(job)
        wait_until(lambda: is_fresh(workspace.value(lease)))
        active.drop(job)
    before = workspace.value(lease)
    with start_heartbeat(workspace, run_id):
        beat = workspace.value("SELECT heartbeat_at FROM runs")
        wait_until(lambda: workspace.value("SELECT heartbeat_at FROM runs") > beat)
    assert workspace.value(lease) == before


def test_lease_of_a_task_claimed_by_another_worker_is_not_renewed(
    workspace: Workspace, run_id: int, job: queue.ClaimedTask
) -> None:
    workspace.change("UPDATE tasks SET lease_token = 'another', lease_until = '2100-01-01 00:00:00.000000'")
    before = workspace.value("SELECT lease_until FROM tasks")
    with start_heartbeat(workspace, run_id) as active:
        active.hold(job)
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
        wait_until(active._thread.is_alive)
    assert workspace.value("SELECT lease_until FROM tasks") == before


def test_request_is_passed_on(workspace: Workspace, run_id: int) -> None:
    asked: list[str] = []
    with start_heartbeat(workspace, run_id, asked.append):
        workspace.change("UPDATE runs SET requested = 'stop'")
        wait_until(lambda: "stop" in asked)


def test_heartbeat_survives_a_locked_database(
    workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, beats = runs.beat, []

    def locked_at_first(*arguments: object, **named: object) -> str | None:
        beats.append(1)
        if len(beats) < 4:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return beat(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(heartbeat.runs, "beat", locked_at_first)
    with start_heartbeat(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")))
    assert len(beats) >= 4


def test_heartbeat_stops_at_once_whatever_its_interval(
    workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 3600)
    start = time.monotonic()
    with start_heartbeat(workspace, run_id):
        pass
    assert time.monotonic() - start < 5
