"""An error that nothing foresaw counts as an attempt at its video, and the other videos go on."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from db import queries
from db.errors import DatabaseLockedError
from db.models import TaskKind
from db.queue import LeaseLostError
from enrich.errors import DecodingError, VideoError
from enrich.library.images import translated_errors
from enrich.library.library import Library
from enrich.quick import frames as quick_frames
from enrich.quick.frames import ensure_frames
from enrich.video.signals import SignalMeter
from enrich.worker import database_thread, decoder, extract_task, prefetch
from enrich.worker.run_options import RunEnd, RunOptions
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]
ERRORS = [IndexError("list index out of range"), MemoryError(), RuntimeError("can't start new thread")]
DETAILS = ["IndexError: list index out of range", "MemoryError", "RuntimeError: can't start new thread"]
UNEXPECTED = "clip"  # every title begins with it


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_task, "BACKOFF_SECONDS", (0.0,))


@pytest.fixture
def two_videos(workspace: Workspace, clip: Clip) -> Workspace:
    """A library with two videos; the first one is going to fail."""
    workspace.add(clip(frames=20), clip(frames=20, first=1000))
    return workspace


def fail_first(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, *, times: int = 1000) -> list[int]:
    """Let a function of the decoder fail for video 1; the list has an entry for each failure."""
    work, failures = getattr(decoder, name), []

    def failing(library: Library, task: Any, **named: Any) -> object:
        if task.video_id == 1 and len(failures) < times:
            failures.append(task.attempts)
            raise error
        return work(library, task, **named)

    monkeypatch.setattr(decoder, name, failing)
    return failures


@pytest.mark.expected_errors(UNEXPECTED)
@pytest.mark.parametrize(("error", "details"), [*zip(ERRORS, DETAILS, strict=True)])
async def test_video_fails_with_its_reason_after_three_attempts(
    two_videos: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    details: str,
) -> None:
    failures = fail_first(monkeypatch, "extract_video", error)
    async with Running(two_videos):
        await until(lambda: two_videos.video(1).extraction_status == "failed", "the first has failed")
        await until(lambda: two_videos.video(2).enrichment_status == "enriched", "the second is described")
    assert failures == [0, 1, 2]
    assert two_videos.video(1).error == (
        f"{two_videos.video(1).path} could not be processed ({details}): "
        "retry it with `everyframe retry`; if it fails again, report the traceback in the log"
    )
    assert two_videos.tasks("extract") == {"failed": 1, "done": 1}
    assert_truthful(two_videos, 2, first=1000)
    traces = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert traces == [error] * 3
    assert two_videos.states_of_runs() == ["stopped"]
    assert_settled(two_videos)

    monkeypatch.undo()
    two_videos.retry()
    assert (two_videos.video(1).extraction_status, two_videos.video(1).error) == ("pending", None)
    assert (await two_videos.enrich()).is_good
    assert_truthful(two_videos, 1)


async def test_video_waits_between_attempts(
    two_videos: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extract_task, "BACKOFF_SECONDS", (60.0, 300.0))
    failures = fail_first(monkeypatch, "extract_video", IndexError("list index out of range"), times=1)
    summary = await two_videos.enrich()
    assert failures == [0]
    [(_, reason)] = summary.waiting
    assert reason.endswith("(IndexError: list index out of range): trying again in 1 min")
    assert two_videos.video(1).extraction_status == "pending"
    assert two_videos.video(2).enrichment_status == "enriched"
    [(attempts, error)] = two_videos.ask(
        "SELECT attempts, error FROM tasks WHERE status = 'todo' AND kind = 'extract' AND not_before IS NOT NULL"
    )
    assert (attempts, error) == (1, reason)
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.WARNING]
    assert (await two_videos.enrich()).is_good, "a new run tries it at once"
    assert_truthful(two_videos, 1)


@pytest.mark.expected_errors(UNEXPECTED)
async def test_failed_skim_leaves_the_video_to_extraction(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(clip(frames=240, fps=5, gop=5), sampling="every=2s")
    failures = fail_first(monkeypatch, "skim_video", RuntimeError("unforeseen"))
    assert (await workspace.enrich()).is_good
    assert 1 <= len(failures) <= 3
    assert_truthful(workspace)
    assert_settled(workspace)


@pytest.mark.expected_errors(UNEXPECTED)
async def test_described_frames_of_a_failed_video_stay(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The skim succeeds, then extraction fails."""
    workspace.add(clip(frames=240, fps=5, gop=5), sampling="every=1s")
    fail_first(monkeypatch, "extract_video", IndexError("unforeseen"))
    async with Running(workspace):
        await until(lambda: workspace.video().extraction_status == "failed", "it has failed")
        await until(lambda: workspace.tasks().keys() == {"done"}, "the skimmed frames are described")
    described = workspace.described()
    assert described == len(workspace.frames()) > 5
    monkeypatch.undo()
    workspace.retry()
    assert (await workspace.enrich()).is_good
    assert workspace.described() == len(workspace.frames()) > described
    assert_truthful(workspace)


