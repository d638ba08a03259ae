"""The rarer troubles of a long night, beside those of test_trouble: what the host, the films, the disk, the database
and whoever stops the worker can do in the wrong moment.
"""
# a test may wait for its own disk

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

from enrich.describe.ollama.describer import OllamaDescriber
from enrich.video.fingerprint import fingerprint
from enrich.worker import decoder, extract_task, host_runner, prefetch, worker, writer
from enrich.worker.host_runner import HostRunner
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import numbered_clip
from tests.standin import StandIn, Trick
from tests.worker.house import House, Running, assert_settled, assert_truthful, until

Clip = Callable[..., Path]


# the host


async def test_a_host_that_is_down_for_days_is_still_tried_again(
    house: House, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 0.001)
    house.add(clip(frames=3))
    standin.stop()
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.states_of_runs() == ["waiting"], "the run waits")
        assert running.worker._shift is not None
        running.worker._shift.lanes[0]._rests = 5000
        await until(lambda: running.worker._shift.lanes[0]._rests > 5002, "it is tried again")
        standin.start()
        await running.end()
    assert_truthful(house)


async def test_there_is_one_pause_before_each_try(
    house: House, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rest, prepare = HostRunner._rest, OllamaDescriber.prepare

    async def resting(self: HostRunner, error: object) -> None:
        events.append("rest")
        await rest(self, error)  # type: ignore[arg-type]

    async def preparing(self: OllamaDescriber, host: str) -> object:
        events.append("try")
        return await prepare(self, host)

    monkeypatch.setattr(HostRunner, "_rest", resting)
    monkeypatch.setattr(OllamaDescriber, "prepare", preparing)
    standin.behave(delay=0.05)
    house.add(clip(frames=40))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() > 3, "some are described")
        standin.stop()
        await until(lambda: events.count("rest") > 3, "it rests")
        standin.start()
        await running.end()
    assert events[:2] == ["try", "rest"]
    assert all(one != other for one, other in itertools.pairwise(events)), events


async def test_a_host_that_hangs_on_everything_is_to_blame(
    make_house: Callable[..., House], standin: StandIn, clip: Clip
) -> None:
    house = make_house(call_seconds=0.2, load_seconds=0.2)
    standin.behave(delay=0.01)
    house.add(clip(frames=30))
    async with Running(house, RunOptions()) as running:
        await until(lambda: len(standin.described) > 2, "some are described")
        standin.play(Trick.HANG)
        await until(lambda: house.states_of_runs() == ["waiting"], "the run waits")
        assert "did not answer" in house.value("SELECT reason FROM runs")
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(house)


async def test_attempts_are_given_back_to_frames_that_were_claimed_again_already(
    make_house: Callable[..., House], standin: StandIn, clip: Clip
) -> None:
    """While one call hangs, the frames that failed beside it are claimed again, and lie in the feed."""
    house = make_house(call_seconds=0.5, load_seconds=0.5)
    house.add(clip(frames=6))
    await house.worker(RunOptions(describe=False)).run()
    standin.play(Trick.HANG, frames=[0], times=1)
    standin.play(Trick.ERROR, frames=range(6))
    async with Running(house, RunOptions()) as running:
        await until(house.attempts, "a frame has failed")
        standin.play(Trick.ERROR)
        await until(lambda: house.states_of_runs()[-1] == "waiting", "the run waits")
        assert house.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(house)


@pytest.mark.parametrize("frames", [1, 2])
async def test_the_last_frames_do_not_fail_for_a_host_that_fails_on_everything(
    house: House, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """With fewer frames left than make a streak, the same ones fail over and over: still not their fault."""
    monkeypatch.setattr(writer, "RETRY_PAUSE_SECONDS", 0.2)
    standin.play(Trick.ERROR, frames=range(frames))
    house.add(clip(frames=frames))
    async with Running(house, RunOptions()) as running:
        await until(house.attempts, "a frame has failed once")
        standin.play(Trick.ERROR)
        await until(lambda: house.states_of_runs() == ["waiting"], "the run waits")
        assert house.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert house.video().enrichment_status == "enriched"
    assert_truthful(house)


async def test_a_model_that_vanishes_in_the_middle_costs_nothing_but_time(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.02)
    models = standin.conduct.models
    house.add(clip(frames=30))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() > 3, "some are described")
        standin.behave(models=())
        await until(lambda: house.states_of_runs() == ["waiting"], "the run waits")
        standin.behave(models=models)
        await running.end()
    assert house.attempts() == 0
    assert_truthful(house)


# the reply


