"""The heartbeat thread writes heartbeats and passes requests on while the event loop is busy."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from db import runs
from db.engine import writing
from db.errors import DatabaseLockedError
from enrich.process import is_alive, this_process
from enrich.worker import heartbeat
from enrich.worker.heartbeat import Heartbeat
from tests.waiting import wait_until
from tests.worker.workspace import Workspace


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)


@pytest.fixture
def run_id(workspace: Workspace) -> int:
    """A run that started an hour ago."""
    ago = datetime.now(UTC) - timedelta(hours=1)
    with writing(workspace.library.engine) as connection:
        return runs.begin(connection, this_process(), options={}, is_alive=is_alive, now=ago)[0]


def is_fresh(moment: str) -> bool:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC) > datetime.now(UTC) - timedelta(seconds=60)


def start_heartbeat(workspace: Workspace, run_id: int, on_request: Callable[[str], None] = lambda _: None) -> Heartbeat:
    return Heartbeat(workspace.library.engine, run_id, counts=lambda: {"frames_described": 3}, on_request=on_request)


def test_heartbeat_and_counts_are_written(workspace: Workspace, run_id: int) -> None:
    with start_heartbeat(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")), "a heartbeat is written")
    assert workspace.value("SELECT counts FROM runs") == '{"frames_described": 3}'


def test_request_is_passed_on(workspace: Workspace, run_id: int) -> None:
    asked: list[str] = []
    with start_heartbeat(workspace, run_id, asked.append):
        workspace.change("UPDATE runs SET requested = 'stop'")
        wait_until(lambda: "stop" in asked, "the request is passed on")


def test_heartbeat_survives_a_locked_database(
    workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, beats = runs.record_heartbeat, []

    def locked_at_first(*arguments: object, **named: object) -> str | None:
        beats.append(1)
        if len(beats) < 4:
            raise DatabaseLockedError("database is locked")
        return beat(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(heartbeat.runs, "record_heartbeat", locked_at_first)
    with start_heartbeat(workspace, run_id):
        wait_until(lambda: is_fresh(workspace.value("SELECT heartbeat_at FROM runs")), "a heartbeat is written")
    assert len(beats) >= 4


def test_heartbeat_stops_at_once_whatever_its_interval(
    workspace: Workspace, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 3600)
    start = time.monotonic()
    with start_heartbeat(workspace, run_id):
        pass
    assert time.monotonic() - start < 5
