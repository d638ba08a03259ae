"""The queue: claim, renew, finish, fail, release, sweep.

States of a task, and what moves it:

    todo ──claim──► doing ──finish──► done
      ▲               │──fail──► todo (attempts + 1, not before …), failed at the last attempt
      │               │──release──► todo (nothing counted: stopped, or the host was to blame)
      └────sweep──────┘  the lease ran out, or its run is dead (crashes + 1 if the worker was seen to crash)
    failed ──retry──► todo (attempts = 0)
    any ──take_over──► doing ──finish──► done, within one transaction: a person asked for it

Every claim carries a token of its own, and renew, finish, fail and release take effect only `WHERE lease_token =
:token`: a worker that was thought dead and comes back late changes nothing and is told so. Every function takes part
in its caller's transaction; `now` is an argument.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, and_, case, insert, or_, select, true, update

from db.models import Task, TaskKind, TaskStatus

LEASE_SECONDS = 90
ATTEMPT_LIMIT = 3
LONGEST_PAUSE = timedelta(minutes=10)


class LeaseLostError(Exception):
    """The task is not ours any more: it was swept, removed, or finished by another."""


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A claimed task. `token` proves that it is ours."""

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


def claim(
    connection: Connection,
    *,
    kind: TaskKind,
    run_id: int | None,
    host: str,
    limit: int,
    now: datetime,
    pass_: str = "",
    video_ids: Collection[int] | None = None,
    below: int | None = None,
    least_crashes: int = 0,
    lease_seconds: float = LEASE_SECONDS,
) -> list[ClaimedTask]:
    """Claim up to `limit` due tasks, highest priority first, then oldest: one statement on every database.

    `below`: only of priorities less than this. `least_crashes`: only those in hand at so many crashes.
    """
    ready: ColumnElement[bool] = and_(
        Task.status == TaskStatus.TODO,
        Task.kind == kind,
        Task.pass_ == pass_,
        # One that is to wait longer than any pause was postponed before the clock was set back.
        or_(Task.not_before.is_(None), Task.not_before <= now, Task.not_before > now + LONGEST_PAUSE),
        Task.video_id.in_(video_ids) if video_ids is not None else true(),
        Task.priority < below if below is not None else true(),
        Task.crashes >= least_crashes if least_crashes else true(),
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
            lease_until=now + timedelta(seconds=lease_seconds),
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
    jobs = [
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
    return sorted(jobs, key=lambda job: (-job.priority, job.id))  # RETURNING promises no order


def take_over(
    connection: Connection, *, video_id: int, frame_id: int, pass_: str, host: str, now: datetime
) -> ClaimedTask:
    """Claim the task of a frame for what a person asked for, whatever its status and whoever has it in hand.

    It is made if there is none. Meant for the transaction that finishes it: what another says of it later is dropped.
    """
    values: dict[str, Any] = {"status": TaskStatus.DOING, "run_id": None, "host": host, "not_before": None}
    values |= {"lease_token": uuid.uuid4().hex, "lease_until": now + timedelta(seconds=LEASE_SECONDS)}
    is_its = (Task.kind == TaskKind.DESCRIBE, Task.frame_id == frame_id, Task.pass_ == pass_)
    if not _changed(connection, update(Task).where(*is_its).values(**values)):
        new = {"kind": TaskKind.DESCRIBE, "pass": pass_, "video_id": video_id, "frame_id": frame_id}
        connection.execute(insert(Task), [{**new, **values}])
    row = connection.execute(select(Task.__table__).where(*is_its)).one()
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


def renew(
    connection: Connection, jobs: Sequence[ClaimedTask], *, now: datetime, lease_seconds: float = LEASE_SECONDS
) -> int:
    """Push the leases of `jobs` on; how many are still ours."""
    if not jobs:
        return 0
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, Task.lease_token.in_({job.token for job in jobs}))
        .where(Task.id.in_([job.id for job in jobs]))
        .values(lease_until=now + timedelta(seconds=lease_seconds))
    )
    return _changed(connection, statement)


