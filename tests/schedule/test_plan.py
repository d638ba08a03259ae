"""The plan of a run, and what was reached."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.engine import reading
from enrich.cli.estimate import gap_text, plan_text, planned, reached
from enrich.clock import Hours, parse_hours
from enrich.schedule.coverage import CoverageOrder
from enrich.schedule.forecast import RunPlan, VideoState, current_gap, plan_run, reachable_gap
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn
from tests.worker.workspace import Workspace

Clip = Callable[..., Path]
NOON = datetime(2026, 11, 22, 12, 0).astimezone()  # a Sunday, in local time


def test_reachable_gap_is_that_of_the_coverage_order():
    videos = [VideoState(3600.0, 100_000, 0), VideoState(600.0, 100_000, 0)]
    gap = reachable_gap(videos, 1000)
    coverage_calls = sum(CoverageOrder(video.duration).count(gap) for video in videos)
    assert 745 <= coverage_calls <= 750  # one call in four is left for gaps between unlike neighbours
    assert reachable_gap(videos, 2000) == pytest.approx(gap / 2, rel=0.02)


def test_described_frames_and_a_still_video_need_no_calls():
    whole = reachable_gap([VideoState(3600.0, 100_000, 0)], 400)
    assert reachable_gap([VideoState(3600.0, 100_000, 100)], 300) < whole
    assert reachable_gap([VideoState(3600.0, 100_000, 0), VideoState(7200.0, 3, 0)], 404) == pytest.approx(whole)


def test_a_plan_is_shown_in_words():
    assert plan_text(RunPlan(8 * 3600, 4000, 50_000, 6.02, 30 * 3600), NOON) == (
        "one frame every 6.1 s by 20:00, all 50,000 frames by Monday 18:00"
    )
    assert plan_text(RunPlan(8 * 3600, 1200, 1200, None, 3600), NOON) == "all 1,200 frames by 13:00"
    assert plan_text(RunPlan(3600, 9, 9**9, 80.0, 20 * 86400), NOON).endswith("by 12 December")
    assert gap_text(80.0) == "1 min 20 s"
    assert plan_text(RunPlan(8 * 3600, 9, 9, None, 3600, "22:00-06:00"), NOON) == (
        "all 9 frames by 13:00 (within working hours 22:00-06:00)"
    )
    assert plan_text(RunPlan(8 * 3600, 9, 9, None, None), NOON) == "all 9 frames later than can be forecast"


async def test_plan_counts_only_the_working_hours(workspace: Workspace, clip: Clip) -> None:
    """Ten hours of work for 30 frames, from 12:00 on."""
    workspace.add(clip(frames=40), sampling="exact")
    await workspace.enrich(RunOptions(limit=10))
    hour = 3600
    workspace.change("UPDATE analyses SET latency_seconds = :each, load_seconds = 0", each=10 * hour / 30)
    settings = workspace.settings.model_copy(update={"concurrency": 1})
    nights = parse_hours("22:00-06:00", UTC)

    def plan(by: datetime, hours: Hours) -> RunPlan:
        start = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        with reading(workspace.library.engine) as connection:
            found = plan_run(connection, settings, None, seconds=(by - start).total_seconds(), now=start, hours=hours)
        assert found is not None
        return found

    by_morning = plan(datetime(2026, 11, 23, 7, 0, tzinfo=UTC), nights)
    assert by_morning.calls == 24, "eight of the ten hours"
    assert by_morning.gap is not None
    assert by_morning.total_seconds == pytest.approx(36 * hour), "the rest in the second night, until midnight"
    assert by_morning.hours == "22:00-06:00"
    by_evening = plan(datetime(2026, 11, 22, 21, 0, tzinfo=UTC), nights)
    assert by_evening.calls == 0
    always = plan(datetime(2026, 11, 23, 7, 0, tzinfo=UTC), Hours())
    assert (always.calls, always.gap, always.hours) == (30, None, "")
    assert always.total_seconds == pytest.approx(10 * hour)


async def test_before_the_first_call_there_is_no_plan(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=20))
    assert planned(workspace.library, None, seconds=60) is None
    assert reached(workspace.library, None) == "one frame at least every 0.8 s"


@pytest.mark.slow  # by itself: it is about seconds
async def test_a_run_keeps_to_its_plan(make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip) -> None:
    """240 frames of 48 s, 0.1 s a call: what was planned for 6 s is reached, and the run ends with its time."""
    standin.behave(delay=0.1)
    workspace = make_workspace(concurrency=1)
    workspace.add(clip(frames=240, fps=5, gop=5), sampling="exact")
    await workspace.enrich(RunOptions(limit=10))
    with reading(workspace.library.engine) as connection:
        promised = plan_run(connection, workspace.settings, None, seconds=6.0, now=datetime.now(UTC))
    assert promised is not None
    assert promised.gap is not None
    assert promised.left == 230
    summary = await workspace.enrich(RunOptions(within_seconds=6.0))
    assert summary.ending is RunEnd.TIME_UP
    assert summary.seconds < 6.0 + 5.0
    described = summary.counts.frames_described
    with reading(workspace.library.engine) as connection:
        gap = current_gap(connection)
    assert gap is not None
    assert gap <= 1.1 * promised.gap * max(1.0, promised.calls / described) + 0.2  # a busy machine makes fewer calls


async def test_current_gap_spans_described_frames_with_undescribed_between(workspace: Workspace, clip: Clip) -> None:
    workspace.add(clip(frames=30, fps=10))
    await workspace.enrich()
    with reading(workspace.library.engine) as connection:
        assert current_gap(connection) is None
    workspace.change('UPDATE frames SET local_description = NULL WHERE "index" BETWEEN 11 AND 15')
    with reading(workspace.library.engine) as connection:
        assert current_gap(connection) == pytest.approx(0.6)
    assert reached(workspace.library, None) == "one frame at least every 0.6 s"
