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
from tests.worker.house import House, Running, assert_settled, assert_truthful, until

Clip = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)


def ask(house: House, wish: str) -> None:
    with writing(house.library.engine) as connection:
        runs.request(connection, 1, wish)


def requested(house: House) -> object:
    return house.value("SELECT requested FROM runs")


def hours(begin: timedelta, end: timedelta) -> str:
    """Working hours around now."""
    now = datetime.now().astimezone()
    return f"{now + begin:%H:%M}-{now + end:%H:%M}"


OPEN_NOW = hours(timedelta(hours=-2), timedelta(hours=2))
OPEN_LATER = hours(timedelta(hours=2), timedelta(hours=4))


async def test_a_pause_in_the_middle_loses_nothing_and_repeats_nothing(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    house.add(clip(frames=40))
    async with Running(house) as running:
        await until(lambda: house.described() >= 4, "it describes")
        ask(house, runs.PAUSE)
        await until(lambda: requested(house) is None, "it obeys")
        assert house.states_of_runs() == ["paused"]
        assert standin.loaded == set()
        assert house.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
        before = len(standin.chats)
        ask(house, runs.PAUSE)
        await until(lambda: requested(house) is None, "a second pause is obeyed too")
        assert len(standin.chats) == before
        ask(house, runs.RESUME)
        await until(lambda: house.described() == 40, "it goes on")
        assert house.states_of_runs() == ["running"]
        running.worker.stop()
    assert_settled(house)
    assert_truthful(house)
    assert sorted(str(number) for number in standin.described) == sorted(str(number) for number in range(40))


async def test_a_pause_while_decoding_gives_the_video_back_and_it_is_decoded_after_it(
    house: House, clip: Clip, standin: StandIn
) -> None:
    house.add(clip(frames=300))
    async with Running(house):
        await until(lambda: house.video().extraction_status == "extracting", "it decodes")
        ask(house, runs.PAUSE)
        await until(lambda: requested(house) is None, "it obeys")
        assert house.tasks("extract") == {"todo": 1}
        ask(house, runs.RESUME)
        await until(lambda: house.video().extraction_status == "extracted", "it goes on")
    assert len(house.frames()) == 300


async def test_a_limit_holds_across_a_pause(house: House, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.05)
    house.add(clip(frames=40))
    async with Running(house, RunOptions(limit=10)) as running:
        await until(lambda: house.described() >= 3, "it describes")
        ask(house, runs.PAUSE)
        await until(lambda: requested(house) is None, "it obeys")
        ask(house, runs.RESUME)
        await running.end()
    assert house.described() == 10


async def test_outside_its_hours_a_worker_waits_and_says_until_when(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip())
    resting = house.with_settings(hours=OPEN_LATER)
    async with Running(resting, RunOptions(until_idle=False, keeps_hours=True)):
        await until(lambda: house.states_of_runs() == ["waiting"], "it waits")
        assert house.value("SELECT reason FROM runs") == f"working hours begin at {OPEN_LATER[:5]}"
        assert not standin.chats
        assert house.tasks("extract") == {"todo": 1}
    assert house.states_of_runs() == ["stopped"]


async def test_the_end_of_its_hours_is_a_pause_and_their_beginning_ends_it(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    house.add(clip(frames=40))
    working = house.with_settings(hours=OPEN_NOW)
    async with Running(working, RunOptions(until_idle=False, keeps_hours=True)) as running:
        await until(lambda: house.described() >= 3, "it describes")
        running.worker._pause.hours = parse_hours(OPEN_LATER)
        await until(lambda: house.states_of_runs() == ["waiting"] and not standin.loaded, "the model is unloaded")
        assert house.described() < 40
        running.worker._pause.hours = parse_hours(OPEN_NOW)
        await until(lambda: house.described() == 40, "it goes on")
    assert_settled(house)


async def test_work_in_a_terminal_keeps_no_hours(house: House, clip: Clip) -> None:
    house.add(clip())
    await house.with_settings(hours=OPEN_LATER).enrich()
    assert_truthful(house)


async def test_suspects_of_crashes_are_tried_alone_before_all_else(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip(frames=20))
    await house.enrich(RunOptions(limit=1))
    house.change("UPDATE tasks SET crashes = :crashes WHERE frame_id IN (5, 6, 7)", crashes=store.SUSPECT_CRASHES)
    suspects = {number for (number,) in house.ask('SELECT "index" FROM frames WHERE id IN (5, 6, 7)')}
    house.add(clip(frames=21))
    standin.forget()
    standin.behave(delay=0.1)

    await house.enrich()

    first, rest = standin.chats[:3], standin.chats[3:]
    assert {number for request in first for number in request.numbers} == suspects
    begins = [request.at for request in [*first, rest[0]]]
    assert all(later - sooner >= 0.1 for sooner, later in pairwise(begins)), "never two at once"
    assert_truthful(house)
    assert_truthful(house, 2)
    assert_settled(house)


async def test_a_suspect_video_is_decoded_alone_until_it_gets_on(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip(frames=20))
    house.add(clip(frames=21))
    house.change("UPDATE tasks SET crashes = :crashes WHERE kind = 'extract' AND video_id = 2", crashes=2)

    await house.enrich()

    assert house.value("SELECT max(crashes) FROM tasks") == 0
    assert_truthful(house)
    assert_truthful(house, 2)
    assert_settled(house)


async def test_suspects_are_not_waited_for_where_no_host_answers(house: House, standin: StandIn, clip: Clip) -> None:
    house.add(clip(frames=20))
    await house.enrich(RunOptions(limit=1))
    house.change("UPDATE tasks SET crashes = 2 WHERE frame_id = 5")
    house.add(clip(frames=21))
    standin.stop()
    async with Running(house):
        await until(lambda: house.video(2).extraction_status == "extracted", "decoding goes on")
        standin.start()
        await until(lambda: house.described() == 41, "all is described")


async def test_an_exception_counts_as_a_crash_for_what_was_in_hand(
    house: House, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(clip(frames=20))

    def broken(path: Path) -> bool:
        raise MemoryError(path.name)

    monkeypatch.setattr("enrich.worker.prefetch.is_whole_jpeg", broken)
    for _ in range(3):
        with pytest.raises(MemoryError):
            await house.enrich()

    assert house.states_of_runs() == ["crashed"] * 3
    assert house.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
    failed = house.ask("SELECT error FROM tasks WHERE status = 'failed'")
    assert failed == [(store.CRASH_LIMIT_REACHED,)], "only one was alone at the third"
