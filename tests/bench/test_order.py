"""The bench of the order measures what it says, and the order keeps what is promised of it."""

import random

import pytest

from bench.order import EVEN, FILLED, IN_TURN, ORDERS, SHUFFLED, Film, Happening, calls, chosen, run
from enrich.schedule.coverage import CoverageOrder
from enrich.worker.gap_filling import Gap


def made(number: int, seed: int, seconds: float = 1000.0) -> Film:
    """A film of still shots and lively ones, each moment of its first look moved as far as it may be."""
    rng, at, kept = random.Random(seed), 0.0, []
    while at < seconds:
        pace = rng.choice((0.4, 0.6, 20.0))
        kept += [at + pace * n for n in range(20) if at + pace * n < seconds]
        at = kept[-1] + pace
    skimmed = [rng.choice((spot.earliest, spot.latest - 0.001)) for spot in CoverageOrder(seconds).targets(1, 50)]
    scenes = [(seconds / 20 * n, (f"scene{n}", f"place{n // 4}")) for n in range(20)]
    starts = [rng.random() * (seconds - 10) for _ in range(20)]
    events = [Happening(start, start + 1.0, (f"event{start}",), is_alone=True) for start in starts]
    return Film(number, seconds, sorted({*kept, *skimmed}), skimmed, scenes, events)


def test_a_stretch_covered_by_a_described_frame_is_not_a_gap():
    film = Film(0, 100.0, [0.0, 10.0, 60.0, 70.0], [], [(0.0, ())], [])
    assert film.unevenness() == 0.0  # nothing described: no even spacing yet
    film.describe(10.0)
    assert film.unevenness() == pytest.approx(40 / 100)  # from 60 s on; 10 to 60 s are stood for
    film.describe(70.0)
    assert film.unevenness() == pytest.approx(10 / 50)


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_takes_every_frame_once(name):
    films = [made(0, 1, 400.0), made(1, 2, 300.0)]
    taken = [(film.number, at) for film, at in calls(name, films, random.Random(1))]
    assert sorted(taken) == sorted((film.number, at) for film in films for at in film.kept)
    assert [len(film.found) for film in films] == [20, 20] or all(
        not any(event.start <= at < event.end for at in film.kept)
        for film in films
        for n, event in enumerate(film.events)
        if n not in film.found
    )


@pytest.mark.parametrize("name", [EVEN, FILLED])
def test_the_largest_gap_stays_below_about_twice_the_even_spacing(name):
    films = [made(number, number) for number in range(3)]
    assert max(run(name, films, 1).unevenness.values()) <= 2.1
    worst = run(name, films, 1).unevenness
    assert max(worst[percent] for percent in range(30, 100)) <= 2.0


def test_other_orders_leave_larger_gaps():
    films = [made(number, number) for number in range(3)]
    worst = {name: max(run(name, films, 1).unevenness.values()) for name in (EVEN, SHUFFLED, IN_TURN)}
    assert 2 * worst[EVEN] < worst[SHUFFLED]
    assert 2 * worst[EVEN] < worst[IN_TURN]


def test_a_gap_is_filled_by_the_shortest_standing_frame_near_its_middle():
    film = Film(0, 40.0, [0.0, 1.0, 1.1, 8.0, 12.0, 13.0, 20.0], [], [], [])
    gap, waiting = Gap(-1.0, 0.0, 20.0), film.kept[1:-1]
    assert chosen(film, gap, waiting) == 12.0
    assert chosen(film, gap, waiting, by_middle=True) == 8.0
    assert chosen(film, gap, [1.0, 1.1]) == 1.1
