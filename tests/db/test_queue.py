"""The queue: claims, leases and outcomes of tasks, on one connection (`test_queue_race` has many processes)."""

from datetime import timedelta

import pytest
from sqlalchemy import event, func, insert, select, update

from db import queue
from db.engine import writing
from db.models import DEEP, QUICK, Frame, Task, TaskKind, TaskStatus, Video
from db.queue import LeaseLostError
from tests.db.library import LATER, NOW, add, add_run, add_tasks, claim, claim_frame, extract, fail, row_of

SECOND = timedelta(seconds=1)


def state(library, task_id):
    return row_of(library, Task, task_id)


def take_over(library, video_id, frame_id):
    return queue.take_over(library, video_id=video_id, frame_id=frame_id, pass_=DEEP, host="here", now=NOW)


def lose(library, task):
    """Let a task lose its lease and be claimed again."""
    queue.sweep(library, now=LATER)
    [again] = claim(library, now=LATER)
    assert again.id == task.id
    return again


VERBS = {
    "finish": queue.finish,
    "fail": lambda library, task: queue.fail(library, task, error="late"),
    "release": queue.release,
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())


# take_over


def test_take_over_claims_a_task_of_any_status_from_its_owner(library, video_id):
    todo, doing, done, failed = extract(library, video_id, 4)
    queue.finish(library, claim_frame(library, done))
    fail(library, failed)
    theirs = claim_frame(library, doing)
    for frame_id in (todo, doing, done, failed):
        task = take_over(library, video_id, frame_id)
        assert state(library, task.id).status == TaskStatus.DOING
        queue.finish(library, task)
        row = state(library, task.id)
        assert (row.status, row.lease_token, row.run_id, row.error) == (TaskStatus.DONE, None, None, None)
    with pytest.raises(LeaseLostError):
        queue.finish(library, theirs)
    assert library.scalar(select(func.count()).where(Task.kind == TaskKind.DESCRIBE)) == 4


def test_take_over_creates_a_missing_task(library, video_id):
    [frame_id] = extract(library, video_id, 1, passes=())
    task = take_over(library, video_id, frame_id)
    assert (task.frame_id, task.pass_, task.attempts) == (frame_id, DEEP, 0)
    queue.finish(library, task)
    assert state(library, task.id).status == TaskStatus.DONE


# claim


def test_claim_order_is_priority_then_age(library, video_id):
    low = add_tasks(library, video_id, 2, priority=-1)
    normal = add_tasks(library, video_id, 2)
    high = add_tasks(library, video_id, 2, priority=5)

    together = [task.id for task in claim(library, 5)]

    assert together == [*high, *normal, low[0]]
    assert [task.id for task in claim(library, 5)] == [low[1]]


def test_single_claims_have_the_same_order(library, video_id):
    low = add_tasks(library, video_id, 1, priority=-1)
    high = add_tasks(library, video_id, 2, priority=5)

    assert [claim(library)[0].id for _ in range(3)] == [*high, *low]


def test_claim_is_one_statement_and_respects_its_limit(engine, library, video_id):
    add_tasks(library, video_id, 50)
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    tasks = claim(library, 7)

    assert len(tasks) == 7
    assert len(statements) == 1
    assert library.scalar(select(Task.id).where(Task.status == TaskStatus.DOING).offset(7)) is None, "no eighth task"


def test_claimed_tasks_are_not_claimed_again(library, video_id):
    add_tasks(library, video_id, 10)

    first, second = claim(library, 6), claim(library, 6)

    assert len(first) == 6
    assert len(second) == 4
    assert not {task.id for task in first} & {task.id for task in second}
    assert claim(library, 6) == []


def test_claim_records_its_owner_and_lease(library, video_id):
    run_id = add_run(library)
    [task_id] = add_tasks(library, video_id, 1, payload={"gap": 2}, priority=3)

    [task] = claim(library, run_id=run_id, host="gpu")

    row = state(library, task_id)
    assert (row.status, row.run_id, row.host, row.lease_token) == (TaskStatus.DOING, run_id, "gpu", task.token)
    assert row.lease_until == NOW + timedelta(seconds=queue.LEASE_SECONDS)
    assert (task.payload, task.priority, task.kind, task.pass_) == ({"gap": 2}, 3, TaskKind.DESCRIBE, DEEP)


def test_each_claim_has_its_own_token(library, video_id):
    add_tasks(library, video_id, 2)

    assert claim(library)[0].token != claim(library)[0].token


