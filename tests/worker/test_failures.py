"""Failures of hosts, frames, replies, files and runs, produced for real in one process. See docs/promises.md."""

import shutil
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from enrich.errors import DiskFullError, RunningError
from enrich.library.images import require_disk
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import numbered_clip
from tests.standin import ShelfModel, StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]


def reason(workspace: Workspace) -> str:
    """Why the last run is in its state; empty before the first run."""
    return str(workspace.value("SELECT coalesce((SELECT reason FROM runs ORDER BY id DESC LIMIT 1), '')"))


def state(workspace: Workspace) -> str:
    return str(workspace.value("SELECT coalesce((SELECT state FROM runs ORDER BY id DESC LIMIT 1), '')"))


def warnings(workspace: Workspace) -> set[str]:
    return {warning["problem"] for frame in workspace.frames() for warning in frame.warnings}


def assert_complete_without_attempts(workspace: Workspace) -> None:
    """Every frame has its own description, and no failed attempt was counted."""
    assert_truthful(workspace)
    assert workspace.attempts() == 0
    assert workspace.tasks() == {"done": len(workspace.frames())}
    assert_settled(workspace)


# the host


async def test_without_ollama_decoding_continues_and_the_run_waits(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.stop()
    workspace.add(clip(12))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: state(workspace) == "waiting", "the run waits")
        await until(lambda: workspace.video().extraction_status == "extracted", "decoding continues")
        assert "ollama serve" in reason(workspace)
        standin.start()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_ollama_outages_cost_only_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(40))
    async with Running(workspace, RunOptions()) as running:
        for so_far in (5, 15, 25):
            await until(lambda so_far=so_far: workspace.described() >= so_far, "some are described")
            standin.stop()
            await until(lambda: state(workspace) == "waiting", "the run waits")
            standin.start()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)
    assert workspace.value("SELECT count(*) FROM analyses") == 40


async def test_busy_host_gets_fewer_requests_and_fails_no_frame(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.BUSY, times=6)
    workspace.add(clip(10))
    assert (await workspace.enrich()).is_good
    assert_complete_without_attempts(workspace)


@pytest.mark.parametrize(
    "trick", [Trick.ERROR, Trick.HTML, Trick.HALF, Trick.DIE, Trick.BAD_GATEWAY, Trick.BROKEN_JSON]
)
async def test_temporarily_failing_host_costs_no_attempt(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.behave(delay=0.01)
    workspace.add(clip(20))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 5, "some are described")
        standin.play(trick)
        await until(lambda: state(workspace) == "waiting", "the host backs off")
        standin.calm()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_hanging_request_times_out_counts_and_is_retried(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(call_seconds=0.3)
    standin.play(Trick.HANG, times=1, frames=[4])
    workspace.add(clip(8))
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    assert workspace.attempts() == 1
    assert_settled(workspace)


async def test_run_waits_for_a_missing_model(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(models=(ShelfModel("bakllava:latest"),))
    workspace.add(clip(6))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: "ollama pull llava:13b" in reason(workspace), "the run names the next step")
        standin.behave(models=(ShelfModel("llava:13b"),))
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


# the frame


async def test_frame_fails_after_three_attempts_and_can_be_retried(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[7])
    workspace.add(clip(15))
    summary = await workspace.enrich()

    assert summary.ending is RunEnd.FINISHED
    assert not summary.is_good
    [(why, count)] = summary.failures
    assert (count, "llama runner" in why) == (1, True)
    assert workspace.described() == 14
    assert workspace.tasks() == {"done": 14, "failed": 1}
    assert workspace.value("SELECT attempts FROM tasks WHERE status = 'failed'") == 3
    assert workspace.video().enrichment_status == "enriched"
    assert workspace.video().failed == 1

    standin.calm()
    assert workspace.retry(reason="llama runner") == 1
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_consecutive_bad_frames_fail_while_their_host_is_healthy(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[3, 4, 5, 6, 7])
    workspace.add(clip(15))
    summary = await workspace.enrich()
    assert summary.failures[0][1] == 5
    assert workspace.described() == 10
    assert_settled(workspace)


async def test_video_without_a_description_has_failed(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.ERROR, frames=range(5))
    workspace.add(clip(5))
    await workspace.enrich()
    assert workspace.video().enrichment_status == "failed"


async def test_frame_that_crashes_the_server_does_not_block_the_run(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.DIE, frames=[3])
    workspace.add(clip(9))
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert workspace.described() == 8
    assert workspace.tasks() == {"done": 8, "failed": 1}


# the reply


@pytest.mark.parametrize(
    ("trick", "problem"),
    [
        (Trick.CUT_OFF, "cut_off"),
        (Trick.NOT_JSON, "not_json"),
        (Trick.REPEATS, "repeats"),
        (Trick.LEAKS, "leaks_prompt"),
        (Trick.EMPTY, "empty"),
        (Trick.SPACES, "empty"),
    ],
)
async def test_bad_reply_is_detected_and_asked_for_differently(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, times=1, frames=[2])
    workspace.add(clip(6))
    assert (await workspace.enrich()).is_good
    calls = workspace.ask(
        "SELECT a.is_kept, a.warnings FROM analyses a JOIN frames f ON f.id = a.frame_id"
        ' WHERE f."index" = 2 ORDER BY a.id'
    )
    assert [bool(kept) for kept, _ in calls] == [False, True]
    assert problem in calls[0][1]
    assert "number 2:" in (workspace.frames()[2].local_description or "")
    assert workspace.attempts() == 0


async def test_repeatedly_flagged_text_is_kept_with_its_warning(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.SAME_TEXT, stubborn=True)
    workspace.add(clip(40))
    assert (await workspace.enrich()).is_good
    assert workspace.described() == 40
    assert warnings(workspace) == {"same_text"}


async def test_only_empty_replies_make_a_frame_fail(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.EMPTY, stubborn=True, frames=[1])
    workspace.add(clip(6))
    summary = await workspace.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert workspace.described() == 5
    assert (
        workspace.value("SELECT count(*) FROM analyses WHERE NOT is_kept") == 6
    )  # three attempts of two requests each


async def test_second_requests_stop_when_they_never_help(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.NOT_JSON, stubborn=True)
    workspace.add(clip(20))
    await workspace.enrich(RunOptions())
    assert workspace.value("SELECT count(*) FROM analyses") < 30


# the file


async def test_missing_file_is_reported_while_other_videos_continue(
    workspace: Workspace, tmp_path: Path, clip: Clip
) -> None:
    lost = Path(shutil.copy(clip(10), tmp_path / "lost.mp4"))
    other = numbered_clip(tmp_path / "other.mp4", frames=8)
    workspace.add(lost, other)
    lost.rename(tmp_path / "elsewhere.mp4")

    summary = await workspace.enrich()
    assert not summary.is_good
    assert [title for title, _ in summary.waiting] == ["lost"]
    assert "lost.mp4" in (workspace.video(1).error or "")
    assert workspace.video(2).enrichment_status == "enriched"

    (tmp_path / "elsewhere.mp4").rename(lost)
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace, 1)
    assert workspace.video(1).error is None


