"""The end of a run, stopped or failed at any moment, and what it leaves to the next one."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from db import store
from db.errors import DatabaseFailedError
from enrich.errors import RunningError
from enrich.worker import result_writer, worker
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_complete_without_attempts, assert_settled, assert_truthful

Clip = Callable[..., Path]


async def test_second_worker_is_refused_while_the_first_runs(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(12))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() > 0, "the first one runs")
        with pytest.raises(RunningError, match="already"):
            await workspace.enrich()
        await running.end()
    assert_complete_without_attempts(workspace)


async def test_stop_finishes_requests_in_flight_and_releases_the_rest(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 3, "some are described")
        running.worker.stop()
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert_settled(workspace)
    assert workspace.attempts() == 0
    answered = sum(request.status == HTTPStatus.OK for request in standin.chats)
    assert workspace.described() == answered, "requests in flight are completed and saved"

    standin.behave(delay=0)
    assert (await workspace.enrich()).is_good
    assert_complete_without_attempts(workspace)


async def test_stop_request_in_the_database_is_obeyed(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(60))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 1, "the worker runs")
        workspace.change("UPDATE runs SET requested = 'stop'")
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert_settled(workspace)


async def test_failed_write_ends_the_run_with_its_error(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_description(*_: object, **__: object) -> None:
        raise IntegrityError("UPDATE frames", {}, Exception("constraint failed"))

    monkeypatch.setattr(result_writer.store, "save_description", save_description)
    workspace.add(clip(frames=6))
    running = asyncio.create_task(workspace.enrich())
    await until(running.done, "the run ends by itself")
    with pytest.raises(DatabaseFailedError, match="constraint failed"):
        await running
    assert workspace.states_of_runs() == ["crashed"]
    assert workspace.described() == 0


async def test_requests_beyond_the_grace_time_are_cancelled_uncounted(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.1)
    workspace.add(clip(frames=60))
    standin.behave(delay=0.01)
    async with Running(workspace) as running:
        await until(lambda: workspace.described() > 2, "some are described")
        standin.behave(delay=5)
        calls = len(standin.chats)
        await until(lambda: len(standin.chats) >= calls + 2, "slow requests are in flight")
        running.worker.stop()
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert workspace.states_of_runs() == ["stopped"]
    assert workspace.attempts() == 0
    assert workspace.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0
    assert_settled(workspace)
    assert workspace.described() == summary.counts.frames_described
    standin.behave(delay=0)
    await workspace.enrich()
    assert_truthful(workspace)
    assert workspace.value("SELECT count(*) FROM analyses WHERE is_kept") == 60


async def test_stop_at_any_moment_leaves_nothing_claimed(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=40), clip(frames=40, first=500), clip(frames=40, first=900))
    for pause in range(12):
        async with Running(workspace) as running:
            await asyncio.sleep(pause / 100)
            running.worker.stop()
            await running.end()
        assert_settled(workspace)
        assert workspace.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0
    await workspace.enrich()
    for number, first in enumerate((0, 500, 900), 1):
        assert_truthful(workspace, number, first)
    assert sum(number is not None for number in standin.described) == 120


async def test_cancellation_at_any_moment_leaves_nothing_claimed(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(frames=60))
    for pause in (0.0, 0.005, 0.05, 0.2, 0.3):
        describer = workspace.describer()
        running = asyncio.create_task(workspace.worker(describer=describer).run())
        await asyncio.sleep(pause)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await describer.close()
        assert_settled(workspace)
        assert set(workspace.states_of_runs()) <= {"stopped"}
    await workspace.enrich()
    assert_truthful(workspace)


async def test_tasks_left_claimed_by_an_ended_run_are_reclaimed_at_once(workspace: Workspace, clip: Clip) -> None:
    """The lease has not expired and the run is marked as stopped: a new worker is the only one, so it may reclaim."""
    workspace.add(clip(frames=6))
    await workspace.worker(RunOptions(describe=False)).run()
    workspace.change(
        "UPDATE tasks SET status = 'doing', lease_token = 'left', run_id = 1, "
        "lease_until = datetime('now', '+60 seconds') WHERE id = (SELECT max(id) FROM tasks)"
    )
    await workspace.enrich()
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_exception_counts_as_a_crash_for_claimed_tasks(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(clip(frames=20))

    async def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("enrich.worker.host_runner.ask", broken)
    for _ in range(3):
        with pytest.raises(MemoryError):
            await workspace.enrich()

    assert workspace.states_of_runs() == ["crashed"] * 3
    assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
    failed = workspace.ask("SELECT error FROM tasks WHERE status = 'failed'")
    assert failed == [(store.CRASH_LIMIT_REACHED,)], "only one ran alone at the third crash"
