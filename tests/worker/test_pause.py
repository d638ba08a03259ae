"""Pauses of a run, by request or by working hours; crash suspects, which run one at a time."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from db import queue, runs, store
from db.engine import writing
from enrich.clock import parse_hours
from enrich.library.library import Library
from enrich.worker import decoder, heartbeat
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import OPEN_LATER, OPEN_NOW, Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)


def ask(workspace: Workspace, request: str) -> None:
    with writing(workspace.library.engine) as connection:
        runs.request(connection, 1, request)


def requested(workspace: Workspace) -> object:
    return workspace.value("SELECT requested FROM runs")


async def test_pause_loses_nothing_and_repeats_nothing(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace) as running:
        await until(lambda: workspace.described() >= 4, "it describes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "the request is handled")
        assert workspace.states_of_runs() == ["paused"]
        assert standin.loaded == set()
        assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0
        before = len(standin.chats)
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "the second request is handled")
        assert len(standin.chats) == before
        ask(workspace, runs.RESUME)
        await until(lambda: workspace.described() == 40, "it resumes")
        assert workspace.states_of_runs() == ["running"]
        running.worker.stop()
    assert_settled(workspace)
    assert_truthful(workspace)
    assert sorted(str(number) for number in standin.described) == sorted(str(number) for number in range(40))


async def test_pause_during_decoding_releases_the_video_until_resume(
    workspace: Workspace, clip: Clip, standin: StandIn
) -> None:
    workspace.add(clip(frames=300))
    async with Running(workspace):
        await until(lambda: workspace.video().extraction_status == "extracting", "it decodes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "the request is handled")
        assert workspace.tasks("extract") == {"todo": 1}
        ask(workspace, runs.RESUME)
        await until(lambda: workspace.video().extraction_status == "extracted", "it resumes")
    assert len(workspace.frames()) == 300


async def test_limit_holds_across_a_pause(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace, RunOptions(limit=10)) as running:
        await until(lambda: workspace.described() >= 3, "it describes")
        ask(workspace, runs.PAUSE)
        await until(lambda: requested(workspace) is None, "the request is handled")
        ask(workspace, runs.RESUME)
        await running.end()
    assert workspace.described() == 10


async def test_worker_waits_outside_its_working_hours(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    workspace.add(clip())
    outside_hours = workspace.with_settings(hours=OPEN_LATER)
    async with Running(outside_hours, RunOptions(until_idle=False, keeps_hours=True)):
        await until(lambda: workspace.states_of_runs() == ["waiting"], "it waits")
        assert workspace.value("SELECT reason FROM runs") == f"working hours begin at {OPEN_LATER[:5]}"
        assert not standin.chats
        assert workspace.tasks("extract") == {"todo": 1}
    assert workspace.states_of_runs() == ["stopped"]


async def test_worker_pauses_and_resumes_with_its_working_hours(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    inside_hours = workspace.with_settings(hours=OPEN_NOW)
    async with Running(inside_hours, RunOptions(until_idle=False, keeps_hours=True)) as running:
        await until(lambda: workspace.described() >= 3, "it describes")
        running.worker._pause.hours = parse_hours(OPEN_LATER)
        await until(lambda: workspace.states_of_runs() == ["waiting"] and not standin.loaded, "the model is unloaded")
        assert workspace.described() < 40
        running.worker._pause.hours = parse_hours(OPEN_NOW)
        await until(lambda: workspace.described() == 40, "it resumes")
    assert_settled(workspace)


async def test_foreground_run_ignores_working_hours(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip())
    await workspace.with_settings(hours=OPEN_LATER).enrich()
    assert_truthful(workspace)


async def test_crash_suspects_run_first_and_one_at_a_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
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


async def test_suspect_video_is_decoded_alone_until_it_makes_progress(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(clip(frames=20))
    workspace.add(clip(frames=21))
    workspace.change("UPDATE tasks SET crashes = :crashes WHERE kind = 'extract' AND video_id = 2", crashes=2)
    frames_before: list[tuple[int, int, int]] = []
    extract = decoder.extract_video

    def extract_video(library: Library, task: queue.ClaimedTask, **named: Any) -> bool:
        frames_before.append((task.video_id, len(workspace.frames(1)), workspace.described()))
        return extract(library, task, **named)

    monkeypatch.setattr(decoder, "extract_video", extract_video)

    await workspace.enrich()

    assert frames_before[0] == (2, 0, 0), "nothing else was skimmed, extracted or described before"
    assert {video_id for video_id, _, _ in frames_before} == {1, 2}
    assert workspace.value("SELECT max(crashes) FROM tasks") == 0
    assert_truthful(workspace)
    assert_truthful(workspace, 2)
    assert_settled(workspace)


async def test_crash_suspects_do_not_block_decoding_without_a_host(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=20))
    await workspace.enrich(RunOptions(limit=1))
    workspace.change("UPDATE tasks SET crashes = 2 WHERE frame_id = 5")
    workspace.add(clip(frames=21))
    standin.stop()
    async with Running(workspace):
        await until(lambda: workspace.video(2).extraction_status == "extracted", "decoding continues")
        standin.start()
        await until(lambda: workspace.described() == 41, "all is described")
