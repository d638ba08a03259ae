"""The task queue: claim, renew, finish, fail, release, sweep.

States of a task and the functions that change them:

    todo ──claim──► doing ──finish──► done
      ▲               │──fail──► todo (attempts + 1, due again at not_before), or failed at the last attempt
      │               │──release──► todo (not an attempt: the worker stopped, or the host was at fault)
      └────sweep──────┘  the claim is abandoned (crashes + 1 if the worker is known to have crashed)
    failed ──retry──► todo (attempts = 0)
    any ──take_over──► doing ──finish──► done, in one transaction: a person asked for this frame

A claim holds a lease of LEASE_SECONDS, which its worker renews. Every claim has its own token, and renew, finish, fail
and release only update the row `WHERE lease_token = :token`. A worker that lost its lease therefore changes nothing and
gets a LeaseLostError. A claim names its holder, the process that made it, so that a sweep can tell an abandoned claim
from one whose machine slept. Every function runs in its caller's transaction; `now` is an argument.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, and_, case, exists, insert, or_, select, true, update

from db.models import Task, TaskKind, TaskStatus

LEASE_SECONDS = 90
ATTEMPT_LIMIT = 3
MAX_BACKOFF = timedelta(minutes=10)  # no task is postponed for longer


class LeaseLostError(Exception):
    """The task is no longer ours: it was swept, removed, or finished by another worker."""


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A claimed task. `token` identifies the claim."""

    id: int
    kind: TaskKind
    pass_: str
    video_id: int
    frame_id: int | None
    payload: dict[str, Any] | None
    priority: int
    attempts: int
    crashes: int
    token: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a claim. `host` is the holder's process identity as text (`db.runs.ProcessIdentity`)."""

    token: str
    run_id: int | None
    host: str | None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to claim. None means no limit."""

    kind: TaskKind
    pass_: str = ""
    video_ids: Collection[int] | None = None
    below_priority: int | None = None  # only tasks of a lower priority
    min_crashes: int = 0  # only tasks that were claimed during this many crashes


def claim(
    connection: Connection,
    wanted: TaskFilter,
    *,
    run_id: int | None,
    host: str,
    limit: int,
    now: datetime,
) -> list[ClaimedTask]:
    """Claim up to `limit` due tasks, by priority, then by age. One statement on every database.

    `host` is the identity of the claiming process as text: see `Claim`.
    """
    ready: ColumnElement[bool] = and_(
        Task.status == TaskStatus.TODO,
        Task.kind == wanted.kind,
        Task.pass_ == wanted.pass_,
        # A task postponed for longer than MAX_BACKOFF was postponed before the clock was set back: it is due.
        or_(Task.not_before.is_(None), Task.not_before <= now, Task.not_before > now + MAX_BACKOFF),
        Task.video_id.in_(wanted.video_ids) if wanted.video_ids is not None else true(),
        Task.priority < wanted.below_priority if wanted.below_priority is not None else true(),
        Task.crashes >= wanted.min_crashes if wanted.min_crashes else true(),
    )
    due = (
        select(Task.id)
        .where(ready)
        .order_by(Task.priority.desc(), Task.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    token = uuid.uuid4().hex
    statement = (
        update(Task)
        .where(Task.id.in_(select(due.c.id)))
        .values(
            status=TaskStatus.DOING,
            run_id=run_id,
            host=host,
            lease_token=token,
            lease_until=now + timedelta(seconds=LEASE_SECONDS),
            not_before=None,
        )
        .returning(
            Task.id,
            Task.kind,
            Task.pass_,
            Task.video_id,
            Task.frame_id,
            Task.payload,
            Task.priority,
            Task.attempts,
            Task.crashes,
        )
        .execution_options(synchronize_session=False)
    )
    tasks = [
        ClaimedTask(
            id=row.id,
            kind=TaskKind(row.kind),
            pass_=row[2],
            video_id=row.video_id,
            frame_id=row.frame_id,
            payload=row.payload,
            priority=row.priority,
            attempts=row.attempts,
            crashes=row.crashes,
            token=token,
        )
        for row in connection.execute(statement)
    ]
    return sorted(tasks, key=lambda task: (-task.priority, task.id))  # RETURNING guarantees no order


def take_over(
    connection: Connection, *, video_id: int, frame_id: int, pass_: str, host: str, now: datetime
) -> ClaimedTask:
    """Claim the task of a frame whatever its status, also from another worker; create it if there is none.

    Call it in the transaction that finishes the task. The other worker's result is then rejected by its token.
    """
    values: dict[str, Any] = {"status": TaskStatus.DOING, "run_id": None, "host": host, "not_before": None}
    values |= {"lease_token": uuid.uuid4().hex, "lease_until": now + timedelta(seconds=LEASE_SECONDS)}
    is_task = (Task.kind == TaskKind.DESCRIBE, Task.frame_id == frame_id, Task.pass_ == pass_)
    if not _changed(connection, update(Task).where(*is_task).values(**values)):
        new = {"kind": TaskKind.DESCRIBE, "pass": pass_, "video_id": video_id, "frame_id": frame_id}
        connection.execute(insert(Task), [{**new, **values}])
    row = connection.execute(select(Task.__table__).where(*is_task)).one()
    return ClaimedTask(
        id=row.id,
        kind=TaskKind.DESCRIBE,
        pass_=pass_,
        video_id=video_id,
        frame_id=frame_id,
        payload=row.payload,
        priority=row.priority,
        attempts=row.attempts,
        crashes=row.crashes,
        token=row.lease_token,
    )


def renew(connection: Connection, tasks: Sequence[ClaimedTask], *, now: datetime) -> int:
    """Renew the leases of `tasks`; returns how many are still ours."""
    if not tasks:
        return 0
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, Task.lease_token.in_({task.token for task in tasks}))
        .where(Task.id.in_([task.id for task in tasks]))
        .values(lease_until=now + timedelta(seconds=LEASE_SECONDS))
    )
    return _changed(connection, statement)


def finish(connection: Connection, task: ClaimedTask) -> None:
    """Mark `task` done. Call it in the transaction that saves the result: a LeaseLostError must roll that back."""
    _settle(connection, task, status=TaskStatus.DONE, error=None)


def fail(
    connection: Connection,
    task: ClaimedTask,
    *,
    error: str,
    not_before: datetime | None = None,
    attempt_limit: int = ATTEMPT_LIMIT,
) -> TaskStatus:
    """Count a failed attempt. Returns the new status: todo, or failed at the limit. Raises LeaseLostError."""
    attempts = Task.attempts + 1  # of the row, not of `task`: attempts may have been refunded since the claim
    status = case((attempts >= attempt_limit, TaskStatus.FAILED), else_=TaskStatus.TODO)
    _settle(connection, task, status=status, error=error, attempts=attempts, not_before=not_before)
    return TaskStatus(connection.execute(select(Task.status).where(Task.id == task.id)).scalar_one())


def release(
    connection: Connection, task: ClaimedTask, *, reason: str | None = None, not_before: datetime | None = None
) -> None:
    """Return `task` to todo without counting an attempt; `reason` is what it waits for. Raises LeaseLostError."""
    _settle(connection, task, status=TaskStatus.TODO, error=reason, not_before=not_before)


def release_run(connection: Connection, run_id: int) -> int:
    """Return all tasks a run still holds to todo when it ends, without counting attempts. Returns how many."""
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, Task.run_id == run_id)
        .values(status=TaskStatus.TODO, lease_token=None, lease_until=None)
    )
    return _changed(connection, statement)


def refund_attempts(connection: Connection, task_ids: Collection[int]) -> int:
    """Subtract one attempt from each task, because its host was at fault. Returns how many were changed.

    Failed tasks become todo. A task that was claimed again in the meantime stays claimed, one that is done stays done.
    """
    status = case((Task.status == TaskStatus.FAILED, TaskStatus.TODO), else_=Task.status)
    statement = (
        update(Task).where(Task.id.in_(task_ids), Task.attempts > 0).values(attempts=Task.attempts - 1, status=status)
    )
    return _changed(connection, statement) if task_ids else 0


def sweep(
    connection: Connection,
    *,
    now: datetime,
    is_alive: Callable[[Claim], bool | None] = lambda _: None,
    dead_runs: Collection[int] = (),
    counts_crash: bool = False,
) -> int:
    """Return tasks of abandoned claims to todo. Returns how many.

    `is_alive` judges the holder of a claim. A live holder keeps its tasks even if their leases have expired, because
    its machine may have slept and it will renew them; the tasks of a dead one return at once; None: the lease decides.
    With `dead_runs`, all tasks of these runs return, and no others. `counts_crash`: the worker is known to have
    crashed, not to have been killed or to have lost power.
    """
    lost: ColumnElement[bool]
    if dead_runs:
        lost = Task.run_id.in_(dead_runs)
    else:
        verdicts = {claim.token: is_alive(claim) for claim in _claims(connection)}
        alive = [token for token, verdict in verdicts.items() if verdict is True]
        dead = [token for token, verdict in verdicts.items() if verdict is False]
        lost = or_(and_(Task.lease_until < now, Task.lease_token.not_in(alive)), Task.lease_token.in_(dead))
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, lost)
        .values(status=TaskStatus.TODO, crashes=Task.crashes + counts_crash, lease_token=None, lease_until=None)
    )
    return _changed(connection, statement)


def is_claimed(connection: Connection, kind: TaskKind, video_ids: Collection[int] | None = None) -> bool:
    """Whether a task of this kind is being worked on."""
    is_wanted = (
        Task.status == TaskStatus.DOING,
        Task.kind == kind,
        Task.video_id.in_(video_ids) if video_ids is not None else true(),
    )
    return bool(connection.scalar(select(exists().where(*is_wanted))))


def retry(
    connection: Connection,
    *,
    video_id: int | None = None,
    reason: str | None = None,
    frame_id: int | None = None,
) -> int:
    """Return failed tasks to todo: all, or those of a video, of a frame, or with `reason` in their error. How many."""
    statement = update(Task).where(Task.status == TaskStatus.FAILED)
    if video_id is not None:
        statement = statement.where(Task.video_id == video_id)
    if frame_id is not None:
        statement = statement.where(Task.frame_id == frame_id)
    if reason:
        statement = statement.where(Task.error.icontains(reason, autoescape=True))
    return _changed(
        connection,
        statement.values(status=TaskStatus.TODO, attempts=0, crashes=0, not_before=None, error=None),
    )


def make_due(connection: Connection, *, kind: TaskKind, video_ids: Collection[int] | None = None) -> int:
    """Make postponed tasks due now. Returns how many."""
    statement = update(Task).where(Task.status == TaskStatus.TODO, Task.kind == kind, Task.not_before.is_not(None))
    if video_ids is not None:
        statement = statement.where(Task.video_id.in_(video_ids))
    return _changed(connection, statement.values(not_before=None))


def _claims(connection: Connection) -> list[Claim]:
    holders = select(Task.lease_token, Task.run_id, Task.host).where(Task.status == TaskStatus.DOING).distinct()
    return [Claim(row.lease_token, row.run_id, row.host) for row in connection.execute(holders)]


def _settle(connection: Connection, task: ClaimedTask, **values: Any) -> None:
    statement = (
        update(Task)
        .where(Task.id == task.id, Task.lease_token == task.token, Task.status == TaskStatus.DOING)
        .values(lease_token=None, lease_until=None, **values)
    )
    if _changed(connection, statement) != 1:
        raise LeaseLostError(f"the lease of task {task.id} was lost")


def _changed(connection: Connection, statement: Any) -> int:
    statement = statement.execution_options(synchronize_session=False)
    return cast("CursorResult[Any]", connection.execute(statement)).rowcount
