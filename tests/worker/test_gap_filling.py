"""Gaps between unlike descriptions, when one is filled, and with which frame."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db import editing
from db.engine import writing
from enrich.schedule.coverage import FILL_PRIORITY, CoverageOrder
from enrich.worker.gap_filling import MISSED_LOOKS, GapQueue, difference, has_room, signature
from enrich.worker.run_options import RunOptions
from tests.worker.workspace import Workspace


def said(text: str) -> int:
    return signature(text, ())


BRIDE, GROOM, DINNER = said("the bride laughs"), said("the groom waits"), said("people dine outside")
DEEP = "deep"


def test_the_same_words_in_another_order_and_case_are_no_difference():
    assert difference(said("Grandma laughs loudly"), said("loudly laughs GRANDMA")) == 0
    assert difference(0, 0) == 0


def test_nothing_in_common_is_the_greatest_difference():
    assert difference(BRIDE, DINNER) == 1
    assert 0 < difference(said("grandma laughs"), said("grandma sings")) < 1


def test_tags_are_words_too():
    assert signature("", ("grandma",)) == said("grandma")


def test_the_gap_whose_ends_differ_most_for_its_length_comes_first():
    contrast = GapQueue()
    for at, what in ((0.0, BRIDE), (10.0, BRIDE), (14.0, DINNER), (20.0, GROOM)):
        contrast.learn(1, at, what)
    taken = [contrast.take(1) for _ in range(3)]
    assert [(gap.start, gap.end) for gap in taken if gap] == [(14.0, 20.0), (10.0, 14.0)]


def test_a_gap_that_was_divided_meanwhile_is_forgotten():
    contrast = GapQueue()
    contrast.learn(1, 0.0, BRIDE)
    contrast.learn(1, 10.0, DINNER)
    contrast.learn(1, 5.0, BRIDE)
    gap = contrast.take(1)
    assert gap is not None
    assert (gap.start, gap.end) == (5.0, 10.0)
    assert contrast.take(1) is None


def test_videos_have_gaps_of_their_own_and_a_frame_described_again_is_no_second_one():
    contrast = GapQueue()
    contrast.learn(1, 0.0, BRIDE)
    contrast.learn(2, 1.0, DINNER)
    contrast.learn(1, 0.0, GROOM)
    assert contrast.take(1) is None
    contrast.learn(2, 3.0, BRIDE)
    assert contrast.take(1) is None
    assert contrast.take(3) is None
    assert contrast.take(2) is not None
    assert contrast.knows(2)
    assert not contrast.knows(3)
    assert [contrast.described(video) for video in (1, 2, 3)] == [1, 2, 0]


@pytest.mark.parametrize("described", [200, 1000, 5000])
def test_what_is_filled_never_lets_the_largest_gap_be_twice_the_even_spacing(described):
    even = CoverageOrder(7200.0)
    rank, extra = described, 0
    while has_room(even.gap(rank), rank + extra, even):
        extra += 1
    assert 0.3 < extra / rank < 0.4
    assert even.gap(rank) * (rank + extra) / even.length < 2


def test_nothing_is_filled_before_the_pictures_of_the_first_look_have_been_put_right():
    even = CoverageOrder(7200.0)
    first = even.skim_count() * MISSED_LOOKS
    assert not has_room(even.gap(first - 1), first, even)
    assert has_room(even.gap(first), first, even)
    assert has_room(CoverageOrder(8.0).gap(1), 0, CoverageOrder(8.0))  # nobody looks at so short a film first


def raised(workspace: Workspace, start: float, end: float) -> list[float]:
    with writing(workspace.library.engine) as connection:
        editing.prioritize_middle(connection, 1, start, end, pass_=DEEP, priority=FILL_PRIORITY)
    rows = workspace.ask(
        "SELECT timestamp FROM frames JOIN tasks ON frame_id = frames.id WHERE priority = :fill", fill=FILL_PRIORITY
    )
    return sorted(row.timestamp for row in rows)


async def test_the_frame_that_stands_shortest_in_the_middle_half_fills_a_gap(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=30, fps=10), sampling="exact")
    await workspace.worker(RunOptions(describe=False), None).run()
    workspace.change('UPDATE frames SET stands_for = 5 WHERE "index" NOT IN (1, 7)')
    assert raised(workspace, 0.0, 1.0) == [0.7]  # 0.1 s lies too near to the edge
    workspace.change("UPDATE tasks SET status = 'done' WHERE priority = :fill", fill=FILL_PRIORITY)
    assert raised(workspace, 0.0, 1.0) == [0.5, 0.7]  # all alike: the nearest to the middle
    workspace.change(
        "UPDATE tasks SET status = 'done' WHERE frame_id NOT IN (SELECT id FROM frames WHERE \"index\" = 1)"
    )
    assert raised(workspace, 0.0, 1.0) == [0.1, 0.5, 0.7]  # what there is
