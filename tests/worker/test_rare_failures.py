"""Rare failures: hosts, videos, the disk, the database, and stops at the wrong moment. See also `test_failures`."""

import asyncio
import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from enrich.describe.ollama.describer import OllamaDescriber
from enrich.video.fingerprint import fingerprint
from enrich.worker import database_thread, decoder, extract_task, host_runner, prefetch, result_writer, worker
from enrich.worker.host_runner import HostRunner
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import numbered_clip
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]


# the host


async def test_host_that_was_down_for_days_is_still_retried(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 0.001)
    workspace.add(clip(frames=3))
    standin.stop()
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert running.worker._pipeline is not None
        running.worker._pipeline.runners[0]._backoffs = 5000
        await until(lambda: running.worker._pipeline.runners[0]._backoffs > 5002, "it is retried")
        standin.start()
        await running.end()
    assert_truthful(workspace)


async def test_each_retry_follows_one_backoff(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    backoff, prepare = HostRunner._back_off, OllamaDescriber.prepare

    async def recorded_backoff(self: HostRunner, error: object) -> None:
        events.append("backoff")
        await backoff(self, error)  # type: ignore[arg-type]

    async def recorded_probe(self: OllamaDescriber, host: str) -> object:
        events.append("try")
        return await prepare(self, host)

    monkeypatch.setattr(HostRunner, "_back_off", recorded_backoff)
    monkeypatch.setattr(OllamaDescriber, "prepare", recorded_probe)
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() > 3, "some are described")
        standin.stop()
        await until(lambda: events.count("backoff") > 3, "it backs off")
        standin.start()
        await running.end()
    assert events[:2] == ["try", "backoff"]
    assert all(one != other for one, other in itertools.pairwise(events)), events


