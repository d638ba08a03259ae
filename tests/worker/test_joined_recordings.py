"""A file of joined recordings: what a skim stored under a wrong time is replaced, and its words are discarded."""

from pathlib import Path

import pytest

from db import counts
from db.engine import reading, writing
from db.models import TaskKind
from enrich.library.images import restore_image
from enrich.library.source_frames import make_strip
from enrich.verify.verify import verify
from enrich.video import seek
from enrich.video.seek import Seeker
from tests.clips import numbered_clip, read_jpeg, read_number
from tests.db.library import describe
from tests.worker.test_interrupted_extraction import Interruptions, attempt
from tests.worker.workspace import Workspace

FRAMES = 100  # of each of two parts
FPS = 4


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    path = tmp_path / "joined.ts"
    parts = [
        numbered_clip(tmp_path / f"{first}.ts", frames=FRAMES, first=first, fps=FPS, gop=8, size=(160, 96))
        for first in (0, FRAMES)
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def number_in(workspace: Workspace, frame: object) -> int:
    return read_number(read_jpeg(workspace.image(frame)))  # type: ignore[arg-type]  # a FrameRow


@pytest.mark.parametrize("sampling", [pytest.param("exact", marks=pytest.mark.slow), "distinct"])
def test_words_of_frames_skimmed_at_a_wrong_time_are_discarded(
    workspace: Workspace, joined: Path, monkeypatch: pytest.MonkeyPatch, sampling: str
) -> None:
    """As in a large file, where a skim does not notice at once that the clock restarts."""
    monkeypatch.setattr(seek, "_is_joined", lambda _: False)
    monkeypatch.setattr(Seeker, "_is_in_order", lambda *_: True)
    workspace.add(joined, sampling=sampling)
    attempt(workspace, TaskKind.SKIM, Interruptions(None))
    numbers = {frame.timestamp: number_in(workspace, frame) for frame in workspace.frames()}
    wrong = {timestamp for timestamp, number in numbers.items() if number != round(timestamp * FPS)}
    assert 0 < len(wrong) < len(numbers)
    with writing(workspace.library.engine) as connection:
        for frame in workspace.frames():
            describe(connection, frame.id, f"number {numbers[frame.timestamp]}")

    attempt(workspace, TaskKind.EXTRACT, Interruptions(None))

    frames = workspace.frames()
    assert sum(frame.stands_for or 0 for frame in frames) == workspace.video().frame_count == 2 * FRAMES
    for frame in frames:
        assert number_in(workspace, frame) == frame.index == round(frame.timestamp * FPS)
        is_right = frame.timestamp in numbers.keys() - wrong
        assert frame.local_description == (f"number {frame.index}" if is_right else None)
    assert workspace.tasks()["todo"] == len(frames) - len(numbers.keys() - wrong)
    with reading(workspace.library.engine) as connection:
        assert counts.stored_counts(connection, 1) == counts.actual_counts(connection, 1)


def test_strip_and_verify_reach_both_parts(workspace: Workspace, joined: Path) -> None:
    workspace.add(joined, sampling="every=700ms")
    attempt(workspace, TaskKind.SKIM, Interruptions(None))
    assert not workspace.frames(), "a skim finds no frame whose time it cannot know"
    attempt(workspace, TaskKind.EXTRACT, Interruptions(None))
    video = workspace.video()
    assert (video.epochs, video.is_steady, video.first_epoch_end) == (2, True, FRAMES / FPS)
    for first in (3, FRAMES - 2, FRAMES + 20):
        for frame in make_strip(workspace.library, video, first, first + 3):
            image = workspace.settings.home / "strips" / "1" / f"{frame.index}.jpg"
            assert read_number(read_jpeg(image)) == frame.index == round(frame.timestamp * FPS)
            assert frame.kept_frame_id is not None
    image = workspace.image(workspace.frames()[-1])
    image.unlink()
    result = verify(workspace.library, repair=True)
    assert (result.found, result.repaired) == (1, 1)
    assert number_in(workspace, workspace.frames()[-1]) == workspace.frames()[-1].index


def test_part_that_lies_another_way_does_not_turn_the_video(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "joined.mp4"
    parts = [
        numbered_clip(tmp_path / f"{turned}.mp4", frames=4, first=first, size=(160, 96), rotation=turned)
        for first, turned in ((0, 0), (4, 90))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    workspace.add(path, sampling="exact")
    attempt(workspace, TaskKind.EXTRACT, Interruptions(None))
    video, frames = workspace.video(), workspace.frames()
    assert (video.rotation, video.width, video.height) == (0, 160, 96)
    assert [number_in(workspace, frame) for frame in frames] == list(range(8))
    for frame in frames:
        again = restore_image(workspace.library.settings, video, frame)
        assert read_number(read_jpeg(again)) == frame.index
