"""Tasks that become due again: leases that are swept, failed and postponed tasks, and those of a run that ends."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db import queue
from db.models import DEEP, Task, TaskKind, TaskStatus
from tests.db.library import LATER, NOW, add, add_run, add_tasks, claim, extract, row_of

# sweep


def test_expired_lease_counts_a_crash_not_an_attempt(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    claim(library)

    assert queue.sweep(library, now=NOW + timedelta(seconds=queue.LEASE_SECONDS)) == 0, "the last second counts"
    assert queue.sweep(library, now=LATER, counts_crash=True) == 1

    row = row_of(library, Task, task_id)
    assert (row.status, row.crashes, row.attempts) == (TaskStatus.TODO, 1, 0)
    assert (row.lease_token, row.lease_until) == (None, None)
    assert claim(library)[0].crashes == 1, "the next claim shows the crash"


def test_expired_lease_after_a_kill_counts_no_crash(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    claim(library)

    assert queue.sweep(library, now=LATER) == 1

    assert (row_of(library, Task, task_id).status, row_of(library, Task, task_id).crashes) == (TaskStatus.TODO, 0)


def test_sweep_returns_all_tasks_of_a_dead_run(library, video_id):
    dead, alive = add_run(library, 1), add_run(library, 2)
    add_tasks(library, video_id, 5)
    lost = claim(library, 2, run_id=dead)
    kept = claim(library, 2, run_id=alive)

    assert queue.sweep(library, now=NOW, dead_runs=[dead], counts_crash=True) == 2

    assert [row_of(library, Task, task.id).crashes for task in [*lost, *kept]] == [1, 1, 0, 0]
    assert queue.renew(library, kept, now=NOW) == 2


def test_sweep_of_dead_runs_leaves_expired_leases_of_others(library, video_id):
    """A crash must not be counted for them, and their machine may have slept."""
    dead, alive = add_run(library, 1), add_run(library, 2)
    add_tasks(library, video_id, 2)
    lost = claim(library, run_id=dead, now=LATER)  # its lease has not expired
    kept = claim(library, run_id=alive)

    assert queue.sweep(library, now=LATER, dead_runs=[dead], counts_crash=True) == 1

    assert [row_of(library, Task, task.id).crashes for task in [*lost, *kept]] == [1, 0]


def test_sweep_keeps_claims_of_living_holders(library, video_id):
    add_tasks(library, video_id, 3)
    living, dead, unknown = (claim(library, host=host)[0] for host in ("living", "dead", "unknown"))
    verdicts = {"living": True, "dead": False, "unknown": None}

    def is_alive(claimed):
        return verdicts[claimed.host]

    assert queue.sweep(library, now=NOW, is_alive=is_alive) == 1
    assert row_of(library, Task, dead.id).status == TaskStatus.TODO
    assert queue.sweep(library, now=LATER, is_alive=is_alive) == 1
    assert row_of(library, Task, unknown.id).status == TaskStatus.TODO
    assert row_of(library, Task, living.id).status == TaskStatus.DOING


def test_sweep_ignores_tasks_a_dead_run_had_settled(library, video_id):
    dead = add_run(library)
    done, failed, todo = add_tasks(library, video_id, 3)
    tasks = {task.id: task for task in claim(library, 3, run_id=dead)}
    queue.finish(library, tasks[done])
    queue.fail(library, tasks[failed], error="x", attempt_limit=1)
    queue.release(library, tasks[todo])

    assert queue.sweep(library, now=LATER, dead_runs=[dead]) == 0

    assert [row_of(library, Task, task_id).status for task_id in (done, failed, todo)] == ["done", "failed", "todo"]


# retry, make_due


@pytest.fixture
def failed(library):
    """Three failed tasks: two of the first video, one of them with a frame, and one of the second video."""
    first, second = add(library, "first"), add(library, "second")
    [frame_id] = extract(library, first, 1)
    [empty, broken] = [*add_tasks(library, first, 1), *add_tasks(library, second, 1)]
    of_frame = library.execute(select(Task.id).where(Task.frame_id == frame_id)).scalar_one()
    reasons = {empty: "reply was EMPTY", broken: "image is 100% broken", of_frame: "the call took too long"}
    for task in claim(library, 3):
        queue.fail(library, task, error=reasons[task.id], attempt_limit=1)
    library.execute(update(Task).values(crashes=2))
    return {"first": first, "second": second, "frame_id": frame_id, "tasks": (empty, broken, of_frame)}


def retried(library, **which):
    count = queue.retry(library, **which)
    due = {task.id for task in claim(library, 9)}
    assert len(due) == count
    return due


def test_retry_resets_every_failed_task(library, failed):
    assert retried(library) == set(failed["tasks"])
    for task_id in failed["tasks"]:
        row = row_of(library, Task, task_id)
        assert (row.attempts, row.crashes, row.error) == (0, 0, None)


def test_retry_by_video(library, failed):
    assert retried(library, video_id=failed["second"]) == {failed["tasks"][1]}


def test_retry_by_frame(library, failed):
    assert retried(library, frame_id=failed["frame_id"]) == {failed["tasks"][2]}


@pytest.mark.parametrize(
    ("reason", "which"), [("empty", [0]), ("100%", [1]), ("%", [1]), ("took_too", []), ("the", [2])]
)
def test_retry_by_reason_matches_literally(library, failed, reason, which):
    assert retried(library, reason=reason) == {failed["tasks"][number] for number in which}


def test_retry_leaves_done_tasks_alone(library, video_id):
    add_tasks(library, video_id, 1)
    queue.finish(library, claim(library)[0])

    assert queue.retry(library) == 0


def test_make_due_affects_postponed_tasks_of_one_kind(library, video_id):
    other = add(library, "other")
    mine, theirs = (add_tasks(library, video, 1, not_before=LATER)[0] for video in (video_id, other))
    library.execute(update(Task).where(Task.kind == TaskKind.EXTRACT).values(not_before=LATER))

    assert queue.make_due(library, kind=TaskKind.DESCRIBE, video_ids=[video_id]) == 1
    assert [task.id for task in claim(library, 9)] == [mine]

    assert queue.make_due(library, kind=TaskKind.DESCRIBE) == 1
    assert [task.id for task in claim(library, 9)] == [theirs]
    assert claim(library, 9, kind=TaskKind.EXTRACT, pass_="") == []


# release_run


def test_ending_run_releases_its_tasks_without_counting_an_attempt(library, video_id):
    [mine, others] = add_tasks(library, video_id, 2)
    run, other_run = add_run(library), add_run(library)
    for run_id in (run, other_run):
        queue.claim(library, queue.TaskFilter(TaskKind.DESCRIBE, DEEP), run_id=run_id, host="here", limit=1, now=NOW)

    assert queue.release_run(library, run) == 1

    row = row_of(library, Task, mine)
    assert (row.status, row.attempts, row.crashes, row.lease_token) == ("todo", 0, 0, None)
    assert row_of(library, Task, others).status == "doing"
