"""Costs match the recorded calls, whatever code wrote them, also after their video was removed."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text, update

from db import costs, store
from db.models import AUDITION, DEEP, QUICK, Analysis, Expense, Frame
from tests.db.library import NOW, add, describe, extract, new_call

CLAUDE = {"describer": "claude", "model": "claude-haiku-5-5"}


def record(connection, frame_id, *, at=0.0, pass_=DEEP, **changes):
    """Record a call that ended `at` seconds after NOW."""
    call = new_call(**changes)
    values = {name: getattr(call, name) for name in call.__dataclass_fields__}
    connection.execute(
        insert(Analysis).values(**values, **{"pass": pass_}, frame_id=frame_id, created_at=NOW + timedelta(seconds=at))
    )


def rate(connection, *frame_ids):
    connection.execute(update(Frame).where(Frame.id.in_(frame_ids)).values(excitement=5.0, is_keyframe=True))


def only_video(connection):
    [video] = costs.video_costs(connection)
    return video


def test_video_without_calls_costs_nothing(library):
    add(library)
    video = only_video(library)
    assert (video.kept, video.quick, video.deep) == (0, costs.PassCost(), costs.PassCost())


def test_costs_of_both_passes_are_separate(library):
    frames = extract(library, add(library), 3)
    describe(library, frames[0], calls=[new_call(latency_seconds=2.0)])
    record(library, frames[0], pass_=QUICK, **CLAUDE, cost_usd=0.001, prompt_tokens=1300, output_tokens=150)
    record(library, frames[1], pass_=QUICK, **CLAUDE, cost_usd=0.002, prompt_tokens=None, output_tokens=None)
    record(library, frames[2], pass_=AUDITION)
    rate(library, *frames[:2])

    video = only_video(library)

    assert video.quick == costs.PassCost(2, 2, video.quick.seconds, 1300, 150, pytest.approx(0.003))
    assert video.deep == costs.PassCost(1, 1, 2.0, 600, 80, 0.0)


def test_concurrent_calls_count_once(library):
    frames = extract(library, add(library), 4)
    for number, at in enumerate([10.0, 10.5, 20.0, 13.0]):  # the last one: the clock was set back
        record(library, frames[number], at=at, latency_seconds=4.0)

    assert only_video(library).deep.seconds == pytest.approx(4.0 + 0.5 + 4.0, abs=0.01)


def test_retry_recorded_at_the_same_time_counts_too(library):
    frames = extract(library, add(library), 3)
    record(library, frames[0], at=0.0, latency_seconds=1.0)
    record(library, frames[1], at=10.0, latency_seconds=3.0, is_kept=False)
    record(library, frames[1], at=10.0, latency_seconds=4.0)
    assert only_video(library).deep.seconds == pytest.approx(1.0 + 3.0 + 4.0, abs=0.01)
    record(library, frames[2], at=10.0, latency_seconds=9.0)  # 3 idle seconds are left to count
    record(library, frames[2], at=10.0, latency_seconds=9.0)
    assert only_video(library).deep.seconds == pytest.approx(1.0 + 10.0, abs=0.01)


def test_concurrent_calls_of_two_videos_count_once(library):
    one, other = (extract(library, add(library, name), 1)[0] for name in ("one", "other"))
    record(library, one, at=10.0, latency_seconds=4.0)
    record(library, other, at=11.0, latency_seconds=4.0)

    assert sum(video.deep.seconds for video in costs.video_costs(library)) == pytest.approx(5.0, abs=0.01)


def test_costs_of_a_removed_video_stay_counted(library):
    video_id = add(library)
    frames = extract(library, video_id, 1)
    record(library, frames[0], pass_=QUICK, **CLAUDE, cost_usd=0.25)
    store.remove_video(library, video_id)
    kept = extract(library, add(library, "other"), 1)
    record(library, kept[0], pass_=QUICK, **CLAUDE, cost_usd=0.5)

    [model] = costs.model_costs(library)

    assert (model.usd, model.removed_usd, model.calls) == (0.75, 0.25, 2)
    assert only_video(library).quick.usd == 0.5
    assert costs.spent_since(library, NOW) == 0.75


def test_spending_counts_from_a_moment_on_without_an_end(library):
    frames = extract(library, add(library), 3)
    for number, at in enumerate([-1.0, 0.0, 60.0]):
        record(library, frames[number], at=at, cost_usd=2.0**number)

    assert costs.spent_since(library, NOW) == 6.0
    assert costs.spent_since(library, NOW + timedelta(days=1)) == 0.0


def test_most_expensive_model_is_first_and_videos_can_be_selected(library):
    one, other = (extract(library, add(library, name), 1)[0] for name in ("one", "other"))
    record(library, one)
    record(library, other, pass_=QUICK, **CLAUDE, cost_usd=0.1)

    assert [row.model for row in costs.model_costs(library)] == ["claude-haiku-5-5", "llava:13b"]
    assert [video.title for video in costs.video_costs(library, [2])] == ["other"]
    assert costs.video_costs(library, []) == []


def test_sums_match_the_calls(library):
    frames = extract(library, add(library), 3)
    describe(library, frames[0], calls=[new_call(is_kept=False), new_call()])
    describe(library, frames[1], calls=[new_call(cost_usd=0.125)])

    sums = library.execute(select(Expense.calls, Expense.kept, Expense.prompt_tokens, Expense.cost_usd)).all()

    assert sums == [(3, 2, 1800, 0.125)]


def test_paid_costs_are_read_from_a_covering_index(library):
    plan = library.execute(
        text(
            "EXPLAIN QUERY PLAN SELECT sum(cost_usd) FROM analyses "
            "WHERE cost_usd > 0 AND created_at >= '2026' AND created_at < '2027'"
        )
    ).all()
    assert "COVERING INDEX ix_analyses_paid" in str(plan)
