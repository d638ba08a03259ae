"""Runs: one worker per library, identified by its process, controlled through its row."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db import queue, runs
from db.models import Run, RunState
from db.runs import BusyError, LiveRun, ProcessIdentity
from tests.db.library import NOW, add, add_run, add_tasks, claim

OURS = ProcessIdentity("here", 10, 1.5)
OTHER = ProcessIdentity("there", 20, 2.5)
SUPERVISOR = ProcessIdentity("here", 9, 1.0)


def begin(library, process=OURS, *, alive: bool = False, supervisor=None) -> tuple[int, list[int]]:
    return runs.begin(
        library, process, supervisor=supervisor, options={"model": "x"}, is_alive=lambda _: alive, now=NOW
    )


def test_first_run_starts_and_finds_no_dead_run(library):
    run_id, dead = begin(library)

    assert dead == []
    [live] = runs.live_runs(library)
    assert live == LiveRun(id=run_id, process=OURS, started_at=NOW, heartbeat_at=NOW, state=RunState.STARTING), (
        "the row says who it is"
    )


def test_second_run_is_refused_with_the_first_one_named(library):
    first, _ = begin(library)

    with pytest.raises(BusyError) as caught:
        begin(library, OTHER, alive=True)

    assert caught.value.run.id == first
    assert caught.value.run.process == OURS
    assert [run.id for run in runs.live_runs(library)] == [first], "the refused run has no row"


def test_new_run_marks_dead_runs_crashed_so_that_they_can_be_swept(library):
    dead, _ = begin(library)
    add_tasks(library, add(library), 2)
    [task] = claim(library, run_id=dead)

    run_id, found = begin(library, OTHER)

    assert found == [dead]
    assert library.execute(select(Run.state, Run.reason).where(Run.id == dead)).one() == (
        RunState.CRASHED,
        "its process is gone",
    )
    assert [run.id for run in runs.live_runs(library)] == [run_id]
    assert queue.sweep(library, now=NOW, dead_runs=found) == 1
    assert queue.renew(library, [task], now=NOW) == 0


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FINISHED, RunState.CRASHED])
def test_ended_run_does_not_block_a_new_one(library, state):
    first, _ = begin(library)
    runs.end(library, first, state, counts={}, now=NOW)

    _, dead = begin(library, OTHER, alive=True)

    assert dead == []


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.WAITING, RunState.PAUSED, RunState.STOPPING])
def test_waiting_paused_or_stopping_run_blocks_a_new_one(library, state):
    first, _ = begin(library)
    runs.set_state(library, first, state, reason="because")

    with pytest.raises(BusyError):
        begin(library, OTHER, alive=True)


def test_heartbeat_stores_counts_and_returns_the_pending_request(library):
    run_id, _ = begin(library)
    assert runs.record_heartbeat(library, run_id, counts={"calls": 1}, now=NOW) is None

    library.execute(update(Run).where(Run.id == run_id).values(requested="stop"))
    later = NOW + timedelta(seconds=2)

    assert runs.record_heartbeat(library, run_id, counts={"calls": 7}, now=later) == "stop"
    assert library.execute(select(Run.heartbeat_at, Run.counts)).one() == (later, {"calls": 7})


def test_heartbeat_does_not_change_the_progress_timestamp(library):
    run_id, _ = begin(library)
    runs.record_heartbeat(library, run_id, counts={}, now=NOW)
    assert library.scalar(select(Run.progress_at)) is None

    runs.record_progress(library, run_id, now=NOW)

    assert library.scalar(select(Run.progress_at)) == NOW


def test_ending_a_run_stores_counts_and_error_and_clears_its_reason(library):
    run_id, _ = begin(library)
    runs.set_state(library, run_id, RunState.WAITING, reason="Ollama is down")

    runs.end(library, run_id, RunState.STOPPED, counts={"calls": 3}, now=NOW, error="no disk")

    row = library.execute(select(Run.__table__)).one()
    assert (row.state, row.reason, row.counts, row.error) == (RunState.STOPPED, None, {"calls": 3}, "no disk")
    assert runs.live_runs(library) == []


def test_sweeping_a_crashed_run_leaves_the_tasks_of_live_runs(library):
    dead, _ = begin(library)
    alive, _ = begin(library, OTHER)
    ids = add_tasks(library, add(library), 2)
    claim(library, run_id=dead)
    [kept] = claim(library, run_id=alive)

    queue.sweep(library, now=NOW, dead_runs=[dead])

    assert kept.id == ids[1]
    assert queue.renew(library, [kept], now=NOW) == 1
    assert [task.id for task in claim(library, 5)] == [ids[0]]


def test_dead_run_is_ended_once_and_keeps_its_request(library):
    run_id = add_run(library)
    runs.request(library, run_id, runs.STOP)

    assert runs.end_dead_run(library, run_id, RunState.CRASHED, error="ended by SIGSEGV")
    assert not runs.end_dead_run(library, run_id, RunState.STOPPED, error="again")

    row = library.execute(select(Run.state, Run.error, Run.requested)).one()
    assert row == (RunState.CRASHED, "ended by SIGSEGV", runs.STOP)


def test_request_is_cleared_when_carried_out_but_not_a_newer_one(library):
    run_id = add_run(library)
    runs.request(library, run_id, runs.PAUSE)
    runs.request(library, run_id, runs.RESUME)

    runs.clear_request(library, run_id, runs.PAUSE)
    assert runs.requested(library, run_id) == runs.RESUME
    runs.clear_request(library, run_id, runs.RESUME)
    assert runs.requested(library, run_id) is None


@pytest.mark.parametrize(
    ("supervisor", "state", "expected"),
    [
        (SUPERVISOR, RunState.CRASHED, runs.STOP),
        (SUPERVISOR, RunState.STOPPED, None),
        (OTHER, RunState.CRASHED, None),
        (None, RunState.CRASHED, None),
    ],
    ids=["same supervisor", "carried out", "another supervisor", "no supervisor"],
)
def test_stop_that_was_not_carried_out_is_passed_on(library, supervisor, state, expected):
    first, _ = begin(library, supervisor=SUPERVISOR)
    runs.request(library, first, runs.STOP)
    runs.end(library, first, state, counts={}, now=NOW)

    second, _ = begin(library, supervisor=supervisor)

    assert runs.requested(library, second) == expected