@pytest.mark.parametrize(
    ("trick", "problem"), [(Trick.CUT_OFF, "cut_off"), (Trick.REPEATS, "repeats"), (Trick.LEAKS, "leaks_prompt")]
)
async def test_what_text_is_left_is_kept_with_its_warning(
    house: House, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    house.add(clip(frames=5))
    summary = await house.enrich()
    assert summary.is_good
    assert summary.counts.warnings == 1
    frame = house.frames()[2]
    assert frame.local_description
    assert problem in {warning["problem"] for warning in frame.warnings}
    assert house.attempts() == 0


@pytest.mark.parametrize("trick", [Trick.THINKS, Trick.SPACES])
async def test_a_reply_without_any_text_counts_as_an_attempt(
    house: House, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.play(trick, frames=[2], stubborn=True)
    house.add(clip(frames=6))
    summary = await house.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert summary.counts.frames_described == 5


# films and their pictures


@pytest.mark.parametrize("rotation", [0, 90])
async def test_a_picture_of_a_film_with_oblong_pixels_is_made_again_the_same(
    house: House, clip: Clip, rotation: int
) -> None:
    house.add(clip(frames=12, rotation=rotation, sample_aspect=Fraction(2), bframes=2))
    await house.worker(RunOptions(describe=False)).run()
    pictures = [house.image(frame) for frame in house.frames()]
    before = [picture.read_bytes() for picture in pictures]
    for picture in pictures[3:6]:
        picture.unlink()
    assert (await house.enrich()).is_good
    assert [picture.read_bytes() for picture in pictures] == before


async def test_a_worker_that_stays_takes_a_film_up_when_its_drive_comes_back(
    house: House, tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_task, "RETRY_SECONDS", 0.05)
    film = Path(shutil.copy(clip(frames=6, first=50), tmp_path / "drive.mp4"))
    house.add(film)
    film.rename(tmp_path / "unplugged.mp4")
    async with Running(house):
        await until(lambda: house.video().error is not None, "it waits")
        (tmp_path / "unplugged.mp4").rename(film)
        await until(lambda: house.video().enrichment_status == "enriched", "it is enriched")
    assert house.video().error is None
    assert_truthful(house, 1, 50)


async def test_a_worker_that_stays_makes_a_lost_picture_when_its_film_comes_back(
    house: House, tmp_path: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "MISSING_FILE_PAUSE_SECONDS", 0.05)
    film = Path(shutil.copy(clip(frames=6), tmp_path / "film.mp4"))
    house.add(film)
    await house.worker(RunOptions(describe=False)).run()
    house.image(house.frames()[4]).unlink()
    film.unlink()
    async with Running(house):
        await until(lambda: house.described() == 5, "the others are described")
        shutil.copy(clip(frames=6), film)
        await until(lambda: house.video().enrichment_status == "enriched", "it is enriched")
    assert_truthful(house)


async def test_a_lost_picture_is_not_made_from_another_film_of_that_name(
    house: House, tmp_path: Path, clip: Clip
) -> None:
    film = Path(shutil.copy(clip(frames=10), tmp_path / "film.mp4"))
    house.add(film)
    await house.worker(RunOptions(describe=False)).run()
    house.image(house.frames()[4]).unlink()
    shutil.copy(clip(frames=12, first=90), film)
    summary = await house.enrich()
    assert (summary.ending, summary.left) == (RunEnd.FINISHED, 1)
    frame = house.frames()[4]
    assert frame.local_description is None
    assert "is not the file" in (frame.error or "")
    assert house.video().enrichment_status == "enriching"
    assert house.attempts() == 0
    assert_settled(house)


async def test_a_film_that_breaks_off_is_described_as_far_as_it_goes(house: House, tmp_path: Path) -> None:
    whole = numbered_clip(tmp_path / "whole.mkv", frames=60)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    house.add(cut)
    assert (await house.enrich()).is_good
    video = house.video()
    assert 20 < len(house.frames()) < 60
    assert video.frame_count == len(house.frames()) == video.covered
    assert video.enrichment_status == "enriched"
    assert_truthful(house)


async def test_a_film_of_which_nothing_can_be_decoded_fails_by_itself(
    house: House, tmp_path: Path, clip: Clip, expected_errors: list[str]
) -> None:
    expected_errors.append("damaged: ")
    film = Path(shutil.copy(clip(frames=20), tmp_path / "damaged.mp4"))
    house.add(film, clip(frames=8, first=300))
    data = bytearray(film.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4 if data.find(b"moov") > start else len(data)
    data[start:end] = bytes(end - start)
    film.write_bytes(data)
    house.change("UPDATE videos SET fingerprint = :new WHERE id = 1", new=fingerprint(film))
    summary = await house.enrich()
    assert not summary.is_good
    assert house.video(1).extraction_status == "failed"
    assert house.video(1).enrichment_status == "failed"
    assert str(film) in (house.video(1).error or "")
    assert_truthful(house, 2, 300)
    assert_settled(house)


async def test_a_codec_that_fails_in_an_unforeseen_way_ends_one_film_and_not_the_night(
    house: House, clip: Clip, monkeypatch: pytest.MonkeyPatch, expected_errors: list[str]
) -> None:
    expected_errors.append("clip-")
    house.add(clip(frames=20), clip(frames=8, first=300))
    first = house.video(1).fingerprint
    extraction = extract_task.Extraction

    def fails(path: Path, folder: Path, **how: object) -> object:
        if folder.name == first[:16]:
            raise ZeroDivisionError("a stream without a clock")
        return extraction(path, folder, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task, "Extraction", fails)
    summary = await house.enrich()
    assert "ZeroDivisionError" in (house.video(1).error or "")
    assert summary.ending is RunEnd.FINISHED
    assert_truthful(house, 2, 300)


# the disk and the database


async def test_no_picture_is_written_when_the_reserve_is_touched_already(
    make_house: Callable[..., House], clip: Clip
) -> None:
    house = make_house(disk_reserve_mb=10**9)
    house.add(clip(frames=10))
    summary = await house.enrich()
    assert "EVERYFRAME_DISK_RESERVE_MB" in summary.waiting[0][1]
    assert not list(house.frames_folder.rglob("*.jpg"))
    assert_settled(house)


async def test_a_pictures_folder_that_cannot_be_written_to_waits_and_is_said(house: House, clip: Clip) -> None:
    house.frames_folder.write_text("in the way")
    house.add(clip(frames=5))
    summary = await house.enrich()
    assert ["cannot be written to" in reason for _, reason in summary.waiting] == [True]
    house.frames_folder.unlink()
    assert (await house.enrich()).is_good
    assert_truthful(house)


async def test_a_locked_database_is_waited_for(
    house: House,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    standin: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "LOCKED_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(decoder, "LOCKED_PAUSE_SECONDS", 0.02)
    event.listen(house.library.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=20"))
    standin.behave(delay=0.02)
    house.add(clip(frames=40))
    async with Running(house, RunOptions()) as running:
        for described in (0, 10, 20):
            await until(lambda count=described: running.worker.status.counts.frames_described > count, "some are")
            with closing(sqlite3.connect(house.settings.home / "library.db", timeout=10)) as other:
                other.isolation_level = None
                other.execute("BEGIN IMMEDIATE")
                caplog.clear()
                await until(lambda: "the database waits" in caplog.text, "the worker notices")
                other.execute("ROLLBACK")
        summary = await running.end()
    assert summary.is_good
    assert sorted(standin.described) == list(range(40))
    assert_truthful(house)
    assert_settled(house)


# the end of a run


async def test_calls_that_do_not_end_within_the_grace_time_are_cancelled_and_not_counted(
    house: House, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.1)
    house.add(clip(frames=60))
    standin.behave(delay=0.01)
    async with Running(house) as running:
        await until(lambda: house.described() > 2, "some are described")
        standin.behave(delay=5)
        calls = len(standin.chats)
        await until(lambda: len(standin.chats) >= calls + 2, "slow calls are in flight")
        running.worker.stop()
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert house.states_of_runs() == ["stopped"]
    assert house.attempts() == 0
    assert house.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0
    assert_settled(house)
    assert house.described() == summary.counts.frames_described
    standin.behave(delay=0)
    await house.enrich()
    assert_truthful(house)
    assert house.value("SELECT count(*) FROM analyses WHERE is_kept") == 60


async def test_a_stop_at_any_moment_leaves_nothing_claimed_and_loses_no_call(
    house: House, standin: StandIn, clip: Clip
) -> None:
    house.add(clip(frames=40), clip(frames=40, first=500), clip(frames=40, first=900))
    for pause in range(12):
        async with Running(house) as running:
            await asyncio.sleep(pause / 100)
            running.worker.stop()
            await running.end()
        assert_settled(house)
        assert house.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0
    await house.enrich()
    for number, first in enumerate((0, 500, 900), 1):
        assert_truthful(house, number, first)
    assert sum(number is not None for number in standin.described) == 120


async def test_a_worker_that_is_cancelled_at_any_moment_leaves_nothing_claimed_either(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.02)
    house.add(clip(frames=60))
    for pause in (0.0, 0.005, 0.05, 0.2, 0.3):
        describer = house.describer()
        running = asyncio.create_task(house.worker(describer=describer).run())
        await asyncio.sleep(pause)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await describer.close()
        assert_settled(house)
        assert set(house.states_of_runs()) <= {"stopped"}
    await house.enrich()
    assert_truthful(house)


async def test_what_a_run_that_ended_badly_left_claimed_is_taken_up_at_once(house: House, clip: Clip) -> None:
    """Its lease has not run out, and its run says it stopped: the new worker is alone in the library all the same."""
    house.add(clip(frames=6))
    await house.worker(RunOptions(describe=False)).run()
    house.change(
        "UPDATE tasks SET status = 'doing', lease_token = 'left', run_id = 1, "
        "lease_until = datetime('now', '+60 seconds') WHERE id = (SELECT max(id) FROM tasks)"
    )
    await house.enrich()
    assert_truthful(house)
    assert_settled(house)
