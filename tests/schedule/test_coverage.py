"""The coverage order: gaps, ranks, priorities and skim targets."""

import random
from itertools import pairwise

import pytest

from enrich.schedule.coverage import COVERAGE_PRIORITY_LIMIT, SKIM_FRAMES, SKIM_PRIORITY, CoverageOrder


def largest_gap(order: CoverageOrder, count: int) -> float:
    points = sorted(order.point(rank) for rank in range(1, count + 1))
    return max(after - before for before, after in pairwise([*points, order.length]))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 50, 777])
def test_the_largest_gap_after_n_points_matches_the_formula(count):
    order = CoverageOrder(1000.0)
    assert order.gap(count) == pytest.approx(largest_gap(order, count))


def test_no_gap_exceeds_1_443_times_the_even_spacing():
    order = CoverageOrder(1.0)
    assert max(largest_gap(order, count) * count for count in range(1, 300)) < 1.4428


@pytest.mark.parametrize("count", [1, 2, 9, 50, 1234])
def test_the_count_for_a_gap_is_the_smallest_that_reaches_it(count):
    order = CoverageOrder(5400.0)
    assert order.count(order.gap(count)) == count
    assert order.count(order.gap(count) * 0.9999) == count + 1


def test_the_rank_of_a_stretch_is_its_first_point():
    rng, order = random.Random(1), CoverageOrder(600.0)  # not a secret
    for _ in range(300):
        start = rng.random() * 599
        end, after = start + 0.1 + rng.random() ** 4 * 100, rng.choice([0, 7, 50])
        inside = (
            rank
            for rank in range(after + 1, 100_000)
            if start <= order.point(rank) < end or order.point(rank) < end - 600
        )
        assert order.rank(start, end, after=after) == next(inside)


def test_frames_that_cover_a_video_without_gaps_have_distinct_ranks():
    order = CoverageOrder(100.0)
    starts = [0.0, 3.0, 3.1, 20.0, 55.5, 99.9]
    ranks = [order.rank(start, end) for start, end in pairwise([*starts, 100.0])]
    assert len(set(ranks)) == len(starts)
    assert min(ranks) == 1


def test_a_longer_video_is_refined_until_its_gaps_match_a_shorter_one():
    long, short = CoverageOrder(3600.0), CoverageOrder(60.0)
    assert long.priority_of_rank(60) >= short.priority_of_rank(2) >= long.priority_of_rank(90)
    assert long.priority_of_rank(1) <= COVERAGE_PRIORITY_LIMIT < SKIM_PRIORITY - SKIM_FRAMES


def test_unknown_duration_and_times_after_the_end_have_an_order():
    for order in (CoverageOrder(None), CoverageOrder(0.0), CoverageOrder(10.0)):
        assert order.rank(7200.0, 7200.04) >= 1
        assert order.priority(10_000.0, 9_000.0) >= 0


@pytest.mark.parametrize(("duration", "count"), [(None, 0), (12.0, 0), (40.0, 10), (10_800.0, 50)])
def test_a_short_video_is_skimmed_at_fewer_points_or_none(duration, count):
    assert CoverageOrder(duration).skim_count() == count


def test_each_further_skim_doubles_until_frames_are_too_close():
    assert [CoverageOrder(10_800.0).next_skim_count(count) for count in (50, 2000, 2700)] == [100, 2700, 2700]


def test_skim_targets_surround_their_points_without_overlap():
    order = CoverageOrder(1000.0)
    targets = sorted(order.targets(1, 50), key=lambda target: target.at)
    assert [target.at for target in order.targets(1, 50)] == [order.point(rank) for rank in range(1, 51)]
    assert all(target.earliest <= target.at < target.latest for target in targets)
    assert all(before.latest < after.earliest for before, after in pairwise(targets))


def test_frames_moved_to_target_edges_keep_gaps_below_twice_even():
    targets = sorted(CoverageOrder(1000.0).targets(1, 50), key=lambda target: target.at)
    widest = max(after.latest - before.earliest for before, after in pairwise(targets))
    assert widest <= 1.91 * 1000 / 50