async def test_replaced_file_is_detected_before_decoding(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    video_file = Path(shutil.copy(clip(10), tmp_path / "film.mp4"))
    workspace.add(video_file)
    shutil.copy(clip(14), video_file)
    summary = await workspace.enrich()
    assert "not the file that was added" in summary.waiting[0][1]
    assert workspace.frames() == []
    assert_settled(workspace)


async def test_damaged_video_yields_its_readable_frames(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    whole = clip(60).read_bytes()
    broken = tmp_path / "broken.mp4"
    middle = len(whole) // 2
    broken.write_bytes(whole[:middle] + b"\0" * 300 + whole[middle + 300 :])
    workspace.add(broken)
    await workspace.enrich()
    row = workspace.video()
    assert row.extraction_status == "extracted"
    assert row.enrichment_status == "enriched"
    assert 30 < row.kept <= 60
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == row.frame_count


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty"])
async def test_missing_or_damaged_image_is_recreated(workspace: Workspace, clip: Clip, harm: str) -> None:
    workspace.add(clip(10))
    await workspace.enrich(RunOptions(describe=False))
    image_file = workspace.image(workspace.frames()[6])
    before = image_file.read_bytes()
    match harm:
        case "missing":
            image_file.unlink()
        case "cut short":
            image_file.write_bytes(before[: len(before) // 2])
        case _:
            image_file.write_bytes(b"")
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    assert image_file.read_bytes() == before


async def test_lost_image_waits_for_its_missing_video(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    video_file = Path(shutil.copy(clip(10), tmp_path / "film.mp4"))
    workspace.add(video_file)
    await workspace.enrich(RunOptions(describe=False))
    workspace.image(workspace.frames()[6]).unlink()
    video_file.rename(tmp_path / "away.mp4")
    summary = await workspace.enrich()
    assert summary.left == 1
    assert workspace.described() == 9
    assert workspace.attempts() == 0

    (tmp_path / "away.mp4").rename(video_file)
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)


async def test_decoding_pauses_before_the_disk_is_full(make_workspace: Callable[..., Workspace], clip: Clip) -> None:
    workspace = make_workspace(disk_reserve_mb=1_000_000_000)
    workspace.add(clip(10))
    summary = await workspace.enrich()
    assert "reserve" in summary.waiting[0][1]
    assert workspace.with_settings(disk_reserve_mb=0).settings.disk_reserve_mb == 0
    assert (await workspace.with_settings(disk_reserve_mb=0).enrich()).is_good
    assert_truthful(workspace)


def test_disk_reserve_accounts_for_images_in_flight(
    make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_workspace(disk_reserve_mb=1000).library
    disk = shutil.disk_usage(library.settings.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=1_200_000_000))
    require_disk(library)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=1_020_000_000))
    with pytest.raises(DiskFullError, match=r"only 1020 MB are free.* 1000 MB are kept in reserve"):
        require_disk(library)


# the run


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
