"""Failing storage: missing and damaged videos, lost images, and a full disk."""

import errno
import shutil
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from enrich.errors import DecodingError, DiskFullError, ImageStorageError, VideoMissingError
from enrich.library import images
from enrich.library.images import require_disk, translated_errors
from enrich.video.fingerprint import fingerprint
from enrich.worker import extract_task, prefetch
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import numbered_clip, shared_videos
from tests.faulty_drive import FaultyDrive
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_complete_without_attempts, assert_settled, assert_truthful

Clip = Callable[..., Path]


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
    monkeypatch.setattr(images, "RETRY_SECONDS", 0.05)
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


@pytest.fixture
def large_clip(drive: FaultyDrive) -> Path:
    """A video of 60 frames on the faulty drive: so large that its fingerprint reads only some of it."""
    clip = numbered_clip(drive.files / "large.mkv", frames=60, size=(640, 360), codec="rawvideo", gop=1)
    return drive.folder / clip.name


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
async def test_video_waits_at_a_read_error_and_continues(
    workspace: Workspace, drive: FaultyDrive, large_clip: Path, code: int
) -> None:
    middle = large_clip.stat().st_size // 2 + (1 << 17)
    workspace.add(large_clip)
    drive.fails(code, begin=middle, end=middle + 1)
    summary = await workspace.enrich()
    [(_, reason)] = summary.waiting
    assert reason == workspace.video().error
    assert "large.mkv" in reason
    assert "its drive" in reason
    assert workspace.video().extraction_status == "pending"
    assert 10 < len(workspace.frames()) < 60
    assert workspace.attempts() == 0
    assert_truthful(workspace)

    drive.works()
    assert (await workspace.enrich()).is_good
    assert_complete_without_attempts(workspace)
    assert [frame.index for frame in workspace.frames()] == [*range(60)]
    video = workspace.video()
    assert (video.frame_count, video.decode_failures, video.error, video.warnings) == (60, 0, None, [])


async def test_running_worker_continues_when_an_unplugged_drive_is_back(
    workspace: Workspace, drive: FaultyDrive, large_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "RETRY_SECONDS", 0.05)
    workspace.add(large_clip)
    drive.is_unplugged()
    async with Running(workspace):
        await until(lambda: "connect its drive" in (workspace.video().error or ""), "it waits")
        drive.fails(errno.EIO, times=5)
        await until(lambda: workspace.video().enrichment_status == "enriched", "it is enriched")
    assert_complete_without_attempts(workspace)
    assert len(workspace.frames()) == 60


async def test_header_with_a_wrong_length_is_corrected(workspace: Workspace, tmp_path: Path) -> None:
    clip = numbered_clip(tmp_path / "clip.mkv", frames=50)
    data = clip.read_bytes().replace(b"DURATION", b"NOTHING_")
    at = data.index(b"\x44\x89\x88") + 3  # Segment, Info, Duration
    clip.write_bytes(data[:at] + struct.pack(">d", 40_000) + data[at + 8 :])
    workspace.add(clip)
    assert workspace.video().duration == 40
    assert (await workspace.enrich()).is_good
    video = workspace.video()
    assert video.duration == pytest.approx(2, abs=0.05)
    assert (video.frame_count, video.fps, video.warnings) == (50, 25, [])


async def test_video_cut_short_says_where_and_what_to_do(workspace: Workspace, tmp_path: Path) -> None:
    whole = numbered_clip(tmp_path / "whole.mkv", frames=240, size=(160, 90))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    workspace.add(cut)
    for _ in range(2):  # also when it is extracted again
        await workspace.enrich(RunOptions(describe=False))
        video = workspace.video()
        end = int(video.duration or 0)
        assert 4 < end < 9
        assert video.warnings == [f"cut short at 0:0{end}: the file says 0:09; copy it again from the original"]
        assert video.frame_count == len(workspace.frames())
        assert (video.frame_count or 0) + video.decode_failures == pytest.approx(240, abs=5)
        workspace.change("UPDATE tasks SET status = 'todo' WHERE kind = 'extract'")


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
    first = workspace.video(1).image_folder
    extraction = extract_task.Extraction

    def fails(path: Path, folder: Path, **how: object) -> object:
        if folder.name == first:
            raise ZeroDivisionError("a stream without a clock")
        return extraction(path, folder, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task, "Extraction", fails)
    summary = await workspace.enrich()
    assert "ZeroDivisionError" in (workspace.video(1).error or "")
    assert summary.ending is RunEnd.FINISHED
    assert_truthful(workspace, 2, 300)


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


async def test_damaged_raw_stream_gives_the_frames_that_decode(workspace: Workspace, tmp_path: Path) -> None:
    """It cannot be sought: FFmpeg reports EPERM, which is no trouble of the disk."""
    raw = numbered_clip(tmp_path / "raw.h264", frames=60)
    data = bytearray(raw.read_bytes())
    start = len(data) * 9 // 10
    data[start : start + 400] = b"\xaa" * 400
    raw.write_bytes(data)
    workspace.add(raw)
    summary = await workspace.enrich()
    assert summary.waiting == []
    video = workspace.video()
    assert video.extraction_status == "extracted"
    assert 30 < len(workspace.frames()) <= 60
    assert video.frame_count == video.covered


SHARED = shared_videos()


@pytest.mark.skipif(SHARED is None, reason="needs the shared cases")
async def test_shared_damaged_cases_end_as_they_should(workspace: Workspace) -> None:
    assert SHARED is not None
    cases = SHARED.parent / "cases"
    workspace.add(cases / "raw-damaged.h265", cases / "length-101-hours.avi")
    summary = await workspace.enrich(RunOptions(describe=False))
    assert summary.is_good
    raw, avi = workspace.video(1), workspace.video(2)
    assert (raw.extraction_status, raw.frame_count, raw.decode_failures) == ("extracted", 41, 11)
    assert (avi.frame_count, avi.duration, avi.warnings) == (75, 3.0, [])
    assert workspace.attempts() == 0


ERRORS = {
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
    "a folder without permission": (PermissionError(errno.EPERM, "Operation not permitted"), ImageStorageError),
    "FFmpeg without permission": (av.PermissionError(errno.EPERM, "Operation not permitted"), DecodingError),
    "FFmpeg without space": (av.OSError(errno.ENOSPC, "No space left on device"), DecodingError),
    "FFmpeg with damaged data": (av.InvalidDataError(errno.EINVAL, "Invalid data"), DecodingError),
}


@pytest.mark.parametrize(("error", "kind"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_of_ffmpeg_are_never_trouble_of_the_disk(
    workspace: Workspace, clip: Clip, error: Exception, kind: type[Exception]
) -> None:
    workspace.add(clip(10))
    with pytest.raises(kind), translated_errors(workspace.library, workspace.video()):
        raise error


def test_ffmpeg_error_of_a_video_that_is_gone_makes_it_wait(workspace: Workspace, clip: Clip, tmp_path: Path) -> None:
    video_file = Path(shutil.copy(clip(10), tmp_path / "drive.mp4"))
    workspace.add(video_file)
    video = workspace.video()
    video_file.unlink()
    with pytest.raises(VideoMissingError), translated_errors(workspace.library, video):
        raise av.FileNotFoundError(errno.ENOENT, "No such file or directory")
