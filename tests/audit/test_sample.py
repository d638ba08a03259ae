"""Which frames are drawn."""

from collections import Counter

import pytest

from db.checks import StoredFrame
from enrich.audit.pairs import count_skipped, draw_sample


def rows(*stands_for: int) -> list[StoredFrame]:
    made, index = [], 0
    for number, count in enumerate(stands_for):
        made.append(StoredFrame(number, index, index / 25, count, 0, 0.0, f"{number}.jpg"))
        index += count
    return made


def drawn(kept: list[StoredFrame], size: int, seed: int = 1) -> list[int]:
    return [index for stand in draw_sample(kept, count_skipped(kept), size=size, seed=seed) for index in stand.indexes]


def test_a_full_sample_has_all_skipped_and_no_kept_frames() -> None:
    kept = rows(1, 4, 1, 2, 3)
    assert count_skipped(kept) == 6
    assert drawn(kept, 6) == drawn(kept, 100) == [2, 3, 4, 7, 9, 10]


def test_each_sampled_frame_comes_with_its_kept_frame() -> None:
    kept = rows(5, 1, 30, 2, 40)
    for stand in draw_sample(kept, count_skipped(kept), size=30, seed=3):
        first = stand.kept.index or 0
        assert all(first < index < first + (stand.kept.stands_for or 0) for index in stand.indexes)


def test_the_sample_depends_on_the_seed_only() -> None:
    kept = rows(50, 50, 50)
    assert drawn(kept, 20, seed=7) == drawn(kept, 20, seed=7)
    assert drawn(kept, 20, seed=7) != drawn(kept, 20, seed=8)
    assert len(set(drawn(kept, 20))) == 20


def test_the_sample_is_uniform() -> None:
    kept = rows(3, 1, 12)
    counts = Counter(index for seed in range(2000) for index in drawn(kept, 1, seed=seed))
    assert set(counts) == {1, 2, *range(5, 16)}
    assert all(count == pytest.approx(2000 / 13, rel=0.35) for count in counts.values())


def test_nothing_is_sampled_if_all_frames_are_kept() -> None:
    assert count_skipped(rows(1, 1, 1)) == 0
    assert drawn(rows(1, 1, 1), 5) == []
