"""A video that cannot be checked becomes a finding; all other videos are checked."""

import asyncio
from pathlib import Path
from typing import Any

import av
import pytest

from db.errors import DatabaseLockedError
from enrich.verify import images, rows
from enrich.verify import verify as verify_module
from enrich.verify.findings import FindingKind as Kind
from enrich.verify.verify import verify
from enrich.video.decode import SourceFrames
from tests.clips import numbered_clip
from tests.verify.test_verify import delete_image, the_group
from tests.worker.workspace import Workspace

ERRORS = [
    IndexError("list index out of range"),
    MemoryError(),
    RuntimeError("the codec gave up"),
    av.error.PermissionError(1, "Operation not permitted"),
    av.error.InvalidDataError(1, "Invalid data found"),
    av.error.OSError(5, "Input/output error"),
    ValueError("bad value"),
]


def fail_after(monkeypatch: pytest.MonkeyPatch, error: Exception, *, frames: int) -> None:
    """Have decoding of "numbers" fail after some frames."""

    class Failing(SourceFrames):
        def __iter__(self) -> Any:
            for number, frame in enumerate(super().__iter__()):
                if number == frames and self.path.stem == "numbers":
                    raise error
                yield frame

    monkeypatch.setattr(images, "SourceFrames", Failing)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("repair", [False, True], ids=["checked", "repaired"])
def test_a_video_that_fails_to_decode_is_one_finding(
    library: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception, repair: bool
) -> None:
    fail_after(monkeypatch, error, frames=12)
    delete_image(library)
    result = verify(library.library, repair=repair)
    first, second = result.groups
    assert (first.kind, first.title, first.count) == (Kind.UNDECODED, "numbers", 1)
    assert "numbers.mp4 cannot be decoded" in first.places[0]
    assert "frames" not in first.places[0]  # not the folder of the images
    assert (second.kind, second.title, second.repaired) == (Kind.IMAGE_MISSING, "party", int(repair))
    assert (result.videos, result.frames, result.is_consistent) == (2, 18, False)


def test_findings_before_decoding_failed_are_kept(library: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after(monkeypatch, IndexError("list index out of range"), frames=12)
    one, other, last = (library.image(library.frames(1)[number]) for number in (1, 2, 5))
    one.write_bytes(other.read_bytes())
    last.unlink()
    words = [frame.description for frame in library.frames(1)]
    result = verify(library.library, repair=True)
    found = {group.kind: (group.count, group.repaired) for group in result.groups}
    assert found == {Kind.UNDECODED: (1, 0), Kind.IMAGE_DIFFERENT: (1, 0), Kind.IMAGE_MISSING: (1, 0)}
    assert [frame.description for frame in library.frames(1)] == words


def test_rows_that_cannot_be_checked_are_one_finding(library: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(engine: object, video: Any, findings: object) -> None:
        del engine, findings
        if video.id == 1:
            raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(verify_module, "check_descriptions", fail)
    result = verify(library.library)
    assert (the_group(result).kind, the_group(result).title) == (Kind.UNCHECKED, "numbers")
    assert the_group(result).places == ["RecursionError: maximum recursion depth exceeded"]
    assert result.videos == 2
    assert rows.check_descriptions is not fail


def test_images_that_cannot_be_written_are_a_finding_of_the_disk(
    library: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    delete_image(library)
    monkeypatch.setattr("enrich.verify.images.write_jpeg", full)
    group = the_group(verify(library.library, repair=True))
    assert group.kind is Kind.UNCHECKED
    assert "is full: free some disk space" in group.places[0]


def test_bad_files_are_findings_and_the_rest_is_checked(library: Workspace, tmp_path: Path) -> None:
    names = ("empty", "text", "folder", "gone")
    clips = [numbered_clip(tmp_path / f"{name}.mp4", frames=6, first=10 * number) for number, name in enumerate(names)]
    library.add(*clips, numbered_clip(tmp_path / "stream.h264", frames=8))
    asyncio.run(library.enrich())
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video", encoding="utf-8")
    (tmp_path / "gone.mp4").unlink()
    (tmp_path / "folder.mp4").unlink()
    (tmp_path / "folder.mp4").mkdir()
    result = verify(library.library)
    assert [(group.kind, group.title) for group in result.groups] == [(Kind.FILE, name) for name in names]
    assert result.videos == 7


def test_a_database_that_cannot_be_read_is_no_finding_of_a_video(
    library: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise DatabaseLockedError("library.db is locked")

    monkeypatch.setattr(verify_module, "check_status", locked)
    with pytest.raises(DatabaseLockedError):
        verify(library.library)