def test_task_is_not_due_before_not_before(library, video_id):
    [task_id] = add_tasks(library, video_id, 1, not_before=NOW)

    assert claim(library, now=NOW - SECOND) == []
    assert [task.id for task in claim(library, now=NOW)] == [task_id]


def test_claim_is_limited_to_a_kind_and_a_pass(library, video_id):
    [quick] = add_tasks(library, video_id, 1, pass_=QUICK)
    [deep] = add_tasks(library, video_id, 1, pass_=DEEP)

    assert [task.id for task in claim(library, 9, pass_=QUICK)] == [quick]
    assert [task.id for task in claim(library, 9, pass_=DEEP)] == [deep]
    assert [task.kind for task in claim(library, 9, kind=TaskKind.EXTRACT, pass_="")] == [TaskKind.EXTRACT]


def test_claim_is_limited_to_videos(library, video_id):
    other = add(library, "birthday")
    add_tasks(library, video_id, 1, priority=9)
    [theirs] = add_tasks(library, other, 1)

    assert claim(library, 9, video_ids=[]) == []
    assert [task.id for task in claim(library, 9, video_ids=[other])] == [theirs]


@pytest.mark.parametrize("only_one_video", [False, True])
def test_claim_among_100_000_tasks_uses_its_index_and_sorts_nothing(engine, library, video_id, only_one_video):
    add_tasks(library, video_id, 50_000)
    add_tasks(library, video_id, 50_000, pass_=QUICK)
    plan = []

    def explain(connection, _cursor, statement, parameters, *_):
        raw = connection.connection.dbapi_connection
        plan.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(engine, "before_cursor_execute", explain)
    assert len(claim(library, 20, video_ids=[video_id] if only_one_video else None)) == 20

    assert any("INDEX ix_tasks_claim (status=? AND kind=? AND pass=?)" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan
    assert not any("SCAN tasks" in line for line in plan), plan


# leases


def test_lease_is_renewed_only_by_its_owner(library, video_id):
    add_tasks(library, video_id, 2)
    mine, lost = claim(library, 2)
    library.execute(update(Task).where(Task.id == lost.id).values(lease_token="another's"))  # noqa: S106 not a secret

    assert queue.renew(library, [mine, lost], now=LATER) == 1

    assert state(library, mine.id).lease_until == LATER + timedelta(seconds=queue.LEASE_SECONDS)
    assert state(library, lost.id).lease_until == NOW + timedelta(seconds=queue.LEASE_SECONDS)


def test_renewed_lease_is_not_swept(library, video_id):
    add_tasks(library, video_id, 1)
    tasks = claim(library)

    queue.renew(library, tasks, now=NOW + 60 * SECOND)

    assert queue.sweep(library, now=LATER) == 0


def test_renewing_no_tasks_renews_none(library):
    assert queue.renew(library, [], now=NOW) == 0


def test_renewing_a_settled_task_does_nothing(library, video_id):
    add_tasks(library, video_id, 1)
    [task] = claim(library)
    queue.finish(library, task)

    assert queue.renew(library, [task], now=NOW) == 0
    assert state(library, task.id).lease_until is None


@verbs
def test_lost_lease_raises_and_changes_nothing(library, video_id, verb):
    add_tasks(library, video_id, 1)
    [late] = claim(library)
    owner = lose(library, late)
    before = state(library, late.id)

    with pytest.raises(LeaseLostError):
        verb(library, late)

    assert state(library, late.id) == before
    queue.finish(library, owner)


@verbs
def test_lost_lease_raises_even_if_nobody_claimed_the_task_again(library, video_id, verb):
    add_tasks(library, video_id, 1)
    [late] = claim(library)
    queue.sweep(library, now=LATER)

    with pytest.raises(LeaseLostError):
        verb(library, late)

    assert state(library, late.id).status == TaskStatus.TODO


@verbs
def test_task_is_settled_once(library, video_id, verb):
    add_tasks(library, video_id, 1)
    [task] = claim(library)
    queue.finish(library, task)

    with pytest.raises(LeaseLostError):
        verb(library, task)


@verbs
def test_result_of_a_removed_task_is_refused(library, video_id, verb):
    add_tasks(library, video_id, 1)
    [task] = claim(library)
    library.execute(Video.__table__.delete().where(Video.id == video_id))

    with pytest.raises(LeaseLostError):
        verb(library, task)


@verbs
def test_result_of_a_late_worker_is_rolled_back(engine, verb):
    with writing(engine) as library:
        [frame_id] = extract(library, add(library), 1)
        [late] = claim(library)
        lose(library, late)

    def save_late():
        with writing(engine) as library:
            library.execute(update(Frame).where(Frame.id == frame_id).values(local_description="too late"))
            library.execute(insert(Task).values(kind=TaskKind.EXTRACT, video_id=1))
            verb(library, late)

    with pytest.raises(LeaseLostError):
        save_late()

    with writing(engine) as library:
        assert library.scalar(select(Frame.local_description)) is None
        assert len(library.execute(select(Task.id)).all()) == 2


# finish, fail, release


def test_finished_task_is_done_and_holds_no_lease(library, video_id):
    add_tasks(library, video_id, 1)
    [task] = claim(library)

    queue.finish(library, task)

    row = state(library, task.id)
    assert (row.status, row.lease_token, row.lease_until, row.error) == (TaskStatus.DONE, None, None, None)
    assert claim(library, now=LATER) == []


def test_task_fails_at_the_third_attempt(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    became = []
    for attempt in range(3):
        [task] = claim(library)
        assert task.attempts == attempt
        became.append(queue.fail(library, task, error=f"bad reply {attempt + 1}"))

    assert became == [TaskStatus.TODO, TaskStatus.TODO, TaskStatus.FAILED]
    row = state(library, task_id)
    assert (row.status, row.attempts, row.error, row.lease_token) == (TaskStatus.FAILED, 3, "bad reply 3", None)
    assert claim(library, now=LATER) == []


def test_failed_attempt_backs_off_before_the_next(library, video_id):
    add_tasks(library, video_id, 1)
    [task] = claim(library)

    queue.fail(library, task, error="bad", not_before=NOW + 10 * SECOND)

    assert claim(library, now=NOW + 9 * SECOND) == []
    assert len(claim(library, now=NOW + 10 * SECOND)) == 1


def test_released_task_counts_no_attempt_and_has_its_reason(library, video_id):
    add_tasks(library, video_id, 1)
    [task] = claim(library)

    queue.release(library, task, reason="the drive is unplugged", not_before=NOW + SECOND)

    row = state(library, task.id)
    assert (row.status, row.attempts, row.crashes) == (TaskStatus.TODO, 0, 0)
    assert row.error == "the drive is unplugged"
    assert claim(library, now=NOW) == []
    assert len(claim(library, now=NOW + SECOND)) == 1


# refund_attempts


def test_refunded_attempt_makes_a_failed_task_due_again(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    for _ in range(3):
        queue.fail(library, claim(library)[0], error="host error")

    assert queue.refund_attempts(library, [task_id]) == 1

    assert (state(library, task_id).status, state(library, task_id).attempts) == (TaskStatus.TODO, 2)
    assert len(claim(library)) == 1


def test_refund_affects_only_the_given_tasks_and_never_goes_below_zero(library, video_id):
    failed, fresh, other = add_tasks(library, video_id, 3)
    tasks = {task.id: task for task in claim(library, 3)}
    queue.fail(library, tasks[failed], error="x")
    queue.release(library, tasks[fresh])
    queue.fail(library, tasks[other], error="x")

    assert queue.refund_attempts(library, [failed, fresh]) == 1
    assert queue.refund_attempts(library, []) == 0

    assert [state(library, task_id).attempts for task_id in (failed, fresh, other)] == [0, 0, 1]


def test_refund_leaves_claimed_tasks_claimed_and_done_tasks_done(library, video_id):
    doing, done = add_tasks(library, video_id, 2, attempts=1)
    tasks = {task.id: task for task in claim(library, 2)}
    queue.finish(library, tasks[done])

    assert queue.refund_attempts(library, [doing, done]) == 2

    assert (state(library, doing).status, state(library, doing).attempts) == (TaskStatus.DOING, 0)
    assert (state(library, done).status, state(library, done).attempts) == (TaskStatus.DONE, 0)


def test_attempt_refunded_while_claimed_does_not_fail_the_task(library, video_id):
    [task_id] = add_tasks(library, video_id, 1, attempts=2)
    [task] = claim(library)
    queue.refund_attempts(library, [task_id])

    assert queue.fail(library, task, error="x") is TaskStatus.TODO

    assert state(library, task_id).attempts == 2
