"""What the passes have cost is what their calls say, whoever booked them, and also after their film is gone."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, text, update

from db import costs, store
from db.models import AUDITION, DEEP, QUICK, Analysis, Expense, Frame
from tests.db.library import NOW, add, describe, extract, new_call

CLAUDE = {"describer": "claude", "model": "claude-haiku-5-5"}


def book(connection, frame_id, *, at=0.0, pass_=DEEP, **changes):
    """A call that ended so many seconds after NOW."""
    call = new_call(**changes)
    values = {name: getattr(call, name) for name in call.__dataclass_fields__}
    connection.execute(
        insert(Analysis).values(**values, **{"pass": pass_}, frame_id=frame_id, created_at=NOW + timedelta(seconds=at))
    )


def rate(connection, *frame_ids):
    connection.execute(update(Frame).where(Frame.id.in_(frame_ids)).values(excitement=5.0, is_keyframe=True))


def only(connection):
    [film] = costs.video_costs(connection)
    return film


def test_a_film_without_calls_has_cost_nothing(library):
    add(library)
    film = only(library)
    assert (film.kept, film.quick, film.deep) == (0, costs.PassCost(), costs.PassCost())


def test_both_passes_of_a_film_are_told_apart(library):
    frames = extract(library, add(library), 3)
    describe(library, frames[0], calls=[new_call(latency_seconds=2.0)])
    book(library, frames[0], pass_=QUICK, **CLAUDE, cost_usd=0.001, prompt_tokens=1300, output_tokens=150)
    book(library, frames[1], pass_=QUICK, **CLAUDE, cost_usd=0.002, prompt_tokens=None, output_tokens=None)
    book(library, frames[2], pass_=AUDITION)
    rate(library, *frames[:2])

    film = only(library)

    assert film.quick == costs.PassCost(2, 2, film.quick.seconds, 1300, 150, pytest.approx(0.003))
    assert film.deep == costs.PassCost(1, 1, 2.0, 600, 80, 0.0)


def test_calls_at_the_same_time_count_once_on_the_clock(library):
    frames = extract(library, add(library), 4)
    for number, at in enumerate([10.0, 10.5, 20.0, 13.0]):  # the last one was booked late, by a clock that was set
        book(library, frames[number], at=at, latency_seconds=4.0)

    assert only(library).deep.seconds == pytest.approx(4.0 + 0.5 + 4.0, abs=0.01)


def test_a_second_try_that_is_booked_at_the_same_moment_counts_too(library):
    frames = extract(library, add(library), 3)
    book(library, frames[0], at=0.0, latency_seconds=1.0)
    book(library, frames[1], at=10.0, latency_seconds=3.0, is_kept=False)
    book(library, frames[1], at=10.0, latency_seconds=4.0)
    assert only(library).deep.seconds == pytest.approx(1.0 + 3.0 + 4.0, abs=0.01)
    book(library, frames[2], at=10.0, latency_seconds=9.0)  # there are 3 seconds left that nobody has counted
    book(library, frames[2], at=10.0, latency_seconds=9.0)
    assert only(library).deep.seconds == pytest.approx(1.0 + 10.0, abs=0.01)


def test_calls_at_the_same_time_count_once_across_films(library):
    one, other = (extract(library, add(library, name), 1)[0] for name in ("one", "other"))
    book(library, one, at=10.0, latency_seconds=4.0)
    book(library, other, at=11.0, latency_seconds=4.0)

    assert sum(film.deep.seconds for film in costs.video_costs(library)) == pytest.approx(5.0, abs=0.01)


def test_what_a_removed_film_has_cost_stays_counted(library):
    video_id = add(library)
    frames = extract(library, video_id, 1)
    book(library, frames[0], pass_=QUICK, **CLAUDE, cost_usd=0.25)
    store.remove_video(library, video_id)
    kept = extract(library, add(library, "other"), 1)
    book(library, kept[0], pass_=QUICK, **CLAUDE, cost_usd=0.5)

    [model] = costs.model_costs(library)

    assert (model.usd, model.removed_usd, model.calls) == (0.75, 0.25, 2)
    assert only(library).quick.usd == 0.5
    assert costs.spent_between(library, NOW, NOW + timedelta(days=1)) == 0.75


def test_a_stretch_of_time_begins_with_its_first_moment_and_ends_before_its_last(library):
    frames = extract(library, add(library), 3)
    for number, at in enumerate([-1.0, 0.0, 60.0]):
        book(library, frames[number], at=at, cost_usd=2.0**number)

    assert costs.spent_between(library, NOW, NOW + timedelta(seconds=60)) == 2.0
    assert costs.spent_between(library, NOW + timedelta(days=1), NOW + timedelta(days=2)) == 0.0


def test_the_dearest_model_comes_first_and_some_films_may_be_asked_for(library):
    one, other = (extract(library, add(library, name), 1)[0] for name in ("one", "other"))
    book(library, one)
    book(library, other, pass_=QUICK, **CLAUDE, cost_usd=0.1)

    assert [row.model for row in costs.model_costs(library)] == ["claude-haiku-5-5", "llava:13b"]
    assert [film.title for film in costs.video_costs(library, [2])] == ["other"]
    assert costs.video_costs(library, []) == []


def test_the_sums_say_what_the_calls_say(library):
    frames = extract(library, add(library), 3)
    describe(library, frames[0], calls=[new_call(is_kept=False), new_call()])
    describe(library, frames[1], calls=[new_call(cost_usd=0.125)])

    sums = library.execute(select(Expense.calls, Expense.kept, Expense.prompt_tokens, Expense.cost_usd)).all()

    assert sums == [(3, 2, 1800, 0.125)]


def test_what_was_paid_is_looked_up_and_not_added_up(library):
    plan = library.execute(
        text(
            "EXPLAIN QUERY PLAN SELECT sum(cost_usd) FROM analyses "
            "WHERE cost_usd > 0 AND created_at >= '2026' AND created_at < '2027'"
        )
    ).all()
    assert "COVERING INDEX ix_analyses_paid" in str(plan)