async def test_host_that_always_hangs_costs_no_attempt(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(call_seconds=0.2, load_seconds=0.2)
    standin.behave(delay=0.01)
    workspace.add(clip(frames=30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: len(standin.described) > 2, "some are described")
        standin.play(Trick.HANG)
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert "did not answer" in workspace.value("SELECT reason FROM runs")
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(workspace)


async def test_attempts_are_refunded_to_frames_already_claimed_again(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    """While one request hangs, the frames that failed meanwhile are claimed again and prefetched."""
    workspace = make_workspace(call_seconds=0.5, load_seconds=0.5)
    workspace.add(clip(frames=6))
    await workspace.worker(RunOptions(describe=False)).run()
    standin.play(Trick.HANG, frames=[0], times=1)
    standin.play(Trick.ERROR, frames=range(6))
    async with Running(workspace, RunOptions()) as running:
        await until(workspace.attempts, "a frame has failed")
        standin.play(Trick.ERROR)
        await until(lambda: workspace.states_of_runs()[-1] == "waiting", "the run waits")
        assert workspace.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(workspace)


@pytest.mark.parametrize("frames", [1, 2])
async def test_last_frames_do_not_fail_because_of_a_failing_host(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """With fewer frames left than a failure streak needs, the same ones fail repeatedly: the host is still to blame."""
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0.2)
    standin.play(Trick.ERROR, frames=range(frames))
    workspace.add(clip(frames=frames))
    async with Running(workspace, RunOptions()) as running:
        await until(workspace.attempts, "a frame has failed once")
        standin.play(Trick.ERROR)
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert workspace.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert workspace.video().enrichment_status == "enriched"
    assert_truthful(workspace)


async def test_model_removed_during_a_run_costs_only_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.02)
    models = standin.conduct.models
    workspace.add(clip(frames=30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() > 3, "some are described")
        standin.behave(models=())
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        standin.behave(models=models)
        await running.end()
    assert workspace.attempts() == 0
    assert_truthful(workspace)


# the reply


@pytest.mark.parametrize(
    ("trick", "problem"), [(Trick.CUT_OFF, "cut_off"), (Trick.REPEATS, "repeats"), (Trick.LEAKS, "leaks_prompt")]
)
async def test_partial_text_is_kept_with_its_warning(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    workspace.add(clip(frames=5))
    summary = await workspace.enrich()
    assert summary.is_good
    assert summary.counts.warnings == 1
    frame = workspace.frames()[2]
    assert frame.local_description
    assert problem in {warning["problem"] for warning in frame.warnings}
    assert workspace.attempts() == 0


@pytest.mark.parametrize("trick", [Trick.THINKS, Trick.SPACES])
async def test_empty_reply_counts_as_an_attempt(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    workspace.add(clip(frames=6))
    summary = await workspace.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert summary.counts.frames_described == 5


# videos and their images


@pytest.mark.parametrize("rotation", [0, 90])
async def test_lost_image_of_anamorphic_video_is_recreated_identically(
    workspace: Workspace, clip: Clip, rotation: int
) -> None:
    workspace.add(clip(frames=12, rotation=rotation, sample_aspect=Fraction(2), bframes=2))
    await workspace.worker(RunOptions(describe=False)).run()
    images = [workspace.image(frame) for frame in workspace.frames()]
    before = [image.read_bytes() for image in images]
    for image in images[3:6]:
        image.unlink()
    assert (await workspace.enrich()).is_good
    assert [image.read_bytes() for image in images] == before


async def test_waiting_worker_resumes_a_video_when_its_drive_is_back(
    workspace: Workspace, tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_task, "RETRY_SECONDS", 0.05)
    video_file = Path(shutil.copy(clip(frames=6, first=50), tmp_path / "drive.mp4"))
    workspace.add(video_file)
    video_file.rename(tmp_path / "unplugged.mp4")
    async with Running(workspace):
        await until(lambda: workspace.video().error is not None, "it waits")
        (tmp_path / "unplugged.mp4").rename(video_file)
        await until(lambda: workspace.video().enrichment_status == "enriched", "it is enriched")
    assert workspace.video().error is None
    assert_truthful(workspace, 1, 50)


async def test_waiting_worker_recreates_a_lost_image_when_its_video_is_back(
    workspace: Workspace, tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "MISSING_FILE_PAUSE_SECONDS", 0.05)
    video_file = Path(shutil.copy(clip(frames=6), tmp_path / "film.mp4"))
    workspace.add(video_file)
    await workspace.worker(RunOptions(describe=False)).run()
    workspace.image(workspace.frames()[4]).unlink()
    video_file.unlink()
    async with Running(workspace):
        await until(lambda: workspace.described() == 5, "the others are described")
        shutil.copy(clip(frames=6), video_file)
        await until(lambda: workspace.video().enrichment_status == "enriched", "it is enriched")
    assert_truthful(workspace)


async def test_lost_image_is_not_recreated_from_a_replaced_video(
    workspace: Workspace, tmp_path: Path, clip: Clip
) -> None:
    video_file = Path(shutil.copy(clip(frames=10), tmp_path / "film.mp4"))
    workspace.add(video_file)
    await workspace.worker(RunOptions(describe=False)).run()
    workspace.image(workspace.frames()[4]).unlink()
    shutil.copy(clip(frames=12, first=90), video_file)
    summary = await workspace.enrich()
    assert (summary.ending, summary.left) == (RunEnd.FINISHED, 1)
    frame = workspace.frames()[4]
    assert frame.local_description is None
    assert "is not the file" in (frame.error or "")
    assert workspace.video().enrichment_status == "enriching"
    assert workspace.attempts() == 0
    assert_settled(workspace)


async def test_truncated_video_is_described_up_to_its_end(workspace: Workspace, tmp_path: Path) -> None:
    whole = numbered_clip(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    workspace.add(cut)
    assert (await workspace.enrich()).is_good
    video = workspace.video()
    assert 20 < len(workspace.frames()) < 60
    assert video.frame_count == len(workspace.frames()) == video.covered
    assert video.enrichment_status == "enriched"
    assert_truthful(workspace)


@pytest.mark.expected_errors("damaged: ")
async def test_undecodable_video_fails_alone(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    video_file = Path(shutil.copy(clip(frames=20), tmp_path / "damaged.mp4"))
    workspace.add(video_file, clip(frames=8, first=300))
    data = bytearray(video_file.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4 if data.find(b"moov") > start else len(data)
    data[start:end] = bytes(end - start)
    video_file.write_bytes(data)
    workspace.change("UPDATE videos SET fingerprint = :new WHERE id = 1", new=fingerprint(video_file))
    summary = await workspace.enrich()
    assert not summary.is_good
    assert workspace.video(1).extraction_status == "failed"
    assert workspace.video(1).enrichment_status == "failed"
    assert str(video_file) in (workspace.video(1).error or "")
    assert_truthful(workspace, 2, 300)
    assert_settled(workspace)


@pytest.mark.expected_errors("clip-")
async def test_unexpected_codec_error_fails_one_video_only(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(clip(frames=20), clip(frames=8, first=300))
    first = workspace.video(1).fingerprint
    extraction = extract_task.Extraction

    def fails(path: Path, folder: Path, **how: object) -> object:
        if folder.name == first[:16]:
            raise ZeroDivisionError("a stream without a clock")
        return extraction(path, folder, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task, "Extraction", fails)
    summary = await workspace.enrich()
    assert "ZeroDivisionError" in (workspace.video(1).error or "")
    assert summary.ending is RunEnd.FINISHED
    assert_truthful(workspace, 2, 300)


# the disk and the database


async def test_no_image_is_written_below_the_disk_reserve(make_workspace: Callable[..., Workspace], clip: Clip) -> None:
    workspace = make_workspace(disk_reserve_mb=10**9)
    workspace.add(clip(frames=10))
    summary = await workspace.enrich()
    assert "EVERYFRAME_DISK_RESERVE_MB" in summary.waiting[0][1]
    assert not list(workspace.frames_folder.rglob("*.jpg"))
    assert_settled(workspace)


async def test_unwritable_frames_folder_is_reported(workspace: Workspace, clip: Clip) -> None:
    workspace.frames_folder.write_text("in the way")
    workspace.add(clip(frames=5))
    summary = await workspace.enrich()
    assert ["cannot be written to" in reason for _, reason in summary.waiting] == [True]
    workspace.frames_folder.unlink()
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)


async def test_locked_database_is_retried(
    workspace: Workspace,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    standin: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database_thread, "LOCKED_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(decoder, "LOCKED_RETRY_SECONDS", 0.02)
    event.listen(
        workspace.library.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=20")
    )
    standin.behave(delay=0.02)
    workspace.add(clip(frames=40))
    async with Running(workspace, RunOptions()) as running:
        for described in (0, 10, 20):
            await until(
                lambda count=described: running.worker.status.counts.frames_described > count, "some are described"
            )
            with closing(sqlite3.connect(workspace.settings.home / "library.db", timeout=10)) as other:
                other.isolation_level = None
                other.execute("BEGIN IMMEDIATE")
                caplog.clear()
                await until(lambda: "database is locked, retrying" in caplog.text, "the worker reports it")
                other.execute("ROLLBACK")
        summary = await running.end()
    assert summary.is_good
    assert sorted(standin.described) == list(range(40))
    assert_truthful(workspace)
    assert_settled(workspace)


# the end of a run


async def test_failed_write_ends_the_run_with_its_error(
    workspace: Workspace, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_description(*_: object, **__: object) -> None:
        raise IntegrityError("UPDATE frames", {}, Exception("constraint failed"))

    monkeypatch.setattr(result_writer.store, "save_description", save_description)
    workspace.add(clip(frames=6))
    running = asyncio.create_task(workspace.enrich())
    await until(running.done, "the run ends by itself")
    with pytest.raises(IntegrityError, match="constraint failed"):
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
