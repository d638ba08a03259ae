"""Videos in all supported containers are added, decoded and described."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from db import queries
from db.engine import writing
from db.models import Video
from tests.clips import numbered_clip, run_ffmpeg
from tests.worker.workspace import Workspace, assert_truthful

Clip = Callable[..., Path]
CONTAINERS = {
    "film.mkv": {"bframes": 2},
    "film.mov": {},
    "film.mts": {"bframes": 2},
    "film.avi": {"codec": "mpeg4"},
    "film.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "phone.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "matrix": "bt2020nc",
        "rotation": 90,
        "options": {"x265-params": "log-level=none", "color_primaries": "bt2020", "color_trc": "arib-std-b67"},
    },
    "variable.mp4": {"times": [n * n / 100 for n in range(6)]},
}


@pytest.mark.parametrize("name", CONTAINERS)
async def test_video_in_any_container_is_described(workspace: Workspace, tmp_path: Path, name: str) -> None:
    workspace.add(numbered_clip(tmp_path / name, frames=6, **CONTAINERS[name]))
    if name == "phone.mp4":  # its colours are converted and no longer those of the numbered image
        await workspace.enrich()
        assert workspace.described() == 6
        assert (workspace.video().width, workspace.video().height) == (320, 180)
        return
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)


def live_webm(folder: Path) -> Path:
    """A WebM file recorded from a live stream; its header has no duration."""
    video_file = numbered_clip(
        folder / "film.webm", frames=10, codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"}
    )
    run_ffmpeg("-i", video_file, "-c", "copy", "-live", "1", "-f", "webm", folder / "live.webm")
    return folder / "live.webm"


@pytest.mark.parametrize("kind", ["live.webm", "raw.h264"])
async def test_unknown_duration_is_measured_by_decoding(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    video_file = live_webm(tmp_path) if kind == "live.webm" else numbered_clip(tmp_path / kind, frames=10)
    workspace.add(video_file)
    before: queries.VideoRow = workspace.video()
    assert before.duration is None
    await workspace.enrich()
    assert_truthful(workspace)
    assert workspace.video().duration == pytest.approx(10 / 25, abs=0.041)
    assert workspace.video().frame_count == 10


async def test_known_duration_is_kept(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=10))
    said = workspace.video().duration
    await workspace.enrich()
    assert workspace.video().duration == said


def test_recording_chapters_and_warnings_are_stored(workspace: Workspace, tmp_path: Path) -> None:
    for number, name in enumerate(("GX020123.MP4", "GX010123.MP4", "other.mp4")):
        how = {"tags": {"com.vendor.gamma": "S-Log3"}} if name == "other.mp4" else {}
        numbered_clip(tmp_path / name, frames=2, first=number * 100, **how)
    workspace.added([tmp_path])
    assert [(row.recording, row.chapter) for row in map(workspace.video, (1, 2, 3))] == [
        (str(tmp_path / "GX*0123"), 1),
        (str(tmp_path / "GX*0123"), 2),
        (None, None),
    ]
    assert workspace.video(1).warnings == []
    assert "S-Log3" in workspace.video(3).warnings[0]


def test_chapters_stay_together_when_moved(workspace: Workspace, tmp_path: Path) -> None:
    old, new = tmp_path / "card", tmp_path / "archive"
    old.mkdir()
    for number in (1, 2):
        numbered_clip(old / f"GX0{number}0123.MP4", frames=2, first=number * 100)
    workspace.added([old])
    old.rename(new)
    workspace.added([new])
    assert {workspace.video(number).recording for number in (1, 2)} == {str(new / "GX*0123")}


async def test_rotation_found_by_decoding_is_stored(workspace: Workspace, tmp_path: Path) -> None:
    workspace.add(numbered_clip(tmp_path / "turned.mp4", frames=6, rotation=90))
    with writing(workspace.library.engine) as connection:  # as if the probe had found no frame in a damaged start
        connection.execute(update(Video).values(rotation=0, width=180, height=320))
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    video = workspace.video()
    assert (video.rotation, video.width, video.height) == (90, 320, 180)
