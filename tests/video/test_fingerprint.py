import random

import pytest

from enrich.errors import VideoMissingError
from enrich.video.fingerprint import BLOCK_BYTES, BLOCKS, fingerprint


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(random.Random(1).randbytes(5_000_000))
    return path


def test_a_moved_and_renamed_file_is_the_same_video(video, tmp_path):
    before = fingerprint(video)
    (tmp_path / "folder").mkdir()
    assert fingerprint(video.rename(tmp_path / "folder" / "other.mov")) == before


@pytest.mark.parametrize("place", [0, 2_500_000 // BLOCK_BYTES * BLOCK_BYTES, 4_999_999])
def test_a_change_in_a_hashed_block_changes_the_fingerprint(video, place):
    before = fingerprint(video)
    data = bytearray(video.read_bytes())
    last = len(data) - BLOCK_BYTES
    starts = [last * number // (BLOCKS - 1) for number in range(BLOCKS)]
    place = min(starts, key=lambda start: abs(start - place)) if 0 < place < last else place
    data[place] ^= 1
    video.write_bytes(data)
    assert fingerprint(video) != before


def test_a_size_change_outside_hashed_blocks_is_detected(video):
    data = video.read_bytes()
    video.write_bytes(data[:200_000] + data[200_001:])
    assert fingerprint(video).split("-")[0] == "4999999"


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7])
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
