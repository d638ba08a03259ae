"""Runs: one worker a library, known by its process, asked through its row."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db import queue, runs
from db.models import Run, RunState
from db.runs import BusyError, LiveRun, ProcessIdentity
from tests.db.library import NOW, add, add_tasks, claim

OURS = ProcessIdentity("here", 10, 1.5)
OTHER = ProcessIdentity("there", 20, 2.5)


def begin(library, process=OURS, *, alive: bool = False) -> tuple[int, list[int]]:
    return runs.begin(library, process, options={"model": "x"}, is_alive=lambda _: alive, now=NOW)


def test_the_first_run_begins_and_finds_nobody_dead(library):
    run_id, dead = begin(library)

    assert dead == []
    [live] = runs.live_runs(library)
    assert live == LiveRun(id=run_id, process=OURS, started_at=NOW, heartbeat_at=NOW, state=RunState.STARTING), (
        "the row says who it is"
    )


def test_a_second_run_is_refused_while_the_first_lives_and_is_told_which(library):
    first, _ = begin(library)

    with pytest.raises(BusyError) as caught:
        begin(library, OTHER, alive=True)

    assert caught.value.run.id == first
    assert caught.value.run.process == OURS
    assert [run.id for run in runs.live_runs(library)] == [first], "no row is left of the refused one"


def test_dead_runs_are_found_and_noted_as_crashed_and_their_tasks_can_be_swept(library):
    dead, _ = begin(library)
    add_tasks(library, add(library), 2)
    [job] = claim(library, run_id=dead)

    run_id, found = begin(library, OTHER)

    assert found == [dead]
    assert library.execute(select(Run.state, Run.reason).where(Run.id == dead)).one() == (
        RunState.CRASHED,
        "its process is gone",
    )
    assert [run.id for run in runs.live_runs(library)] == [run_id]
    assert queue.sweep(library, now=NOW, dead_runs=found) == 1
    assert queue.renew(library, [job], now=NOW) == 0


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FINISHED, RunState.CRASHED])
def test_a_run_that_has_ended_is_in_nobodys_way(library, state):
    first, _ = begin(library)
    runs.end(library, first, state, counts={}, now=NOW)

    _, dead = begin(library, OTHER, alive=True)

    assert dead == []


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.WAITING, RunState.PAUSED, RunState.STOPPING])
def test_a_run_that_waits_or_pauses_or_stops_still_has_the_library(library, state):
    first, _ = begin(library)
    runs.change(library, first, state, reason="because")

    with pytest.raises(BusyError):
        begin(library, OTHER, alive=True)


def test_a_beat_writes_heartbeat_and_counts_and_returns_what_was_requested(library):
    run_id, _ = begin(library)
    assert runs.beat(library, run_id, counts={"calls": 1}, now=NOW) is None

    library.execute(update(Run).where(Run.id == run_id).values(requested="stop"))
    later = NOW + timedelta(seconds=2)

    assert runs.beat(library, run_id, counts={"calls": 7}, now=later) == "stop"
    assert library.execute(select(Run.heartbeat_at, Run.counts)).one() == (later, {"calls": 7})


def test_a_beat_is_no_progress(library):
    run_id, _ = begin(library)
    runs.beat(library, run_id, counts={}, now=NOW)
    assert library.scalar(select(Run.progress_at)) is None

    runs.progress(library, run_id, now=NOW)

    assert library.scalar(select(Run.progress_at)) == NOW


def test_the_end_keeps_counts_and_error_and_clears_what_the_run_waited_for(library):
    run_id, _ = begin(library)
    runs.change(library, run_id, RunState.WAITING, reason="Ollama is down")

    runs.end(library, run_id, RunState.STOPPED, counts={"calls": 3}, now=NOW, error="no disk")

    row = library.execute(select(Run.__table__)).one()
    assert (row.state, row.reason, row.counts, row.error) == (RunState.STOPPED, None, {"calls": 3}, "no disk")
    assert runs.live_runs(library) == []


def test_a_crashed_runs_tasks_are_not_taken_from_the_living(library):
    dead, _ = begin(library)
    alive, _ = begin(library, OTHER)
    ids = add_tasks(library, add(library), 2)
    claim(library, run_id=dead)
    [kept] = claim(library, run_id=alive)

    queue.sweep(library, now=NOW, dead_runs=[dead])

    assert kept.id == ids[1]
    assert queue.renew(library, [kept], now=NOW) == 1
    assert [job.id for job in claim(library, 5)] == [ids[0]]
