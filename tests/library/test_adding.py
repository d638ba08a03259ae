"""Adding real collections: nested folders, odd names, links, duplicates and other files."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db.store import NewVideo
from enrich.library import adding
from enrich.library.adding import PathOutcome, add_paths, walk
from enrich.video.probe import VideoFacts
from enrich.video.sampling import parse_sampling
from tests.clips import numbered_clip
from tests.worker.workspace import Workspace, assert_truthful

Clip = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "videos"
    made.mkdir()
    return made


def outcomes(workspace: Workspace, *paths: Path) -> dict[str, PathOutcome]:
    return {addition.path.name: addition.outcome for addition in workspace.added(paths)}


def test_folder_is_searched_recursively_in_name_order(workspace: Workspace, folder: Path, clip: Clip) -> None:
    deep = folder / "2019" / "summer" / "day 1"
    deep.mkdir(parents=True)
    shutil.copy(clip(frames=5), deep / "b.mp4")
    shutil.copy(clip(frames=6), deep / "a.MOV")
    shutil.copy(clip(frames=7), folder / "z.mkv")
    found = workspace.added([folder])
    assert [(one.path.name, one.outcome, one.was_named) for one in found] == [
        ("z.mkv", PathOutcome.ADDED, False),
        ("a.MOV", PathOutcome.ADDED, False),
        ("b.mp4", PathOutcome.ADDED, False),
    ]
    assert [one.video_id for one in found] == [1, 2, 3]
    assert workspace.video(3).path == str(deep / "b.mp4")
    assert workspace.tasks("extract") == {"todo": 3}


def test_hidden_videos_are_skipped_unless_named(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / ".trash").mkdir()
    shutil.copy(clip(frames=5), folder / ".trash" / "deleted.mp4")
    for name in ("._film.mp4", ".trashed-1700000000-VID_1.mp4", ".secret.mov", ".DS_Store"):
        (folder / name).write_bytes(b"no film")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("of no interest")
    assert {one.path.name: one.error for one in workspace.added([folder])} == {
        ".trash": "trash",
        "._film.mp4": "macOS metadata",
        ".trashed-1700000000-VID_1.mp4": "deleted on the phone",
        ".secret.mov": "hidden",
    }
    assert outcomes(workspace, folder / ".trash" / "deleted.mp4") == {"deleted.mp4": PathOutcome.ADDED}


IGNORED_FILES = {
    "DCIM/GL010001.LRV": "camera preview",
    "DCIM/DJI_0001.LRF": "camera preview",
    "DCIM/LRV_20240101_120000_01_001.insv": "camera preview",
    "DCIM/GX010001.THM": "camera thumbnail",
    "PRIVATE/M4ROOT/SUB/C0001S03.MP4": "proxy",
    "film_proxy.mov": "proxy",
    "photo.dng": "raw photo or CinemaDNG frame; export CinemaDNG as ProRes or H.264 first",
}
IGNORED_FOLDERS = {
    "Proxies": "proxies",
    "Proxy": "proxies",
    "Adobe Premiere Pro Video Previews": "editor cache",
    "CacheClip": "editor cache",
    "@eaDir": "network drive thumbnails",
    "$RECYCLE.BIN": "trash",
    "System Volume Information": "system files",
    "My.fcpbundle/Render Files": "editor cache",
}


def test_previews_proxies_and_caches_are_skipped_and_listed(workspace: Workspace, folder: Path, clip: Clip) -> None:
    for name in [*IGNORED_FILES, *(f"{name}/deep/inside.mp4" for name in IGNORED_FOLDERS)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip(frames=5), folder / name)
    (folder / "My.fcpbundle" / "Original Media").mkdir()
    shutil.copy(clip(frames=6), folder / "My.fcpbundle" / "Original Media" / "film.mov")
    (folder / "Proxies of nothing" / "Proxy").mkdir(parents=True)
    found = workspace.added([folder])
    listed = {str(one.path.relative_to(folder)): one.error for one in found if one.outcome is PathOutcome.SKIPPED}
    assert listed == IGNORED_FILES | IGNORED_FOLDERS
    assert [one.path.name for one in found if one.outcome is PathOutcome.ADDED] == ["film.mov"]


def test_named_preview_or_proxy_folder_is_added(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "Proxies").mkdir()
    shutil.copy(clip(frames=5), folder / "GL010001.LRV")
    shutil.copy(clip(frames=6), folder / "Proxies" / "film.mp4")
    found = workspace.added([folder / "GL010001.LRV", folder / "Proxies"])
    assert [one.outcome for one in found] == [PathOutcome.ADDED, PathOutcome.ADDED]


def test_raw_footage_in_a_folder_is_reported_as_failed(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "A001.braw").write_bytes(bytes(2000))
    (folder / "A002.R3D").write_bytes(bytes(2000))
    shutil.copy(clip(frames=5), folder / "film.mp4")
    found = {one.path.name: one for one in workspace.added([folder])}
    assert found["film.mp4"].outcome is PathOutcome.ADDED
    for name, kind in (("A001.braw", "Blackmagic RAW"), ("A002.R3D", "REDCODE RAW")):
        assert found[name].outcome is PathOutcome.FAILED
        assert kind in (found[name].error or "")


def test_other_files_are_skipped_and_fail_when_named(workspace: Workspace, folder: Path) -> None:
    notes = folder / "notes.txt"
    notes.write_text("Buy milk.")
    [skipped] = workspace.added([folder])
    assert (skipped.outcome, skipped.was_named) == (PathOutcome.SKIPPED, False)
    [failed] = workspace.added([notes])
    assert (failed.outcome, failed.was_named) == (PathOutcome.FAILED, True)
    assert str(notes) in (failed.error or "")
    assert workspace.ask("SELECT * FROM videos") == []


@pytest.mark.parametrize(
    "name",
    [
        "Oma's 80. Geburtstag.mp4",
        "größe & café.mp4",
        "日本の夏.mp4",
        "two\nlines.mp4",
        "-rf.mp4",
        "a:b?*.mp4",
        "😀.mp4",
    ],
)
async def test_file_name_can_be_anything(workspace: Workspace, folder: Path, clip: Clip, name: str) -> None:
    video = Path(shutil.copy(clip(frames=4), folder / name))
    workspace.add(video)
    assert workspace.video().path == str(video)
    assert workspace.video().title == video.stem
    await workspace.enrich()
    assert_truthful(workspace)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_undecodable_file_name_fails_alone(workspace: Workspace, folder: Path, clip: Clip) -> None:
    shutil.copy(clip(frames=4), folder / os.fsdecode(b"caf\xe9.mp4"))
    shutil.copy(clip(frames=5), folder / "fine.mp4")
    found = workspace.added([folder])
    assert [one.outcome for one in found] == [PathOutcome.FAILED, PathOutcome.ADDED]
    assert "rename it" in (found[0].error or "")


def test_circular_links_end(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    shutil.copy(clip(frames=5), folder / "inner" / "film.mp4")
    assert outcomes(workspace, folder)["film.mp4"] is PathOutcome.ADDED
    assert len(workspace.ask("SELECT * FROM videos")) == 1


def test_named_link_is_followed_and_its_path_is_kept(
    workspace: Workspace, folder: Path, tmp_path: Path, clip: Clip
) -> None:
    video = tmp_path / "link.mp4"
    video.symlink_to(clip(frames=5))
    workspace.add(video)
    assert workspace.video().path == str(video)


def test_broken_link_is_an_error(workspace: Workspace, folder: Path) -> None:
    (folder / "lost.mp4").symlink_to(folder / "nowhere.mp4")
    [lost] = workspace.added([folder])
    assert lost.outcome is PathOutcome.FAILED
    assert str(folder / "lost.mp4") in (lost.error or "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.timeout(20)
def test_named_pipe_does_not_block_adding(workspace: Workspace, folder: Path, clip: Clip) -> None:
    os.mkfifo(folder / "pipe.mp4")
    shutil.copy(clip(frames=5), folder / "film.mp4")
    assert outcomes(workspace, folder)["film.mp4"] is PathOutcome.ADDED
    assert outcomes(workspace, folder / "pipe.mp4") == {"pipe.mp4": PathOutcome.FAILED}


def test_same_file_twice_is_one_video(workspace: Workspace, clip: Clip) -> None:
    video = clip(frames=5)
    assert [one.outcome for one in workspace.added([video, video])] == [PathOutcome.ADDED, PathOutcome.KNOWN]
    assert len(workspace.ask("SELECT * FROM videos")) == 1
    assert workspace.tasks("extract") == {"todo": 1}


async def test_moved_file_is_recognised_and_not_processed_again(workspace: Workspace, folder: Path, clip: Clip) -> None:
    video = Path(shutil.copy(clip(frames=5), folder / "old.mp4"))
    workspace.add(video)
    await workspace.enrich()
    moved = video.rename(folder / "new.mp4")
    [found] = workspace.added([moved])
    assert (found.outcome, found.video_id) == (PathOutcome.MOVED, 1)
    assert workspace.video().path == str(moved)
    summary = await workspace.enrich()
    assert summary.counts.calls == summary.counts.videos_extracted == 0
    assert_truthful(workspace)


def test_different_video_at_a_known_path_is_added(workspace: Workspace, folder: Path, clip: Clip) -> None:
    video = Path(shutil.copy(clip(frames=5), folder / "film.mp4"))
    workspace.add(video)
    shutil.copy(clip(frames=6), video)
    [found] = workspace.added([video])
    assert (found.outcome, found.video_id) == (PathOutcome.ADDED, 2)


def test_context_given_later_is_kept(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=5))
    workspace.add(clip(frames=5), context="Summer in Graz")
    assert workspace.video().context == "Summer in Graz"
    workspace.add(clip(frames=5))
    assert workspace.video().context == "Summer in Graz"


def test_unusable_files_do_not_stop_the_others(workspace: Workspace, folder: Path, tmp_path: Path, clip: Clip) -> None:
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    (folder / "empty.mp4").write_bytes(b"")
    shutil.copy(clip(frames=5), folder / "fine.mp4")
    found = outcomes(workspace, tmp_path / "missing.mp4", folder)
    assert found == {
        "missing.mp4": PathOutcome.FAILED,
        "broken.mp4": PathOutcome.FAILED,
        "empty.mp4": PathOutcome.FAILED,
        "fine.mp4": PathOutcome.ADDED,
    }


@pytest.mark.usefixtures("file_permissions")
def test_unreadable_file_is_an_error(workspace: Workspace, folder: Path, clip: Clip) -> None:
    video = Path(shutil.copy(clip(frames=5), folder / "secret.mp4"))
    video.chmod(0)
    [found] = workspace.added([folder])
    assert found.outcome is PathOutcome.FAILED
    assert "permission denied" in (found.error or "")


def test_relative_paths_become_absolute(folder: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(clip(frames=5), folder / "film.mp4")
    monkeypatch.chdir(folder)
    assert list(walk([Path("film.mp4"), Path("../videos/film.mp4")])) == [(folder / "film.mp4", True)] * 2
    assert list(walk([Path()])) == [(folder / "film.mp4", False)]


def test_sampling_is_stored_with_the_video(workspace: Workspace, clip: Clip) -> None:
    list(add_paths(workspace.library, [clip(frames=5)], sampling=parse_sampling("every=500ms"), context=""))
    assert workspace.video().sampling == "every=0.5s"


def test_linked_folder_is_searched_once(workspace: Workspace, folder: Path, tmp_path: Path, clip: Clip) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deeper").mkdir(parents=True)
    shutil.copy(clip(frames=5), elsewhere / "deeper" / "film.mp4")
    (folder / "real").mkdir()
    shutil.copy(clip(frames=6), folder / "real" / "own.mp4")
    (folder / "a link to real").symlink_to(folder / "real", target_is_directory=True)
    (folder / "b").symlink_to(elsewhere, target_is_directory=True)
    (folder / "c").symlink_to(elsewhere / "deeper", target_is_directory=True)
    (elsewhere / "back").symlink_to(folder, target_is_directory=True)
    found = [one.path.relative_to(folder) for one in workspace.added([folder])]
    assert found == [Path("real/own.mp4"), Path("b/deeper/film.mp4")]


def test_link_to_everything_is_named_and_not_followed(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "z:").symlink_to("/", target_is_directory=True)
    shutil.copy(clip(frames=5), folder / "film.mp4")
    video, link = workspace.added([folder])
    assert (video.outcome, link.outcome) == (PathOutcome.ADDED, PathOutcome.SKIPPED)
    assert link.error == "link to a folder that contains the searched one"


@pytest.mark.usefixtures("file_permissions")
def test_folder_that_cannot_be_read_is_named(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "secret").mkdir(mode=0)
    shutil.copy(clip(frames=5), folder / "film.mp4")
    video, secret = workspace.added([folder])
    assert (video.outcome, secret.outcome) == (PathOutcome.ADDED, PathOutcome.FAILED)
    assert "secret cannot be searched (Permission denied)" in (secret.error or "")


ENDINGS = [
    "360",
    "264",
    "265",
    "trp",
    "tp",
    "wtv",
    "dav",
    "h264",
    "hevc",
    "f4v",
    "3gp",
    "gxf",
    "ivf",
    "obu",
    "y4m",
    "amv",
    "mpv",
    "vro",
    "mod",
    "tod",
    "dvr-ms",
    "osv",
    "mk3d",
]


def test_every_ending_that_ffmpeg_reads_is_a_video(workspace: Workspace, folder: Path, clip: Clip) -> None:
    for number, ending in enumerate(ENDINGS):
        video = Path(shutil.copy(clip(frames=5), folder / f"clip.{ending.upper() if number % 2 else ending}"))
        with video.open("ab") as file:
            file.write(bytes(number + 1))
    assert {one.outcome for one in workspace.added([folder])} == {PathOutcome.ADDED}


DATES = {
    "0001-01-01T00:00:00+0100": None,
    "9999-12-31T23:59:59-0100": None,
    "9999-12-31T23:59:59Z": None,
    "2024-05-01T10:00:00+99:00": None,
    "2024-13-41T10:00:00Z": None,
    "2024-05-01T10:00:00+0200": "2024-05-01T08:00:00+00:00",
}


def test_absurd_date_is_no_date_and_stops_no_folder(workspace: Workspace, folder: Path, clip: Clip) -> None:
    for number, date in enumerate(DATES):
        tags = {"com.apple.quicktime.creationdate": date}
        numbered_clip(folder / f"{number}.mov", frames=2 + number, size=(64, 36), tags=tags)
    found = workspace.added([folder])
    assert [one.outcome for one in found] == [PathOutcome.ADDED] * len(DATES)
    moments = [workspace.video(one.video_id or 0).recorded_at for one in found]
    assert [moment.isoformat() if moment else None for moment in moments] == list(DATES.values())


@pytest.mark.expected_errors("unexpected error while adding")
def test_error_nobody_foresaw_fails_one_file(
    workspace: Workspace, folder: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
        shutil.copy(clip(frames=5 + number), folder / name)
    real = adding.new_video

    def fails(facts: VideoFacts) -> NewVideo:
        if facts.title == "b":
            raise OverflowError("date value out of range")
        return real(facts)

    monkeypatch.setattr(adding, "new_video", fails)
    found = workspace.added([folder])
    assert [one.outcome for one in found] == [PathOutcome.ADDED, PathOutcome.FAILED, PathOutcome.ADDED]
    assert "b.mp4 could not be added (OverflowError: date value out of range)" in (found[1].error or "")
    assert "Traceback" in caplog.text