def finish(connection: Connection, job: ClaimedTask) -> None:
    """Mark `job` done, in the transaction that saves its result. Raises LeaseLostError, which must roll it back."""
    _settle(connection, job, status=TaskStatus.DONE, error=None)


def fail(
    connection: Connection,
    job: ClaimedTask,
    *,
    error: str,
    not_before: datetime | None = None,
    attempt_limit: int = ATTEMPT_LIMIT,
) -> TaskStatus:
    """Count a failed attempt: back to todo, or failed for good at the limit; which of the two is returned."""
    attempts = Task.attempts + 1  # the row's, not the job's: some may have been given back since the claim
    status = case((attempts >= attempt_limit, TaskStatus.FAILED), else_=TaskStatus.TODO)
    _settle(connection, job, status=status, error=error, attempts=attempts, not_before=not_before)
    return TaskStatus(connection.execute(select(Task.status).where(Task.id == job.id)).scalar_one())


def release(
    connection: Connection, job: ClaimedTask, *, reason: str | None = None, not_before: datetime | None = None
) -> None:
    """Give `job` back as if it had not been claimed; `reason` says what it waits for."""
    _settle(connection, job, status=TaskStatus.TODO, error=reason, not_before=not_before)


def release_run(connection: Connection, run_id: int) -> int:
    """Give back all that a run still holds, nothing counted, as its last act. How many."""
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, Task.run_id == run_id)
        .values(status=TaskStatus.TODO, lease_token=None, lease_until=None)
    )
    return _changed(connection, statement)


def give_back_attempts(connection: Connection, task_ids: Collection[int]) -> int:
    """Take one counted attempt back from each: their host was to blame. Failed ones are due again.

    One that has been claimed again meanwhile stays claimed.
    """
    status = case((Task.status == TaskStatus.FAILED, TaskStatus.TODO), else_=Task.status)
    statement = (
        update(Task)
        .where(Task.id.in_(task_ids), Task.status != TaskStatus.DONE, Task.attempts > 0)
        .values(attempts=Task.attempts - 1, status=status)
    )
    return _changed(connection, statement) if task_ids else 0


def sweep(connection: Connection, *, now: datetime, dead_runs: Collection[int] = (), counts_crash: bool = False) -> int:
    """Put back what nobody works on any more: expired leases, and all that `dead_runs` held. How many.

    `counts_crash`: the worker was seen to crash, rather than killed or cut from its power.
    """
    lost = or_(Task.lease_until < now, Task.run_id.in_(dead_runs)) if dead_runs else Task.lease_until < now
    statement = (
        update(Task)
        .where(Task.status == TaskStatus.DOING, lost)
        .values(status=TaskStatus.TODO, crashes=Task.crashes + counts_crash, lease_token=None, lease_until=None)
    )
    return _changed(connection, statement)


def retry(
    connection: Connection,
    *,
    video_id: int | None = None,
    reason: str | None = None,
    frame_id: int | None = None,
) -> int:
    """Put failed tasks back, all or those of a video, a frame, or with `reason` in their error. How many."""
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


def wake(connection: Connection, *, kind: TaskKind, video_ids: Collection[int] | None = None) -> int:
    """Make waiting tasks due now, as at the start of a run. How many."""
    statement = update(Task).where(Task.status == TaskStatus.TODO, Task.kind == kind, Task.not_before.is_not(None))
    if video_ids is not None:
        statement = statement.where(Task.video_id.in_(video_ids))
    return _changed(connection, statement.values(not_before=None))


def _settle(connection: Connection, job: ClaimedTask, **values: Any) -> None:
    statement = (
        update(Task)
        .where(Task.id == job.id, Task.lease_token == job.token, Task.status == TaskStatus.DOING)
        .values(lease_token=None, lease_until=None, **values)
    )
    if _changed(connection, statement) != 1:
        raise LeaseLostError(f"task {job.id} is not ours any more")


def _changed(connection: Connection, statement: Any) -> int:
    statement = statement.execution_options(synchronize_session=False)
    return cast("CursorResult[Any]", connection.execute(statement)).rowcount
