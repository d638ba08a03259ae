"""The end of a run's time: never earlier than promised, and no new work after it, whatever else is going on."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from enrich.worker import run_limits as deadlines
from enrich.worker.run_limits import RunDeadline
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn
from tests.worker.workspace import Running, Workspace, assert_settled, until

Clip = Callable[..., Path]
AT_ONCE_SECONDS = 0.4  # what a busy machine may take from "go" to the request's arrival


def seconds_from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("kind", ["moment", "length"])
async def test_no_call_is_made_after_the_end_and_none_is_cut_short(
    kind: str, workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=2))
    standin.behave(delay=0.3)
    standin.forget()
    began = time.monotonic()
    order = RunOptions(until=seconds_from_now(3)) if kind == "moment" else RunOptions(within_seconds=3)
    summary = await workspace.enrich(order)
    assert summary.ending is RunEnd.TIME_UP
    assert 3 <= time.monotonic() - began < 6
    assert standin.chats
    assert max(chat.at for chat in standin.chats) <= began + 3 + AT_ONCE_SECONDS
    assert summary.counts.frames_described == len(standin.chats)
    assert_settled(workspace)


async def test_also_when_the_database_is_locked_at_the_end(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=2))
    standin.behave(delay=0.2)
    began = time.monotonic()
    async with Running(workspace, RunOptions(within_seconds=3)) as running:
        await asyncio.sleep(2.5)
        with sqlite3.connect(workspace.settings.home / "library.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(2)
            other.execute("ROLLBACK")
        other.close()
        assert (await running.end()).ending is RunEnd.TIME_UP
    assert max(chat.at for chat in standin.chats) <= began + 3 + AT_ONCE_SECONDS
    assert_settled(workspace)


async def test_a_run_whose_time_is_over_at_its_start_asks_nobody(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    """As after a crash shortly before the end."""
    workspace.add(clip(frames=5))
    summary = await workspace.enrich(RunOptions(until=seconds_from_now(-1), until_idle=False))
    assert (summary.ending, summary.counts.calls) == (RunEnd.TIME_UP, 0)
    assert standin.history == []
    assert workspace.tasks("extract") == {"todo": 1}
    assert workspace.states_of_runs() == ["finished"]


async def test_one_that_waits_for_more_work_waits_until_its_end(workspace: Workspace) -> None:
    began = time.monotonic()
    summary = await workspace.enrich(RunOptions(until=seconds_from_now(1), until_idle=False))
    assert summary.ending is RunEnd.TIME_UP
    assert 1 <= time.monotonic() - began < 4


async def test_one_that_is_paused_ends_with_its_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip(frames=100))
    await workspace.enrich(RunOptions(limit=1))
    standin.behave(delay=0.3)
    async with Running(workspace, RunOptions(until=seconds_from_now(5), until_idle=False)) as running:
        await until(lambda: workspace.described() >= 2, "one more is described")
        workspace.change("UPDATE runs SET requested = 'pause' WHERE id = 2")
        await until(lambda: workspace.states_of_runs()[-1] == "paused", "it is paused")
        assert (await running.end()).ending is RunEnd.TIME_UP
    assert_settled(workspace)


async def test_the_row_says_when_it_ends(workspace: Workspace) -> None:
    end = seconds_from_now(0.2)
    await workspace.enrich(RunOptions(until=end))
    await workspace.enrich(RunOptions())
    ends = [row for (row,) in workspace.ask("SELECT json_extract(options, '$.until') FROM runs ORDER BY id")]
    assert ends == [end.isoformat(), None]


class Wall:
    """A clock on the wall that can be set."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)

    def now(self, zone: Any) -> datetime:
        return self.moment.astimezone(zone)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    clock = Wall()
    monkeypatch.setattr(deadlines, "datetime", clock)
    monkeypatch.setattr(deadlines, "LOOK_SECONDS", 0.02)
    return clock


async def test_when_the_clock_is_set_the_end_is_still_the_moment_that_was_said(wall: Wall) -> None:
    end = RunDeadline(RunOptions(until=wall.moment + timedelta(seconds=0.1)))
    called = asyncio.Event()
    end.watch(called.set)
    wall.moment -= timedelta(hours=1)
    await asyncio.sleep(0.25)  # by a clock that nobody can set it would be over
    assert not called.is_set()
    assert not end.is_over
    wall.moment += timedelta(hours=2)
    await asyncio.wait_for(called.wait(), 1)
    wall.moment -= timedelta(hours=2)
    assert end.is_over  # what has ended stays so


async def test_nobody_is_called_who_does_not_watch_any_more(wall: Wall) -> None:
    end = RunDeadline(RunOptions(until=wall.moment + timedelta(seconds=10)))
    called = asyncio.Event()
    end.watch(called.set)
    end.unwatch()
    wall.moment += timedelta(hours=1)
    await asyncio.sleep(0.1)
    assert not called.is_set()


def test_without_an_end_there_is_none() -> None:
    end = RunDeadline(RunOptions())
    assert (end.is_over, end.seconds_left(), end.told(), end.at_most(0.5)) == (False, None, None, 0.5)
