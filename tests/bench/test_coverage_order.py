"""The benchmark of the coverage order measures correctly, and the order keeps its bounds."""

import random

import pytest

from bench.coverage_order import EVEN, FILLED, IN_TURN, ORDERS, SHUFFLED, PlacedEvent, Video, calls, gap_frame, run
from enrich.schedule.coverage import CoverageOrder
from enrich.schedule.gap_filling import Gap


def made(number: int, seed: int, seconds: float = 1000.0) -> Video:
    """A video of still and lively shots; each skimmed frame is moved to an edge of its target."""
    rng, at, kept = random.Random(seed), 0.0, []
    while at < seconds:
        pace = rng.choice((0.4, 0.6, 20.0))
        kept += [at + pace * n for n in range(20) if at + pace * n < seconds]
        at = kept[-1] + pace
    skimmed = [rng.choice((target.earliest, target.latest - 0.001)) for target in CoverageOrder(seconds).targets(1, 50)]
    scenes = [(seconds / 20 * n, (f"scene{n}", f"place{n // 4}")) for n in range(20)]
    starts = [rng.random() * (seconds - 10) for _ in range(20)]
    events = [PlacedEvent(start, start + 1.0, (f"event{start}",), is_alone=True) for start in starts]
    return Video(number, seconds, sorted({*kept, *skimmed}), skimmed, scenes, events)


def test_a_stretch_covered_by_a_described_frame_is_not_a_gap():
    video = Video(0, 100.0, [0.0, 10.0, 60.0, 70.0], [], [(0.0, ())], [])
    assert video.unevenness() == 0.0  # nothing described: no even spacing yet
    video.describe(10.0)
    assert video.unevenness() == pytest.approx(40 / 100)  # from 60 s on; 10 to 60 s are stood for
    video.describe(70.0)
    assert video.unevenness() == pytest.approx(10 / 50)


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_takes_every_frame_once(name):
    videos = [made(0, 1, 400.0), made(1, 2, 300.0)]
    taken = [(video.number, at) for video, at in calls(name, videos, random.Random(1))]
    assert sorted(taken) == sorted((video.number, at) for video in videos for at in video.kept)
    assert [len(video.found) for video in videos] == [20, 20] or all(
        not any(event.start <= at < event.end for at in video.kept)
        for video in videos
        for n, event in enumerate(video.events)
        if n not in video.found
    )


@pytest.mark.parametrize("name", [EVEN, FILLED])
def test_the_largest_gap_stays_below_about_twice_the_even_spacing(name):
    videos = [made(number, number) for number in range(3)]
    assert max(run(name, videos, 1).unevenness.values()) <= 2.1
    worst = run(name, videos, 1).unevenness
    assert max(worst[percent] for percent in range(30, 100)) <= 2.0


def test_other_orders_leave_larger_gaps():
    videos = [made(number, number) for number in range(3)]
    worst = {name: max(run(name, videos, 1).unevenness.values()) for name in (EVEN, SHUFFLED, IN_TURN)}
    assert 2 * worst[EVEN] < worst[SHUFFLED]
    assert 2 * worst[EVEN] < worst[IN_TURN]


def test_a_gap_is_filled_by_the_shortest_standing_frame_near_its_middle():
    video = Video(0, 40.0, [0.0, 1.0, 1.1, 8.0, 12.0, 13.0, 20.0], [], [], [])
    gap, waiting = Gap(-1.0, 0.0, 20.0), video.kept[1:-1]
    assert gap_frame(video, gap, waiting) == 12.0
    assert gap_frame(video, gap, waiting, by_middle=True) == 8.0
    assert gap_frame(video, gap, [1.0, 1.1]) == 1.1
