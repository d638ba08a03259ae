"""Gap filling: which gap comes first, when there is room for it, and which frame fills it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db import editing
from db.engine import writing
from enrich.schedule.coverage import GAP_FILL_PRIORITY, SKIM_COUNTS_TO_REVISIT, CoverageOrder
from enrich.schedule.gap_filling import GapQueue, difference, has_room, signature
from enrich.worker.run_options import RunOptions
from tests.worker.workspace import Workspace


def words_of(text: str) -> int:
    return signature(text, ())


BRIDE, GROOM, DINNER = words_of("the bride laughs"), words_of("the groom waits"), words_of("people dine outside")
DEEP = "deep"


def test_word_order_and_case_make_no_difference():
    assert difference(words_of("Grandma laughs loudly"), words_of("loudly laughs GRANDMA")) == 0
    assert difference(0, 0) == 0


def test_no_common_words_is_the_maximum_difference():
    assert difference(BRIDE, DINNER) == 1
    assert 0 < difference(words_of("grandma laughs"), words_of("grandma sings")) < 1


def test_tags_count_as_words():
    assert signature("", ("grandma",)) == words_of("grandma")


def test_gap_with_the_largest_difference_per_second_comes_first():
    gaps = GapQueue()
    for at, what in ((0.0, BRIDE), (10.0, BRIDE), (14.0, DINNER), (20.0, GROOM)):
        gaps.learn(1, at, what)
    taken = [gaps.take(1) for _ in range(3)]
    assert [(gap.start, gap.end) for gap in taken if gap] == [(14.0, 20.0), (10.0, 14.0)]


def test_divided_gap_is_dropped():
    gaps = GapQueue()
    gaps.learn(1, 0.0, BRIDE)
    gaps.learn(1, 10.0, DINNER)
    gaps.learn(1, 5.0, BRIDE)
    gap = gaps.take(1)
    assert gap is not None
    assert (gap.start, gap.end) == (5.0, 10.0)
    assert gaps.take(1) is None


def test_gaps_are_per_video_and_a_redescribed_frame_counts_once():
    gaps = GapQueue()
    gaps.learn(1, 0.0, BRIDE)
    gaps.learn(2, 1.0, DINNER)
    gaps.learn(1, 0.0, GROOM)
    assert gaps.take(1) is None
    gaps.learn(2, 3.0, BRIDE)
    assert gaps.take(1) is None
    assert gaps.take(3) is None
    assert gaps.take(2) is not None
    assert gaps.knows(2)
    assert not gaps.knows(3)
    assert [gaps.described(video) for video in (1, 2, 3)] == [1, 2, 0]


@pytest.mark.parametrize("described", [200, 1000, 5000])
def test_gap_filling_keeps_the_largest_gap_below_twice_the_even_spacing(described):
    order = CoverageOrder(7200.0)
    rank, extra = described, 0
    while has_room(order.gap(rank), rank + extra, order):
        extra += 1
    assert 0.3 < extra / rank < 0.4
    assert order.gap(rank) * (rank + extra) / order.length < 2


def test_no_gap_is_filled_before_the_skimmed_frames_are_described():
    order = CoverageOrder(7200.0)
    first = order.skim_count() * SKIM_COUNTS_TO_REVISIT
    assert not has_room(order.gap(first - 1), first, order)
    assert has_room(order.gap(first), first, order)
    assert has_room(CoverageOrder(8.0).gap(1), 0, CoverageOrder(8.0))  # so short a video is not skimmed


def raised(workspace: Workspace, start: float, end: float) -> list[float]:
    with writing(workspace.library.engine) as connection:
        editing.prioritize_middle(connection, 1, start, end, pass_=DEEP, priority=GAP_FILL_PRIORITY)
    rows = workspace.ask(
        "SELECT timestamp FROM frames JOIN tasks ON frame_id = frames.id WHERE priority = :fill", fill=GAP_FILL_PRIORITY
    )
    return sorted(row.timestamp for row in rows)


async def test_frame_with_the_fewest_duplicates_near_the_middle_fills_a_gap(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=30, fps=10), sampling="exact")
    await workspace.worker(RunOptions(describe=False), None).run()
    workspace.change('UPDATE frames SET stands_for = 5 WHERE "index" NOT IN (1, 7)')
    assert raised(workspace, 0.0, 1.0) == [0.7]  # 0.1 s is too close to the edge
    workspace.change("UPDATE tasks SET status = 'done' WHERE priority = :fill", fill=GAP_FILL_PRIORITY)
    assert raised(workspace, 0.0, 1.0) == [0.5, 0.7]  # all equal: the one closest to the middle
    workspace.change(
        "UPDATE tasks SET status = 'done' WHERE frame_id NOT IN (SELECT id FROM frames WHERE \"index\" = 1)"
    )
    assert raised(workspace, 0.0, 1.0) == [0.1, 0.5, 0.7]  # the only one left