@pytest.mark.expected_errors(UNEXPECTED)
def test_error_inside_the_decoder_is_not_taken_for_damage(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage would fail the video at the first attempt."""
    calls: list[int] = []

    def measure(_: SignalMeter, __: object) -> None:
        calls.append(1)
        raise MemoryError

    monkeypatch.setattr(SignalMeter, "measure", measure)
    workspace.add(clip(frames=20))
    for run in range(3):
        summary = asyncio.run(workspace.worker(RunOptions(describe=False), None).run())
        assert summary.ending is RunEnd.FINISHED
        assert len(calls) >= run + 1
    assert workspace.tasks("extract") == {"failed": 1}
    assert "(MemoryError)" in str(workspace.video().error)


def test_codec_error_fails_the_video_at_once(workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    [video_id] = workspace.add(clip(frames=20))
    library, video = workspace.library, workspace.video(video_id)
    with pytest.raises(DecodingError, match="cannot be decoded"), translated_errors(library, video):
        raise av.InvalidDataError(1, "invalid data")
    with pytest.raises(IndexError), translated_errors(library, video):
        raise IndexError


async def test_database_outage_is_waited_for_in_every_task(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while something else waits for the database."""
    failing: Counter[str] = Counter()

    def fail_twice(name: str) -> None:
        work = getattr(decoder, name)

        def failing_work(library: Library, task: Any, **named: Any) -> object:
            failing[name] += 1
            if failing[name] <= 2:
                raise DatabaseLockedError("the database is locked")
            return work(library, task, **named)

        monkeypatch.setattr(decoder, name, failing_work)

    fail_twice("skim_video")
    fail_twice("extract_video")
    monkeypatch.setattr(database_thread, "RETRY_SECONDS", 0.01)
    workspace.add(clip(frames=240, fps=5, gop=5), sampling="every=2s")
    assert (await workspace.enrich()).is_good
    assert min(failing.values()) >= 3
    assert workspace.attempts() == 0
    assert_truthful(workspace)


async def test_images_of_a_removed_video_go_after_an_outage(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    [video_id] = workspace.add(clip(frames=20))
    folder = workspace.frames_folder / workspace.video(video_id).image_folder
    read, reads = queries.videos, []

    def remove(*_: object, **__: object) -> None:
        folder.mkdir(parents=True)
        workspace.remove(video_id)
        monkeypatch.setattr(queries, "videos", read_locked)
        raise LeaseLostError

    def read_locked(*arguments: Any) -> list[queries.VideoRow]:
        reads.append(arguments)
        if len(reads) == 1:
            raise DatabaseLockedError("the database is locked")
        return read(*arguments)

    monkeypatch.setattr(decoder, "extract_video", remove)
    monkeypatch.setattr(database_thread, "RETRY_SECONDS", 0.01)
    summary = await workspace.worker(RunOptions(describe=False), None).run()
    assert summary.ending is RunEnd.FINISHED
    assert len(reads) >= 2
    assert not folder.exists()


@pytest.mark.parametrize("error", ERRORS)
async def test_frame_fails_whose_image_cannot_be_restored(
    workspace: Workspace,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(prefetch, "RETRY_PAUSE_SECONDS", 0)
    monkeypatch.setattr(prefetch, "restore_image", fail)
    workspace.add(clip(frames=10))
    await workspace.worker(RunOptions(describe=False), None).run()
    workspace.image(workspace.frames()[3]).unlink()

    summary = await workspace.enrich()

    assert summary.ending is RunEnd.FINISHED
    assert summary.counts.frames_failed == 1
    [(reason, count)] = summary.failures
    assert count == 1
    assert f"could not be restored from {workspace.video().path} ({type(error).__name__}" in reason
    assert workspace.tasks() == {"done": 9, "failed": 1}
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error] * 3
    assert workspace.states_of_runs() == ["finished", "finished"]


def test_quick_pass_reports_the_attempt(workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(extract_task, "BACKOFF_SECONDS", (60.0, 300.0))
    monkeypatch.setattr(quick_frames, "extract_video", fail)
    workspace.add(clip(frames=20))
    with pytest.raises(VideoError, match=r"could not be processed \(IndexError: list index out of range\)"):
        ensure_frames(workspace.library, 1, wanted=3, stop=threading.Event())
    kind = TaskKind.EXTRACT.value
    assert workspace.ask("SELECT status, attempts FROM tasks WHERE kind = :kind", kind=kind) == [("todo", 1)]
