"""Breaks of a run: by a request in its row, or by its working hours; and suspects of crashes, tried alone."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from db import runs, store
from db.engine import writing
from enrich.clock import parse_hours
from enrich.worker import heartbeat
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, until

Clip = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)


def ask(workspace: Workspace, wish: str) -> None:
    with writing(workspace.library.engine) as connection:
        runs.request(connection, 1, wish)


def requested(workspace: Workspace) -> object:
    return workspace.value("SELECT requested FROM runs")


def hours(begin: timedelta, end: timedelta) -> str:
    """Working hours around now."""
    now = datetime.now().astimezone()
    return f"{now + begin:%H:%M}-{now + end:%H:%M}"


OPEN_NOW = hours(timedelta(hours=-2), timedelta(hours=2))
OPEN_LATER = hours(timedelta(hours=2), timedelta(hours=4))


async def test_a_pause_in_the_middle_loses_nothing_and_repeats_nothing(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace) as running:
        await until(lambda: workspace.described() >= 4, "it describes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "it obeys")
        assert workspace.states_of_runs() == ["paused"]
        assert standin.loaded == set()
        assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
        before = len(standin.chats)
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "a second pause is obeyed too")
        assert len(standin.chats) == before
        ask(workspace, runs.RESUME)
        await until(lambda: workspace.described() == 40, "it goes on")
        assert workspace.states_of_runs() == ["running"]
        running.worker.stop()
    assert_settled(workspace)
    assert_truthful(workspace)
    assert sorted(str(number) for number in standin.described) == sorted(str(number) for number in range(40))


async def test_a_pause_while_decoding_gives_the_video_back_and_it_is_decoded_after_it(
    workspace: Workspace, clip: Clip, standin: StandIn
) -> None:
    workspace.add(clip(frames=300))
    async with Running(workspace):
        await until(lambda: workspace.video().extraction_status == "extracting", "it decodes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "it obeys")
        assert workspace.tasks("extract") == {"todo": 1}
        ask(workspace, runs.RESUME)
        await until(lambda: workspace.video().extraction_status == "extracted", "it goes on")
    assert len(workspace.frames()) == 300


async def test_a_limit_holds_across_a_pause(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace, RunOptions(limit=10)) as running:
        await until(lambda: workspace.described() >= 3, "it describes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "it obeys")
        ask(workspace, runs.RESUME)
        await running.end()
    assert workspace.described() == 10


async def test_outside_its_hours_a_worker_waits_and_says_until_when(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip())
    resting = workspace.with_settings(hours=OPEN_LATER)
    async with Running(resting, RunOptions(until_idle=False, keeps_hours=True)):
        await until(lambda: workspace.states_of_runs() == ["waiting"], "it waits")
        assert workspace.value("SELECT reason FROM runs") == f"working hours begin at {OPEN_LATER[:5]}"
        assert not standin.chats
        assert workspace.tasks("extract") == {"todo": 1}
    assert workspace.states_of_runs() == ["stopped"]


async def test_the_end_of_its_hours_is_a_pause_and_their_beginning_ends_it(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    working = workspace.with_settings(hours=OPEN_NOW)
    async with Running(working, RunOptions(until_idle=False, keeps_hours=True)) as running:
        await until(lambda: workspace.described() >= 3, "it describes")
        running.worker._breaks.hours = parse_hours(OPEN_LATER)
        await until(lambda: workspace.states_of_runs() == ["waiting"] and not standin.loaded, "the model is unloaded")
        assert workspace.described() < 40
        running.worker._breaks.hours = parse_hours(OPEN_NOW)
        await until(lambda: workspace.described() == 40, "it goes on")
    assert_settled(workspace)


async def test_work_in_a_terminal_keeps_no_hours(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip())
    await workspace.with_settings(hours=OPEN_LATER).enrich()
    assert_truthful(workspace)


async def test_suspects_of_crashes_are_tried_alone_before_all_else(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=20))
    await workspace.enrich(RunOptions(limit=1))
    workspace.change("UPDATE tasks SET crashes = :crashes WHERE frame_id IN (5, 6, 7)", crashes=store.SUSPECT_CRASHES)
    suspects = {number for (number,) in workspace.ask('SELECT "index" FROM frames WHERE id IN (5, 6, 7)')}
    workspace.add(clip(frames=21))
    standin.forget()
    standin.behave(delay=0.1)

    await workspace.enrich()

    first, rest = standin.chats[:3], standin.chats[3:]
    assert {number for request in first for number in request.numbers} == suspects
    begins = [request.at for request in [*first, rest[0]]]
    assert all(later - sooner >= 0.1 for sooner, later in pairwise(begins)), "never two at once"
    assert_truthful(workspace)
    assert_truthful(workspace, 2)
    assert_settled(workspace)


async def test_a_suspect_video_is_decoded_alone_until_it_gets_on(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=20))
    workspace.add(clip(frames=21))
    workspace.change("UPDATE tasks SET crashes = :crashes WHERE kind = 'extract' AND video_id = 2", crashes=2)

    await workspace.enrich()

    assert workspace.value("SELECT max(crashes) FROM tasks") == 0
    assert_truthful(workspace)
    assert_truthful(workspace, 2)
    assert_settled(workspace)


async def test_suspects_are_not_waited_for_where_no_host_answers(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=20))
    await workspace.enrich(RunOptions(limit=1))
    workspace.change("UPDATE tasks SET crashes = 2 WHERE frame_id = 5")
    workspace.add(clip(frames=21))
    standin.stop()
    async with Running(workspace):
        await until(lambda: workspace.video(2).extraction_status == "extracted", "decoding goes on")
        standin.start()
        await until(lambda: workspace.described() == 41, "all is described")


async def test_an_exception_counts_as_a_crash_for_what_was_in_hand(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(clip(frames=20))

    def broken(path: Path) -> bool:
        raise MemoryError(path.name)

    monkeypatch.setattr("enrich.worker.prefetch.is_whole_jpeg", broken)
    for _ in range(3):
        with pytest.raises(MemoryError):
            await workspace.enrich()

    assert workspace.states_of_runs() == ["crashed"] * 3
    assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
    failed = workspace.ask("SELECT error FROM tasks WHERE status = 'failed'")
    assert failed == [(store.CRASH_LIMIT_REACHED,)], "only one was alone at the third"
