"""Video files that change during a run. `tests/worker/test_storage_failures.py` has those that change before one."""

import shutil
from pathlib import Path

import pytest

from enrich.library import images
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip
from tests.night.night import assert_complete
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

FRAMES = 250


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_wait_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "RETRY_SECONDS", 0.2)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes a second or more to decode; read-only."""
    return numbered_clip(tmp_path_factory.mktemp("films") / "long.mkv", frames=FRAMES, size=(1280, 720))


@pytest.fixture
def drive(long_video: Path, tmp_path: Path) -> Path:
    """A folder with that video."""
    folder = tmp_path / "drive"
    folder.mkdir()
    shutil.copy(long_video, folder / "long.mkv")
    return folder


async def until_decoding(workspace: Workspace) -> None:
    """Wait until the long video is being decoded."""
    await until(
        lambda: (workspace.value('SELECT max("index") FROM frames WHERE video_id = 1') or 0) >= 8, "it is decoded"
    )
    assert workspace.video().extraction_status == "extracting"


async def test_video_added_during_copying_waits_for_the_complete_file(
    workspace: Workspace, standin: StandIn, tmp_path: Path
) -> None:
    whole = numbered_clip(tmp_path / "whole.mkv", frames=60).read_bytes()
    video_file = tmp_path / "film.mkv"
    video_file.write_bytes(whole[: len(whole) // 3])
    [part] = workspace.add(video_file)
    async with Running(workspace):
        video_file.write_bytes(whole[: len(whole) // 2])  # the worker may try to decode it between two writes
        await until(lambda: workspace.video(part).error is not None, "it waits")
        assert "not the file that was added" in (workspace.video(part).error or "")
        assert workspace.frames(part) == []
        video_file.write_bytes(whole)
        [all_] = workspace.add(video_file)
        await until(lambda: workspace.video(all_).enrichment_status == "enriched", "the whole is enriched")
    assert_truthful(workspace, all_)
    assert len(workspace.frames(all_)) == 60
    assert workspace.attempts() == 0
    assert_settled(workspace)


@pytest.mark.parametrize("other_drive", [False, True], ids=["back", "from a copy"])
async def test_unplugged_drive_costs_nothing_once_it_is_back(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path, other_drive: bool
) -> None:
    """One of two videos is being decoded; the other one has not been started."""
    shutil.copy(numbered_clip(tmp_path / "short.mp4", frames=20, first=1000), drive / "short.mp4")
    long, short = workspace.add(drive / "long.mkv", drive / "short.mp4")
    async with Running(workspace):
        await until_decoding(workspace)
        drive.rename(tmp_path / "unplugged")
        await until(lambda: workspace.video(short).error is not None, "the other video waits")
        assert "short.mp4" in (workspace.video(short).error or "")
        if other_drive:
            shutil.copytree(tmp_path / "unplugged", drive)
        else:
            (tmp_path / "unplugged").rename(drive)
        for video_id in (long, short):
            await until(
                lambda video_id=video_id: workspace.video(video_id).enrichment_status == "enriched", "it resumes"
            )
    assert_complete(workspace)
    assert_truthful(workspace, long)
    assert_truthful(workspace, short, 1000)
    assert [workspace.video(video_id).error for video_id in (long, short)] == [None, None]


async def test_video_replaced_during_decoding_is_not_mixed_with_the_new_file(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path
) -> None:
    video_file = drive / "long.mkv"
    workspace.add(video_file)
    other = numbered_clip(tmp_path / "other.mkv", frames=FRAMES, first=5000, fps=20)
    async with Running(workspace, RunOptions()) as running:
        await until_decoding(workspace)
        other.replace(video_file)
        await running.end()
    assert_truthful(workspace)
    assert_settled(workspace)
    assert workspace.attempts() == 0


async def test_video_moved_during_decoding_is_resumed_at_its_new_path(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path
) -> None:
    workspace.add(drive / "long.mkv")
    async with Running(workspace, RunOptions()) as running:
        await until_decoding(workspace)
        (drive / "long.mkv").rename(tmp_path / "elsewhere.mkv")
        await running.end()
    assert_truthful(workspace)
    workspace.add(tmp_path / "elsewhere.mkv")
    assert (await workspace.enrich()).is_good
    assert_complete(workspace)
    assert_truthful(workspace)
    assert len(workspace.frames()) == FRAMES


async def test_video_deleted_during_decoding_keeps_its_frames_and_waits(
    workspace: Workspace, standin: StandIn, drive: Path, long_video: Path, tmp_path: Path
) -> None:
    workspace.add(drive / "long.mkv")
    async with Running(workspace):
        await until_decoding(workspace)
    (drive / "long.mkv").unlink()
    summary = await workspace.enrich()
    assert "long.mkv" in summary.waiting[0][1]
    assert workspace.described() == len(workspace.frames()) > 0, "the kept frames are described"
    shutil.copy(long_video, tmp_path / "found again.mkv")
    workspace.add(tmp_path / "found again.mkv")
    assert (await workspace.enrich()).is_good
    assert_complete(workspace)
    assert_truthful(workspace)
    assert len(workspace.frames()) == FRAMES
