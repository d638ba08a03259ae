"""The pictures of a sample: the right ones, wherever decoding begins, and no more decoding than needed."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from db import checks
from db.engine import reading
from enrich.audit import pairs
from enrich.audit.pairs import SampledFrame, another, colour_change, compared_frames
from enrich.errors import VideoChangedError
from enrich.video.decode import SourceFrames
from tests.clips import numbered_clip, numbered_picture, read_number
from tests.worker.workspace import Workspace


def number_in(jpeg: bytes) -> int:
    return read_number(np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB")))


@pytest.fixture
def long_workspace(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A film of 200 frames with a key frame every 24 and B-frames, of which every 25th is kept."""
    workspace.add(numbered_clip(tmp_path / "long.mp4", frames=200, gop=24, bframes=2), sampling="every=1s")
    asyncio.run(workspace.enrich())
    return workspace


def stands(workspace: Workspace, *wanted: tuple[int, tuple[int, ...]]) -> list[SampledFrame]:
    with reading(workspace.library.engine) as connection:
        rows = {row.index: row for row in checks.placed(connection, 1)}
    return [SampledFrame(rows[kept], indexes) for kept, indexes in wanted]


@pytest.mark.parametrize("seek_frames", [0, 30, 1000])
def test_each_picture_is_the_one_that_was_asked_for(
    long_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, seek_frames: int
) -> None:
    monkeypatch.setattr(pairs, "SEEK_FRAMES", seek_frames)
    wanted = [(0, (3, 4)), (25, (49,)), (100, (101, 110, 124)), (175, (199,))]
    found = list(compared_frames(long_workspace.settings, long_workspace.video(), stands(long_workspace, *wanted)))
    numbers = [(number_in(one.jpeg), tuple(number_in(other.jpeg) for other in one.others)) for one in found]
    assert numbers == wanted
    for one in found:
        assert one.jpeg == long_workspace.image(long_workspace.frames()[(one.kept.index or 0) // 25]).read_bytes()
        assert [other.timestamp for other in one.others] == pytest.approx([other.index / 25 for other in one.others])


def test_a_far_frame_is_sought_and_a_near_one_decoded_onward(
    long_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    close = SourceFrames.close

    def count(source: SourceFrames) -> None:
        decoded.append(source.decoded)
        close(source)

    monkeypatch.setattr(SourceFrames, "close", count)
    monkeypatch.setattr(pairs, "SEEK_FRAMES", 30)
    list(
        compared_frames(
            long_workspace.settings, long_workspace.video(), stands(long_workspace, (150, (151,)), (175, (176,)))
        )
    )
    assert len(decoded) == 1
    assert decoded[0] < 60, "of 200"


def test_a_long_still_is_shared_out(long_workspace: Workspace) -> None:
    parts = list(
        compared_frames(
            long_workspace.settings, long_workspace.video(), stands(long_workspace, (0, tuple(range(1, 21))))
        )
    )
    assert [len(part.others) for part in parts] == [8, 8, 4]
    assert [part.is_first for part in parts] == [True, False, False]
    assert [number_in(other.jpeg) for part in parts for other in part.others] == list(range(1, 21))


def test_a_library_that_does_not_fit_its_film_is_said(long_workspace: Workspace) -> None:
    long_workspace.change('UPDATE frames SET timestamp = timestamp + 0.002 WHERE "index" = 150')
    with pytest.raises(VideoChangedError, match="everyframe verify"):
        list(compared_frames(long_workspace.settings, long_workspace.video(), stands(long_workspace, (150, (151,)))))


def test_a_picture_seen_twice_is_the_same_to_a_person_only(long_workspace: Workspace) -> None:
    jpeg = long_workspace.image(long_workspace.frames()[3]).read_bytes()
    again = another(jpeg)
    assert again != jpeg
    assert number_in(again) == number_in(jpeg)


def test_a_change_of_colour_alone_is_a_change() -> None:
    one, other = numbered_picture(5), numbered_picture(5)
    other[130:, :] = (30, 117, 30)  # as bright as the red of the first
    small = [simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "RGB", "420") for picture in (one, other)]
    assert colour_change(small[0], small[0]) == 0
    assert colour_change(*small) > 100
