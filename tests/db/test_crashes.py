"""Crashes: counted for what was in hand, and after three of them a task is set aside."""

import pytest
from sqlalchemy import select

from db import queue, runs, store
from db.models import DEEP, ExtractionStatus, Run, RunState, Task, TaskKind, TaskStatus, Video
from tests.db.library import NOW, add, add_run, add_tasks, claim, extract_job


@pytest.fixture
def video_id(library):
    return add(library)


def states(library, ids):
    rows = library.execute(select(Task.id, Task.status, Task.crashes).where(Task.id.in_(ids)).order_by(Task.id))
    return [(row.status, row.crashes) for row in rows]


def crash(library, limit=1):
    """A run that has `limit` tasks in hand when it crashes; how many were set aside."""
    run_id = add_run(library)
    claim(library, limit, run_id=run_id)
    return store.count_crash(library, run_id, now=NOW)


def test_what_was_in_hand_at_three_crashes_is_set_aside_with_the_reason(library, video_id):
    [task_id, other] = add_tasks(library, video_id, 2)

    assert [crash(library), crash(library)] == [0, 0]
    assert states(library, [task_id]) == [(TaskStatus.TODO, 2)]
    assert crash(library) == 1

    assert states(library, [task_id, other]) == [(TaskStatus.FAILED, 3), (TaskStatus.TODO, 0)]
    assert library.scalar(select(Task.error).where(Task.id == task_id)) == store.CRASH_LIMIT_REACHED


def test_a_video_that_crashes_the_decoder_is_a_failed_one(library, video_id):
    for _ in range(3):
        run_id = add_run(library)
        queue.claim(library, kind=TaskKind.EXTRACT, run_id=run_id, host="here", limit=1, now=NOW)
        store.count_crash(library, run_id, now=NOW)

    assert library.execute(select(Video.extraction_status, Video.error)).one() == (
        ExtractionStatus.FAILED,
        store.CRASH_LIMIT_REACHED,
    )


def test_a_task_that_was_settled_before_the_crash_is_none_of_its_victims(library, video_id):
    done, in_hand = add_tasks(library, video_id, 2)
    run_id = add_run(library)
    jobs = {job.id: job for job in claim(library, 2, run_id=run_id)}
    queue.finish(library, jobs[done])

    store.count_crash(library, run_id, now=NOW)

    assert states(library, [done, in_hand]) == [(TaskStatus.DONE, 0), (TaskStatus.TODO, 1)]


def test_kills_and_power_cuts_count_for_nothing(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    for _ in range(4):
        run_id = add_run(library)
        claim(library, run_id=run_id)
        queue.sweep(library, now=NOW, dead_runs=[run_id])

    assert states(library, [task_id]) == [(TaskStatus.TODO, 0)]


def test_after_two_crashes_a_task_is_a_suspect_and_can_be_claimed_by_itself(library, video_id):
    ids = add_tasks(library, video_id, 3)
    crash(library, limit=2)
    assert store.suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 0
    crash(library, limit=1)

    assert store.suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 1
    claimed = claim(library, 5, least_crashes=store.SUSPECT_CRASHES)
    assert [job.id for job in claimed] == ids[:1]
    assert store.suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 1, "until it is settled"
    queue.finish(library, claimed[0])
    assert store.suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 0


def test_an_extraction_that_comes_to_new_frames_is_no_suspect_any_more(library, video_id):
    assert extract_job(library, video_id).kind is TaskKind.EXTRACT
    assert store.suspects(library, [TaskKind.EXTRACT], pass_=DEEP) == 0


def test_a_run_ended_from_outside_keeps_what_was_asked_of_it_and_is_ended_once(library):
    run_id = add_run(library)
    runs.request(library, run_id, runs.STOP)

    assert runs.end_from_outside(library, run_id, RunState.CRASHED, error="ended by SIGSEGV")
    assert not runs.end_from_outside(library, run_id, RunState.STOPPED, error="again")

    row = library.execute(select(Run.state, Run.error, Run.requested)).one()
    assert row == (RunState.CRASHED, "ended by SIGSEGV", runs.STOP)


def test_a_wish_is_forgotten_once_it_is_obeyed_but_not_a_newer_one(library):
    run_id = add_run(library)
    runs.request(library, run_id, runs.PAUSE)
    runs.request(library, run_id, runs.RESUME)

    runs.obeyed(library, run_id, runs.PAUSE)
    assert runs.requested(library, run_id) == runs.RESUME
    runs.obeyed(library, run_id, runs.RESUME)
    assert runs.requested(library, run_id) is None
