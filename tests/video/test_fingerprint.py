import random

import pytest

from enrich.errors import VideoMissingError
from enrich.video.fingerprint import (
    WHOLE_FILE_BYTES,
    Fingerprint,
    fingerprint,
    have_same_bytes,
    is_outdated,
    is_same_video,
    whole_fingerprint,
)

FIRST_VERSION_HASH = "9d4a3bb2dbfff33d4326c0f6c7d13b5b"  # what version 1 made of `video`


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(random.Random(1).randbytes(5_000_000))
    return path


def test_a_moved_and_renamed_file_is_the_same_video(video, tmp_path):
    before = fingerprint(video)
    (tmp_path / "folder").mkdir()
    assert fingerprint(video.rename(tmp_path / "folder" / "other.mov")) == before


SIZE = WHOLE_FILE_BYTES + 1_000_003


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of which only a sample is read."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    path.write_bytes(random.Random(2).randbytes(SIZE))
    return path


def changed(path, start, length):
    """The fingerprint while a stretch of the file is different."""
    with path.open("r+b") as file:
        file.seek(start)
        before = file.read(length)
        file.seek(start)
        file.write(bytes(byte ^ 0xFF for byte in before))
        file.flush()
        try:
            return fingerprint(path)
        finally:
            file.seek(start)
            file.write(before)


def test_every_stretch_of_a_256th_of_a_large_file_counts(large):
    before, stretch = fingerprint(large), -(-SIZE // 256)
    for number in range(0, 256, 5):
        start = min(number * SIZE // 256 + 777, SIZE - stretch)
        assert changed(large, start, stretch) != before
    assert changed(large, 0, 1) != before
    assert changed(large, SIZE - 1, 1) != before
    assert fingerprint(large) == before


def test_middle_of_a_file_of_megabytes_counts(video):
    before = fingerprint(video)
    assert changed(video, 2_500_000, 1) != before


def test_fingerprint_names_its_version_and_the_size(video):
    assert Fingerprint.parse(fingerprint(video)) == Fingerprint("2", 5_000_000, fingerprint(video).split("-")[2])
    assert Fingerprint.parse("print of a wedding") is None
    assert Fingerprint.parse("2-abc") == Fingerprint("", 2, "abc")


@pytest.mark.parametrize("known", ["3-5000000-00", "no fingerprint", "", "-"])
def test_unknown_fingerprint_matches_no_file(video, known):
    assert not is_same_video(video, known)
    assert not is_outdated(known)


def test_fingerprints_of_every_version_are_compared(video):
    first = "5000000-" + FIRST_VERSION_HASH
    assert is_same_video(video, first)
    assert is_outdated(first)
    assert is_same_video(video, fingerprint(video))
    assert is_same_video(video, whole_fingerprint(video))
    with video.open("r+b") as file:  # between the blocks of the first version
        file.seek(200_000)
        file.write(b"another title card")
    assert is_same_video(video, first)
    assert not is_same_video(video, "2-" + first)


def test_a_byte_between_blocks_is_found_by_reading_everything(large, tmp_path):
    other = tmp_path / "other.mp4"
    data = bytearray(large.read_bytes())
    data[SIZE // 2 - 20_000] ^= 1
    other.write_bytes(data)
    assert fingerprint(other) == fingerprint(large)
    assert whole_fingerprint(other) != whole_fingerprint(large)
    assert not have_same_bytes(other, large)
    assert have_same_bytes(other, other)
    other.write_bytes(data[:-1])
    assert not have_same_bytes(other, large)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65_536, 200_000])
def test_every_byte_of_a_small_file_counts(tmp_path, size):
    path = tmp_path / "small"
    data = bytearray(random.Random(size).randbytes(size))
    path.write_bytes(data)
    before = fingerprint(path)
    for place in {0, size // 2, size - 1} if size else ():
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert fingerprint(path) != before


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(VideoMissingError, match="does not exist"):
        fingerprint(tmp_path / "gone.mp4")
