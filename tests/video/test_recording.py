"""Which files are chapters of one recording."""

from pathlib import Path

import pytest

from enrich.filenames import Chapter, chapter_of

CARD = Path("/card/DCIM/100GOPRO")


def test_later_gopro_names_are_parsed():
    assert chapter_of(CARD / "GX010123.MP4") == Chapter(str(CARD / "GX*0123"), 1)
    assert chapter_of(CARD / "GX020123.MP4") == Chapter(str(CARD / "GX*0123"), 2)
    assert chapter_of(CARD / "gh110123.mp4") == Chapter(str(CARD / "GH*0123"), 11)


def test_earlier_gopro_names_are_parsed_with_their_different_first():
    assert chapter_of(CARD / "GOPR0123.MP4") == Chapter(str(CARD / "GOPR0123"), 1)
    assert chapter_of(CARD / "GP010123.MP4") == Chapter(str(CARD / "GOPR0123"), 2)
    assert chapter_of(CARD / "GP020123.MP4") == Chapter(str(CARD / "GOPR0123"), 3)


def test_recordings_of_different_numbers_cameras_and_folders_are_different():
    names = ["GX010123.MP4", "GX010124.MP4", "GH010123.MP4", "GOPR0123.MP4", "../101GOPRO/GX010123.MP4"]
    found = [chapter_of(CARD / name) for name in names]
    assert len({chapter.recording for chapter in found if chapter}) == len(names)


@pytest.mark.parametrize(
    "name", ["DJI_0001.MP4", "00000.MTS", "GX010123 edited.MP4", "GX01012.MP4", "VID_20240101_120000_00_001.mp4", "a"]
)
def test_ambiguous_names_are_separate_recordings(name):
    assert chapter_of(CARD / name) is None
