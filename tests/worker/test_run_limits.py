"""The limits of a run: frames, a duration, a moment."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from enrich.worker import run_limits
from enrich.worker.run_limits import RunDeadline
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]
AT_ONCE_SECONDS = 0.4  # latency between sending and receiving a request on a busy machine


def seconds_from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


class WallClock:
    """A wall clock that a test can set."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)

    def now(self, zone: Any) -> datetime:
        return self.moment.astimezone(zone)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(run_limits, "datetime", clock)
    monkeypatch.setattr(run_limits, "POLL_SECONDS", 0.02)
    return clock


@pytest.mark.parametrize("kind", ["moment", "length"])
async def test_no_request_starts_after_the_deadline_and_none_is_cut_short(
    kind: str, workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=2))
    standin.behave(delay=0.3)
    standin.forget()
    began = time.monotonic()
    options = RunOptions(until=seconds_from_now(3)) if kind == "moment" else RunOptions(within_seconds=3)
    summary = await workspace.enrich(options)
    assert summary.ending is RunEnd.TIME_UP
    assert 3 <= time.monotonic() - began < 6
    assert standin.chats
    assert max(chat.at for chat in standin.chats) <= began + 3 + AT_ONCE_SECONDS
    assert summary.counts.frames_described == len(standin.chats)
    assert_settled(workspace)


@pytest.mark.slow
async def test_deadline_holds_while_the_database_is_locked(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=2))
    standin.behave(delay=0.2)
    began = time.monotonic()
    async with Running(workspace, RunOptions(within_seconds=3)) as running:
        await until(lambda: len(standin.chats) > 2, "it describes")
        with sqlite3.connect(workspace.settings.home / "library.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            await until(lambda: time.monotonic() > began + 4, "the deadline has passed")
            other.execute("ROLLBACK")
        other.close()
        assert (await running.end()).ending is RunEnd.TIME_UP
    assert max(chat.at for chat in standin.chats) <= began + 3 + AT_ONCE_SECONDS
    assert_settled(workspace)


async def test_run_past_its_deadline_sends_no_request(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    """As after a crash shortly before the deadline."""
    workspace.add(clip(frames=5))
    summary = await workspace.enrich(RunOptions(until=seconds_from_now(-1), until_idle=False))
    assert (summary.ending, summary.counts.calls) == (RunEnd.TIME_UP, 0)
    assert standin.history == []
    assert workspace.tasks("extract") == {"todo": 1}
    assert workspace.states_of_runs() == ["finished"]


async def test_idle_run_waits_until_its_deadline(workspace: Workspace) -> None:
    began = time.monotonic()
    summary = await workspace.enrich(RunOptions(until=seconds_from_now(1), until_idle=False))
    assert summary.ending is RunEnd.TIME_UP
    assert 1 <= time.monotonic() - began < 4


async def test_paused_run_ends_at_its_deadline(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=1))
    standin.behave(delay=0.3)
    async with Running(workspace, RunOptions(until=seconds_from_now(5), until_idle=False)) as running:
        await until(lambda: workspace.described() >= 2, "one more is described")
        workspace.change("UPDATE runs SET requested = 'pause' WHERE id = 2")
        await until(lambda: workspace.states_of_runs()[-1] == "paused", "it is paused")
        assert (await running.end()).ending is RunEnd.TIME_UP
    assert_settled(workspace)


async def test_run_row_stores_the_deadline(workspace: Workspace) -> None:
    end = seconds_from_now(0.2)
    await workspace.enrich(RunOptions(until=end))
    await workspace.enrich(RunOptions())
    ends = [row for (row,) in workspace.ask("SELECT json_extract(options, '$.until') FROM runs ORDER BY id")]
    assert ends == [end.isoformat(), None]


async def test_deadline_follows_the_wall_clock_when_it_is_set(wall_clock: WallClock) -> None:
    end = RunDeadline(RunOptions(until=wall_clock.moment + timedelta(seconds=0.1)))
    called = asyncio.Event()
    end.watch(called.set)
    wall_clock.moment -= timedelta(hours=1)
    await asyncio.sleep(0.25)  # by the monotonic clock, the deadline has passed
    assert not called.is_set()
    assert not end.is_over
    wall_clock.moment += timedelta(hours=2)
    await until(called.is_set, "the deadline follows the clock")
    wall_clock.moment -= timedelta(hours=2)
    assert end.is_over  # an ended run stays ended


async def test_unwatched_deadline_calls_nothing(wall_clock: WallClock) -> None:
    end = RunDeadline(RunOptions(until=wall_clock.moment + timedelta(seconds=10)))
    called = asyncio.Event()
    end.watch(called.set)
    end.unwatch()
    wall_clock.moment += timedelta(hours=1)
    await asyncio.sleep(0.1)
    assert not called.is_set()


def test_run_without_a_deadline_never_ends() -> None:
    end = RunDeadline(RunOptions())
    assert (end.is_over, end.seconds_left(), end.planned_end(), end.at_most(0.5)) == (False, None, None, 0.5)


async def test_run_stops_at_its_frame_limit(workspace: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=30))
    summary = await workspace.enrich(RunOptions(limit=7))
    assert summary.ending is RunEnd.LIMIT
    assert workspace.described() == len(standin.chats) == 7
    assert_settled(workspace)
    await workspace.enrich()
    assert len(standin.chats) == 30
    assert_truthful(workspace)


async def test_run_stops_at_its_time_limit(workspace: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=200))
    await workspace.enrich(RunOptions(limit=5))
    standin.behave(delay=0.3)
    summary = await workspace.enrich(RunOptions(within_seconds=2.5))
    assert summary.ending is RunEnd.TIME_UP
    assert 5 < workspace.described() < 200
    assert summary.left == len(workspace.frames()) - workspace.described()
    assert_settled(workspace)
    assert workspace.attempts() == 0
