"""The queue: what each function does to a task, on one connection (`test_queue_race` has many processes)."""

from datetime import timedelta

import pytest
from sqlalchemy import event, func, insert, select, update

from db import queue
from db.engine import writing
from db.models import DEEP, QUICK, Frame, Task, TaskKind, TaskStatus, Video
from db.queue import LeaseLostError
from tests.db.library import LATER, NOW, add, add_run, add_tasks, claim, claim_frame, extract, fail

SECOND = timedelta(seconds=1)


@pytest.fixture
def video_id(library):
    return add(library)


def state(library, task_id):
    return library.execute(select(Task.__table__).where(Task.id == task_id)).one()


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


# sweep


def test_expired_lease_counts_a_crash_not_an_attempt(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    claim(library)

    assert queue.sweep(library, now=NOW + timedelta(seconds=queue.LEASE_SECONDS)) == 0, "the last second counts"
    assert queue.sweep(library, now=LATER, counts_crash=True) == 1

    row = state(library, task_id)
    assert (row.status, row.crashes, row.attempts) == (TaskStatus.TODO, 1, 0)
    assert (row.lease_token, row.lease_until) == (None, None)
    assert claim(library)[0].crashes == 1, "the next claim shows the crash"


def test_expired_lease_after_a_kill_counts_no_crash(library, video_id):
    [task_id] = add_tasks(library, video_id, 1)
    claim(library)

    assert queue.sweep(library, now=LATER) == 1

    assert (state(library, task_id).status, state(library, task_id).crashes) == (TaskStatus.TODO, 0)


def test_sweep_returns_all_tasks_of_a_dead_run(library, video_id):
    dead, alive = add_run(library, 1), add_run(library, 2)
    add_tasks(library, video_id, 5)
    lost = claim(library, 2, run_id=dead)
    kept = claim(library, 2, run_id=alive)

    assert queue.sweep(library, now=NOW, dead_runs=[dead], counts_crash=True) == 2

    assert [state(library, task.id).crashes for task in [*lost, *kept]] == [1, 1, 0, 0]
    assert queue.renew(library, kept, now=NOW) == 2


def test_sweep_of_dead_runs_leaves_expired_leases_of_others(library, video_id):
    """A crash must not be counted for them, and their machine may have slept."""
    dead, alive = add_run(library, 1), add_run(library, 2)
    add_tasks(library, video_id, 2)
    lost = claim(library, run_id=dead, now=LATER)  # its lease has not expired
    kept = claim(library, run_id=alive)

    assert queue.sweep(library, now=LATER, dead_runs=[dead], counts_crash=True) == 1

    assert [state(library, task.id).crashes for task in [*lost, *kept]] == [1, 0]


def test_sweep_keeps_claims_of_living_holders(library, video_id):
    add_tasks(library, video_id, 3)
    living, dead, unknown = (claim(library, host=host)[0] for host in ("living", "dead", "unknown"))
    verdicts = {"living": True, "dead": False, "unknown": None}

    def is_alive(claimed):
        return verdicts[claimed.host]

    assert queue.sweep(library, now=NOW, is_alive=is_alive) == 1
    assert state(library, dead.id).status == TaskStatus.TODO
    assert queue.sweep(library, now=LATER, is_alive=is_alive) == 1
    assert state(library, unknown.id).status == TaskStatus.TODO
    assert state(library, living.id).status == TaskStatus.DOING


def test_sweep_ignores_tasks_a_dead_run_had_settled(library, video_id):
    dead = add_run(library)
    done, failed, todo = add_tasks(library, video_id, 3)
    tasks = {task.id: task for task in claim(library, 3, run_id=dead)}
    queue.finish(library, tasks[done])
    queue.fail(library, tasks[failed], error="x", attempt_limit=1)
    queue.release(library, tasks[todo])

    assert queue.sweep(library, now=LATER, dead_runs=[dead]) == 0

    assert [state(library, task_id).status for task_id in (done, failed, todo)] == ["done", "failed", "todo"]


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
        row = state(library, task_id)
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

    assert (state(library, mine).status, state(library, mine).attempts, state(library, mine).crashes) == ("todo", 0, 0)
    assert state(library, mine).lease_token is None
    assert state(library, others).status == "doing"
