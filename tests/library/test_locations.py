"""Copies of a video are locations of it: which one is used, what is said, and what is another video."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from db.engine import reading
from db.files import find_video
from enrich.errors import VideoMissingError
from enrich.library.adding import Addition, PathOutcome, add_paths, relink
from enrich.library.images import located, retry_at, use_file
from enrich.library.media import video_at_path, video_file
from enrich.video import fingerprint as fingerprints
from enrich.video.fingerprint import fingerprint
from enrich.video.probe import probe
from enrich.video.sampling import parse_sampling
from tests.worker.workspace import Workspace, assert_truthful

Clip = Callable[..., Path]


@pytest.fixture
def copies(tmp_path: Path, clip: Clip) -> tuple[Path, Path]:
    """One video in two folders."""
    places = tmp_path / "original" / "film.mp4", tmp_path / "zcopy" / "backup.mp4"
    for place in places:
        place.parent.mkdir()
        shutil.copy(clip(frames=5), place)
    return places


def add_one(workspace: Workspace, path: Path, sampling: str = "exact", context: str = "") -> Addition:
    [found] = workspace.added([path], sampling=sampling, context=context)
    return found


def as_version_1(workspace: Workspace, path: Path) -> str:
    """Give video 1 the fingerprint and the folder that an older version gave it."""
    old = fingerprints._fingerprint(path, fingerprints.FIRST_VERSION)
    workspace.change("UPDATE videos SET fingerprint = :old, image_folder = substr(:old, 1, 16) WHERE id = 1", old=old)
    return old


def test_copy_is_another_location_and_the_first_is_used(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    first, second = copies
    for note in ("recorded a second location", ""):
        found = workspace.added([first.parent, second.parent])
        assert [one.video_id for one in found] == [1, 1]
        assert (found[1].outcome, found[1].note, found[1].title) == (PathOutcome.KNOWN, note, "film")
    row = workspace.video()
    assert (row.path, row.locations) == (str(first), [str(first), str(second)])
    assert workspace.tasks("extract") == {"todo": 1}


async def test_other_location_is_used_while_the_first_is_gone(
    workspace: Workspace, copies: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = copies
    workspace.add(first, second)
    hidden = first.rename(tmp_path / "unplugged.mp4")
    assert located(workspace.video()).path == str(second)
    assert video_file(workspace.library.engine, 1) == second
    await workspace.enrich()
    assert_truthful(workspace)
    assert workspace.video().path == str(second)
    hidden.rename(first)
    assert use_file(workspace.library, workspace.video()).path == str(first)
    assert workspace.video().path == str(first)
    assert video_file(workspace.library.engine, 1) == first


def test_video_whose_file_is_elsewhere_is_tried_again_at_once(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    workspace.add(*copies)
    row, now = workspace.video(), datetime.now(UTC)
    assert retry_at(row, now) > now
    copies[0].unlink()
    assert retry_at(row, now) == now
    copies[1].unlink()
    assert retry_at(row, now) > now


def test_waiting_video_continues_once_its_file_is_added_again(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    workspace.add(copies[0])
    workspace.change("UPDATE videos SET error = 'gone'")
    workspace.change("UPDATE tasks SET not_before = '2100-01-01 00:00:00.000000', error = 'gone'")
    add_one(workspace, copies[1])
    assert workspace.video().error is None
    assert workspace.value("SELECT count(*) FROM tasks WHERE not_before IS NOT NULL") == 0


def test_video_is_missing_only_if_no_location_has_it(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    workspace.add(*copies)
    for path in copies:
        path.unlink()
    with pytest.raises(VideoMissingError, match=r"film\.mp4 does not exist"):
        located(workspace.video())


def test_moved_file_keeps_its_first_location_in_mind(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    first, second = copies
    workspace.add(first)
    kept = first.rename(first.with_name("away.mp4"))
    assert add_one(workspace, second).outcome is PathOutcome.MOVED
    assert workspace.video().path == str(second)
    kept.rename(first)
    assert add_one(workspace, second).outcome is PathOutcome.KNOWN
    assert workspace.video().path == str(first)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_other_path_of_one_file_is_no_location(
    workspace: Workspace, copies: tuple[Path, Path], link: Callable[[Path, Path], None]
) -> None:
    first, _ = copies
    workspace.add(first)
    link(first, first.with_name("link.mp4"))
    assert add_one(workspace, first.with_name("link.mp4")).outcome is PathOutcome.KNOWN
    assert workspace.video().locations == [str(first)]


def test_relinked_path_becomes_the_first_location(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    first, second = copies
    workspace.add(first)
    row = relink(workspace.library, workspace.video(), second)
    assert (row.path, row.locations) == (str(second), [str(second), str(first)])
    assert located(row).path == str(second)


def test_files_that_differ_between_the_samples_are_two_videos(
    workspace: Workspace, copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = copies
    with second.open("r+b") as file:  # a part that no decoder needs
        file.seek(second.stat().st_size // 2 + 4)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    # All but the size is left out of the samples, as for a file so large that the change lies between two blocks.
    for name in ("WHOLE_FILE_BYTES", "EDGE_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(fingerprints, name, 1)
    here = SimpleNamespace(probe=probe)  # the child process has other samples
    monkeypatch.setattr("enrich.library.probe_process.ProbeProcess", lambda: nullcontext(here))
    assert fingerprint(first) == fingerprint(second)
    assert workspace.added([first, second])[1].video_id == 2
    assert [one.outcome for one in workspace.added([first, second])] == [PathOutcome.KNOWN, PathOutcome.KNOWN]
    assert video_file(workspace.library.engine, 1) == first
    assert video_file(workspace.library.engine, 2) == second
    shutil.copy(second, first)  # replaced
    assert video_file(workspace.library.engine, 1) is None


async def test_fingerprint_of_an_older_version_is_replaced(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    first, second = copies
    workspace.add(first)
    as_version_1(workspace, first)
    await workspace.enrich()
    assert workspace.video().fingerprint == fingerprint(first)
    folder = workspace.frames_folder / workspace.video().image_folder
    assert len(list(folder.rglob("*.jpg"))) == workspace.video().kept == 5
    as_version_1(workspace, first)
    assert [one.outcome for one in workspace.added([first, second])] == [PathOutcome.KNOWN, PathOutcome.KNOWN]
    assert workspace.video().fingerprint == fingerprint(first)
    assert workspace.tasks("extract") == {"done": 1}


def test_file_that_collides_with_an_older_fingerprint_is_new(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    one, other = (shutil.copy(clip(frames=60, size=(640, 360)), tmp_path / name) for name in ("one.mp4", "other.mp4"))
    first, second = Path(one), Path(other)
    with first.open("ab") as file:
        file.write(bytes(3_000_000))
    shutil.copy(first, second)
    with second.open("r+b") as file:
        file.seek(second.stat().st_size - 500_000)
        file.write(b"another title card")
    workspace.add(first)
    old = as_version_1(workspace, first)
    assert fingerprints._fingerprint(second, fingerprints.FIRST_VERSION) == old
    assert add_one(workspace, second).video_id == 2
    assert add_one(workspace, second).video_id == 2
    assert video_file(workspace.library.engine, 1) == first
    first.unlink()
    second.rename(first)  # replaced by the other one, and modified after it was added
    os.utime(first)
    assert use_file(workspace.library, workspace.video()).fingerprint == old


def test_old_folders_of_two_videos_are_not_deleted_with_one(workspace: Workspace, clip: Clip) -> None:
    from enrich.library.images import remove_images

    workspace.add(clip(frames=5), clip(frames=6))
    workspace.change("UPDATE videos SET image_folder = 'shared'")
    (workspace.frames_folder / "shared").mkdir(parents=True)
    row = workspace.video(1)
    workspace.remove(1)
    remove_images(workspace.library, row)
    assert (workspace.frames_folder / "shared").is_dir()


def test_folder_of_images_has_the_whole_fingerprint(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=5))
    assert workspace.video().image_folder == workspace.video().fingerprint == fingerprint(clip(frames=5))
    assert len(workspace.video().fingerprint.split("-")[-1]) == 32


def test_other_sampling_of_a_known_video_is_changed_or_explained(workspace: Workspace, clip: Clip) -> None:
    video = clip(frames=5)
    workspace.add(video, sampling="distinct")
    found = add_one(workspace, video, sampling="exact", context="Graz")
    assert found.note == (
        "changed its context, for the frames described from now on; changed its sampling from distinct:normal to exact"
    )
    assert workspace.video().sampling == "exact"
    workspace.change("UPDATE videos SET extraction_status = 'extracted'")
    found = add_one(workspace, video, sampling="scenes")
    assert found.note.startswith("kept its sampling exact, because its frames have been extracted")
    assert "everyframe remove 1" in found.note
    default = parse_sampling("distinct")
    [found] = add_paths(workspace.library, [video], sampling=default, context="", is_sampling_chosen=False)
    assert (found.note, workspace.video().sampling) == ("", "exact")


def test_upload_of_a_known_video_is_recognised_by_its_bytes(workspace: Workspace, copies: tuple[Path, Path]) -> None:
    first, second = copies
    workspace.add(first)
    assert video_at_path(workspace.library.engine, second) == "film"
    first.unlink()
    assert video_at_path(workspace.library.engine, second) is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_name_with_accents_is_found_however_they_are_written(
    workspace: Workspace, tmp_path: Path, clip: Clip, form: str
) -> None:
    path = tmp_path / unicodedata.normalize("NFD", "Zoë café.mp4")
    shutil.copy(clip(frames=5), path)
    workspace.add(path)
    row = workspace.video()
    assert (row.path, row.title) == (str(path), unicodedata.normalize("NFC", "Zoë café"))
    for wanted in ("ZOË", "zoë café", str(path)):
        with reading(workspace.library.engine) as connection:
            assert find_video(connection, unicodedata.normalize(form, wanted)).id == 1


def test_path_is_found_as_written_before_other_forms_of_it(workspace: Workspace, tmp_path: Path, clip: Clip) -> None:
    paths = [tmp_path / unicodedata.normalize(form, "Zoë.mp4") for form in ("NFC", "NFD")]
    for number, path in enumerate(paths, 5):
        shutil.copy(clip(frames=number), path)
    workspace.add(*paths)
    if workspace.video(1).path == workspace.video(2).path:
        pytest.skip("the file system has one form of a name")
    with reading(workspace.library.engine) as connection:
        assert [find_video(connection, str(path)).id for path in paths] == [1, 2]
