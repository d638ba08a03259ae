"""Crashes count against the claimed tasks; after three a task fails."""

from sqlalchemy import select

from db import extraction, queue, store
from db.models import DEEP, Checkpoint, ExtractionStatus, Task, TaskKind, TaskStatus, Video
from tests.db.library import NOW, add_run, add_tasks, claim, claim_extraction


def states(library, ids):
    rows = library.execute(select(Task.id, Task.status, Task.crashes).where(Task.id.in_(ids)).order_by(Task.id))
    return [(row.status, row.crashes) for row in rows]


def crash(library, limit=1):
    """Crash a run that has claimed `limit` tasks; returns how many failed."""
    run_id = add_run(library)
    claim(library, limit, run_id=run_id)
    return store.count_crash(library, run_id, now=NOW)


def test_task_claimed_at_three_crashes_fails_with_the_reason(library, video_id):
    [task_id, other] = add_tasks(library, video_id, 2)

    assert [crash(library), crash(library)] == [0, 0]
    assert states(library, [task_id]) == [(TaskStatus.TODO, 2)]
    assert crash(library) == 1

    assert states(library, [task_id, other]) == [(TaskStatus.FAILED, 3), (TaskStatus.TODO, 0)]
    assert library.scalar(select(Task.error).where(Task.id == task_id)) == store.CRASH_LIMIT_REACHED


def test_video_that_crashes_the_decoder_fails_and_starts_over(library, video_id):
    extraction.begin_extraction(library, video_id)
    extraction.save_checkpoint(library, video_id, index=7, state=b"state")
    indexes = []
    for _ in range(3):
        run_id = add_run(library)
        queue.claim(library, queue.TaskFilter(TaskKind.EXTRACT), run_id=run_id, host="here", limit=1, now=NOW)
        store.count_crash(library, run_id, now=NOW)
        indexes.append(library.scalar(select(Checkpoint.index)))

    assert library.execute(select(Video.extraction_status, Video.error)).one() == (
        ExtractionStatus.FAILED,
        store.CRASH_LIMIT_REACHED,
    )
    assert indexes == [7, 7, None], "a crash keeps the checkpoint, until it may be the cause"


def test_crash_does_not_count_against_settled_tasks(library, video_id):
    done, claimed = add_tasks(library, video_id, 2)
    run_id = add_run(library)
    tasks = {task.id: task for task in claim(library, 2, run_id=run_id)}
    queue.finish(library, tasks[done])

    store.count_crash(library, run_id, now=NOW)

    assert states(library, [done, claimed]) == [(TaskStatus.DONE, 0), (TaskStatus.TODO, 1)]


def test_kills_and_power_failures_count_no_crash(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    for _ in range(4):
        run_id = add_run(library)
        claim(library, run_id=run_id)
        queue.sweep(library, now=NOW, dead_runs=[run_id])

    assert states(library, [task_id]) == [(TaskStatus.TODO, 0)]


def test_task_is_a_suspect_after_two_crashes_and_claimed_alone(library, video_id):
    ids = add_tasks(library, video_id, 3)
    crash(library, limit=2)
    assert store.count_suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 0
    crash(library, limit=1)

    assert store.count_suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 1
    claimed = claim(library, 5, min_crashes=store.SUSPECT_CRASHES)
    assert [task.id for task in claimed] == ids[:1]
    assert store.count_suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 1, "until it is settled"
    queue.finish(library, claimed[0])
    assert store.count_suspects(library, [TaskKind.DESCRIBE], pass_=DEEP) == 0


def test_claimed_extraction_without_crashes_is_not_a_suspect(library, video_id):
    assert claim_extraction(library, video_id).kind is TaskKind.EXTRACT
    assert store.count_suspects(library, [TaskKind.EXTRACT], pass_=DEEP) == 0
