"""What can happen to a film's file in the middle of a night, beside what `tests/work` shows of it before one."""

import shutil
from pathlib import Path

import pytest

from enrich.worker import decoder, extract_task, worker
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip
from tests.night.night import assert_in_order
from tests.standin import StandIn
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, until

FRAMES = 250


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a minute for people takes tenths of a second here."""
    monkeypatch.setattr(extract_task, "WAITING_SECONDS", 0.2)
    for module in (worker, decoder):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes a second or more to decode; only to be read."""
    return numbered_clip(tmp_path_factory.mktemp("films") / "long.mkv", frames=FRAMES, size=(1280, 720))


@pytest.fixture
def drive(long_film: Path, tmp_path: Path) -> Path:
    """A folder with that film."""
    folder = tmp_path / "drive"
    folder.mkdir()
    shutil.copy(long_film, folder / "long.mkv")
    return folder


async def in_the_middle(workspace: Workspace) -> None:
    """Wait until the long film is being decoded."""
    await until(
        lambda: (workspace.value('SELECT max("index") FROM frames WHERE video_id = 1') or 0) >= 8, "it is decoded"
    )
    assert workspace.video().extraction_status == "extracting"


async def test_a_film_that_is_still_being_copied_waits_and_is_taken_up_when_the_whole_is_added(
    workspace: Workspace, standin: StandIn, tmp_path: Path
) -> None:
    whole = numbered_clip(tmp_path / "whole.mkv", frames=60).read_bytes()
    film = tmp_path / "film.mkv"
    film.write_bytes(whole[: len(whole) // 3])
    [part] = workspace.add(film)
    async with Running(workspace):
        film.write_bytes(whole[: len(whole) // 2])  # a second may pass between two pieces: it may be decoded by then
        await until(lambda: workspace.video(part).error is not None, "it waits")
        assert "not the file that was added" in (workspace.video(part).error or "")
        assert workspace.frames(part) == []
        film.write_bytes(whole)
        [all_] = workspace.add(film)
        await until(lambda: workspace.video(all_).enrichment_status == "enriched", "the whole is enriched")
    assert_truthful(workspace, all_)
    assert len(workspace.frames(all_)) == 60
    assert workspace.attempts() == 0
    assert_settled(workspace)


@pytest.mark.parametrize("other_drive", [False, True], ids=["back", "from a copy"])
async def test_a_drive_that_is_unplugged_in_the_middle_costs_nothing_once_it_is_back(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path, other_drive: bool
) -> None:
    """Of two films one is being decoded, and the other one not yet begun."""
    shutil.copy(numbered_clip(tmp_path / "short.mp4", frames=20, first=1000), drive / "short.mp4")
    long, short = workspace.add(drive / "long.mkv", drive / "short.mp4")
    async with Running(workspace):
        await in_the_middle(workspace)
        drive.rename(tmp_path / "unplugged")
        await until(lambda: workspace.video(short).error is not None, "the other film waits")
        assert "short.mp4" in (workspace.video(short).error or "")
        if other_drive:
            shutil.copytree(tmp_path / "unplugged", drive)
        else:
            (tmp_path / "unplugged").rename(drive)
        for video_id in (long, short):
            await until(
                lambda video_id=video_id: workspace.video(video_id).enrichment_status == "enriched", "it goes on"
            )
    assert_in_order(workspace)
    assert_truthful(workspace, long)
    assert_truthful(workspace, short, 1000)
    assert [workspace.video(video_id).error for video_id in (long, short)] == [None, None]


async def test_a_film_that_is_replaced_while_it_is_decoded_is_not_mixed_up_with_the_other(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path
) -> None:
    film = drive / "long.mkv"
    workspace.add(film)
    other = numbered_clip(tmp_path / "other.mkv", frames=FRAMES, first=5000, fps=20)
    async with Running(workspace, RunOptions()) as running:
        await in_the_middle(workspace)
        other.replace(film)
        await running.end()
    assert_truthful(workspace)
    assert_settled(workspace)
    assert workspace.attempts() == 0


async def test_a_film_that_is_moved_while_it_is_decoded_is_gone_on_with_where_it_is_found_again(
    workspace: Workspace, standin: StandIn, drive: Path, tmp_path: Path
) -> None:
    workspace.add(drive / "long.mkv")
    async with Running(workspace, RunOptions()) as running:
        await in_the_middle(workspace)
        (drive / "long.mkv").rename(tmp_path / "elsewhere.mkv")
        await running.end()
    assert_truthful(workspace)
    workspace.add(tmp_path / "elsewhere.mkv")
    assert (await workspace.enrich()).is_good
    assert_in_order(workspace)
    assert_truthful(workspace)
    assert len(workspace.frames()) == FRAMES


async def test_a_film_that_was_deleted_in_the_middle_and_is_gone_at_the_next_start_waits_with_what_it_has(
    workspace: Workspace, standin: StandIn, drive: Path, long_film: Path, tmp_path: Path
) -> None:
    workspace.add(drive / "long.mkv")
    async with Running(workspace):
        await in_the_middle(workspace)
    (drive / "long.mkv").unlink()
    summary = await workspace.enrich()
    assert "long.mkv" in summary.waiting[0][1]
    assert workspace.described() == len(workspace.frames()) > 0, "what there is is described"
    shutil.copy(long_film, tmp_path / "found again.mkv")
    workspace.add(tmp_path / "found again.mkv")
    assert (await workspace.enrich()).is_good
    assert_in_order(workspace)
    assert_truthful(workspace)
    assert len(workspace.frames()) == FRAMES
