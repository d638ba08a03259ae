"""Adding what people have: folders in folders, odd names, links, doubles, and what is no video at all."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enrich.library.adding import PathOutcome, add_paths, walk
from enrich.video.sampling import parse_sampling
from tests.worker.workspace import Workspace, assert_truthful

Clip = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "films"
    made.mkdir()
    return made


def outcomes(workspace: Workspace, *paths: Path) -> dict[str, PathOutcome]:
    return {addition.path.name: addition.outcome for addition in workspace.added(paths)}


def test_a_folder_is_searched_through_to_its_bottom_in_the_order_of_names(
    workspace: Workspace, folder: Path, clip: Clip
) -> None:
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


def test_hidden_films_are_skipped_and_listed_and_taken_when_named(
    workspace: Workspace, folder: Path, clip: Clip
) -> None:
    (folder / ".trash").mkdir()
    shutil.copy(clip(frames=5), folder / ".trash" / "deleted.mp4")
    for name in ("._film.mp4", ".trashed-1700000000-VID_1.mp4", ".secret.mov", ".DS_Store"):
        (folder / name).write_bytes(b"no film")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("of no interest")
    assert {one.path.name: one.error for one in workspace.added([folder])} == {
        ".trash": "a trash can",
        "._film.mp4": "what macOS leaves beside files",
        ".trashed-1700000000-VID_1.mp4": "deleted on the phone",
        ".secret.mov": "hidden",
    }
    assert outcomes(workspace, folder / ".trash" / "deleted.mp4") == {"deleted.mp4": PathOutcome.ADDED}


CLUTTER = {
    "DCIM/GL010001.LRV": "a camera's small preview",
    "DCIM/DJI_0001.LRF": "a camera's small preview",
    "DCIM/LRV_20240101_120000_01_001.insv": "a camera's small preview",
    "DCIM/GX010001.THM": "a camera's thumbnail",
    "PRIVATE/M4ROOT/SUB/C0001S03.MP4": "a proxy",
    "film_proxy.mov": "a proxy",
    "photo.dng": "a raw photo, or a frame of CinemaDNG: such a film is to be exported as ProRes or H.264 first",
}
CLUTTER_FOLDERS = {
    "Proxies": "proxies",
    "Proxy": "proxies",
    "Adobe Premiere Pro Video Previews": "an editor's cache",
    "CacheClip": "an editor's cache",
    "@eaDir": "a network drive's thumbnails",
    "$RECYCLE.BIN": "a trash can",
    "System Volume Information": "the system's own",
    "My.fcpbundle/Render Files": "an editor's cache",
}


def test_previews_proxies_and_caches_are_skipped_and_listed(workspace: Workspace, folder: Path, clip: Clip) -> None:
    for name in [*CLUTTER, *(f"{name}/deep/inside.mp4" for name in CLUTTER_FOLDERS)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip(frames=5), folder / name)
    (folder / "My.fcpbundle" / "Original Media").mkdir()
    shutil.copy(clip(frames=6), folder / "My.fcpbundle" / "Original Media" / "film.mov")
    (folder / "Proxies of nothing" / "Proxy").mkdir(parents=True)
    found = workspace.added([folder])
    listed = {str(one.path.relative_to(folder)): one.error for one in found if one.outcome is PathOutcome.SKIPPED}
    assert listed == CLUTTER | CLUTTER_FOLDERS
    assert [one.path.name for one in found if one.outcome is PathOutcome.ADDED] == ["film.mov"]


def test_a_named_preview_or_folder_of_proxies_is_taken(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "Proxies").mkdir()
    shutil.copy(clip(frames=5), folder / "GL010001.LRV")
    shutil.copy(clip(frames=6), folder / "Proxies" / "film.mp4")
    found = workspace.added([folder / "GL010001.LRV", folder / "Proxies"])
    assert [one.outcome for one in found] == [PathOutcome.ADDED, PathOutcome.ADDED]


def test_raw_footage_in_a_folder_is_named_as_such_and_no_skipped_file(
    workspace: Workspace, folder: Path, clip: Clip
) -> None:
    (folder / "A001.braw").write_bytes(bytes(2000))
    (folder / "A002.R3D").write_bytes(bytes(2000))
    shutil.copy(clip(frames=5), folder / "film.mp4")
    found = {one.path.name: one for one in workspace.added([folder])}
    assert found["film.mp4"].outcome is PathOutcome.ADDED
    for name, kind in (("A001.braw", "Blackmagic RAW"), ("A002.R3D", "REDCODE RAW")):
        assert found[name].outcome is PathOutcome.FAILED
        assert kind in (found[name].error or "")


def test_what_is_no_media_is_skipped_in_a_folder_and_an_error_if_it_was_named(
    workspace: Workspace, folder: Path
) -> None:
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
async def test_a_name_can_be_anything(workspace: Workspace, folder: Path, clip: Clip, name: str) -> None:
    film = Path(shutil.copy(clip(frames=4), folder / name))
    workspace.add(film)
    assert workspace.video().path == str(film)
    assert workspace.video().title == film.stem
    await workspace.enrich()
    assert_truthful(workspace)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_text_is_an_error_and_the_others_go_on(
    workspace: Workspace, folder: Path, clip: Clip
) -> None:
    shutil.copy(clip(frames=4), folder / os.fsdecode(b"caf\xe9.mp4"))
    shutil.copy(clip(frames=5), folder / "fine.mp4")
    found = workspace.added([folder])
    assert [one.outcome for one in found] == [PathOutcome.FAILED, PathOutcome.ADDED]
    assert "rename it" in (found[0].error or "")


def test_links_in_circles_end(workspace: Workspace, folder: Path, clip: Clip) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    shutil.copy(clip(frames=5), folder / "inner" / "film.mp4")
    assert outcomes(workspace, folder)["film.mp4"] is PathOutcome.ADDED
    assert len(workspace.ask("SELECT * FROM videos")) == 1


def test_a_link_that_was_named_is_followed_and_kept_as_it_is_known(
    workspace: Workspace, folder: Path, tmp_path: Path, clip: Clip
) -> None:
    film = tmp_path / "link.mp4"
    film.symlink_to(clip(frames=5))
    workspace.add(film)
    assert workspace.video().path == str(film)


def test_a_link_to_nothing_is_an_error(workspace: Workspace, folder: Path) -> None:
    (folder / "lost.mp4").symlink_to(folder / "nowhere.mp4")
    [lost] = workspace.added([folder])
    assert lost.outcome is PathOutcome.FAILED
    assert str(folder / "lost.mp4") in (lost.error or "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.timeout(20)
def test_a_pipe_with_a_films_name_does_not_hang_it(workspace: Workspace, folder: Path, clip: Clip) -> None:
    os.mkfifo(folder / "pipe.mp4")
    shutil.copy(clip(frames=5), folder / "film.mp4")
    assert outcomes(workspace, folder)["film.mp4"] is PathOutcome.ADDED
    assert outcomes(workspace, folder / "pipe.mp4") == {"pipe.mp4": PathOutcome.FAILED}


def test_the_same_file_twice_is_one_video(workspace: Workspace, clip: Clip) -> None:
    film = clip(frames=5)
    assert [one.outcome for one in workspace.added([film, film])] == [PathOutcome.ADDED, PathOutcome.KNOWN]
    assert len(workspace.ask("SELECT * FROM videos")) == 1
    assert workspace.tasks("extract") == {"todo": 1}


async def test_a_file_that_moved_is_found_again_and_nothing_is_done_twice(
    workspace: Workspace, folder: Path, clip: Clip
) -> None:
    film = Path(shutil.copy(clip(frames=5), folder / "old.mp4"))
    workspace.add(film)
    await workspace.enrich()
    moved = film.rename(folder / "new.mp4")
    [found] = workspace.added([moved])
    assert (found.outcome, found.video_id) == (PathOutcome.MOVED, 1)
    assert workspace.video().path == str(moved)
    summary = await workspace.enrich()
    assert summary.counts.calls == summary.counts.videos_extracted == 0
    assert_truthful(workspace)


def test_another_film_under_a_known_path_is_another_video(workspace: Workspace, folder: Path, clip: Clip) -> None:
    film = Path(shutil.copy(clip(frames=5), folder / "film.mp4"))
    workspace.add(film)
    shutil.copy(clip(frames=6), film)
    [found] = workspace.added([film])
    assert (found.outcome, found.video_id) == (PathOutcome.ADDED, 2)


def test_a_context_that_is_given_later_is_kept(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=5))
    workspace.add(clip(frames=5), context="Summer in Graz")
    assert workspace.video().context == "Summer in Graz"
    workspace.add(clip(frames=5))
    assert workspace.video().context == "Summer in Graz"


def test_what_cannot_be_used_does_not_stop_the_others(
    workspace: Workspace, folder: Path, tmp_path: Path, clip: Clip
) -> None:
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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(workspace: Workspace, folder: Path, clip: Clip) -> None:
    film = Path(shutil.copy(clip(frames=5), folder / "secret.mp4"))
    film.chmod(0)
    [found] = workspace.added([folder])
    assert found.outcome is PathOutcome.FAILED
    assert "may not be read" in (found.error or "")


def test_paths_are_made_whole(folder: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(clip(frames=5), folder / "film.mp4")
    monkeypatch.chdir(folder)
    assert list(walk([Path("film.mp4"), Path("../films/film.mp4")])) == [(folder / "film.mp4", True)] * 2
    assert list(walk([Path()])) == [(folder / "film.mp4", False)]


def test_the_sampling_is_kept_with_the_video(workspace: Workspace, clip: Clip) -> None:
    list(add_paths(workspace.library, [clip(frames=5)], sampling=parse_sampling("every=500ms"), context=""))
    assert workspace.video().sampling == "every=0.5s"
