"""Claude batches of the quick pass: what was sent, as which batch, and which results are saved. Each batch is a task.

    intent (no batch id) ──record_sent──► sent ──record_part for each part──► finish: done
      └──discard──► deleted: it never arrived, so its frames may be sent again

Its money and its images are reserved (`db.reservations`) from the transaction of the intent until each part is saved.
The intent is committed before the request is sent and the batch id right after it, so that a process killed in between
can be told from one that never sent anything. The results of a part and the note that they are saved are committed in
one transaction: a part is saved exactly once. Every function runs in its caller's transaction; `now` is an argument.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, true, update

from db import queue, reservations
from db.models import QUICK, Task, TaskKind, TaskStatus
from db.runs import ProcessIdentity

OPEN = (TaskStatus.TODO, TaskStatus.DOING)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as stored in its task. `parts`: by custom id of the request, the input tokens of each image by label."""

    model: str
    prompt_version: str
    context: str
    language: str
    usd: float  # expected
    created_at: str  # ISO 8601, just before sending
    sender: dict[str, Any]  # the sending process: fields of ProcessIdentity
    parts: dict[str, dict[str, int]]
    batch_id: str | None = None
    is_sending: bool = True  # without an id: its sender is still at it, if that process is alive
    saved: list[str] = field(default_factory=list)  # custom ids of saved parts
    problems: dict[str, str] = field(default_factory=dict)  # by label: why there is no result

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.created_at)

    @property
    def sent_by(self) -> ProcessIdentity:
        return ProcessIdentity(**self.sender)

    @property
    def frame_ids(self) -> list[int]:
        """The frames whose results are not saved yet."""
        return [
            reservations.frame_of(label)
            for name, labels in self.parts.items()
            if name not in self.saved
            for label in labels
        ]


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch with its task and its video."""

    task_id: int
    video_id: int
    status: TaskStatus
    batch: Batch


def begin(connection: Connection, video_id: int, batch: Batch, *, not_before: datetime) -> int:
    """Record that a batch is about to be sent; returns its task id. Nothing else claims it before `not_before`."""
    values = {"kind": TaskKind.BATCH, "pass": QUICK, "video_id": video_id, "payload": asdict(batch)}
    statement = insert(Task).returning(Task.id)
    return int(connection.execute(statement, {**values, "not_before": not_before}).scalar_one())


def record_sent(connection: Connection, task_id: int, batch_id: str) -> None:
    """Record the id of a sent batch; from now on any process may claim it."""
    _change(connection, task_id, batch_id=batch_id)
    connection.execute(update(Task).where(Task.id == task_id, Task.status == TaskStatus.TODO).values(not_before=None))


def hand_over(connection: Connection, task_id: int) -> None:
    """Record that the sender does not know whether the batch arrived: another process has to find out."""
    _change(connection, task_id, is_sending=False)


def discard(connection: Connection, task_id: int) -> None:
    """Delete a batch that never arrived. The caller releases what it had reserved."""
    connection.execute(delete(Task).where(Task.id == task_id, Task.kind == TaskKind.BATCH))


def claim(
    connection: Connection, *, run_id: int | None, host: str, now: datetime, video_ids: Collection[int] | None = None
) -> queue.ClaimedTask | None:
    """Claim the task of the next batch; None if none is due."""
    wanted = queue.TaskFilter(TaskKind.BATCH, QUICK, video_ids)
    tasks = queue.claim(connection, wanted, run_id=run_id, host=host, limit=1, now=now)
    return tasks[0] if tasks else None


def batch_of(task: queue.ClaimedTask) -> Batch:
    """The batch of a claimed task."""
    return Batch(**(task.payload or {}))


def identify(connection: Connection, task: queue.ClaimedTask, batch_id: str) -> None:
    """Record the id of a batch that was found to have arrived. Raises LeaseLostError."""
    _require(connection, task)
    _change(connection, task.id, batch_id=batch_id)


def record_part(
    connection: Connection, task: queue.ClaimedTask, custom_id: str, problems: Mapping[str, str], *, now: datetime
) -> bool:
    """Record that this transaction saves the results of a part; False if saved before. Raises LeaseLostError."""
    _require(connection, task, now=now)
    batch = Batch(**connection.execute(select(Task.payload).where(Task.id == task.id)).scalar_one())
    if custom_id in batch.saved:
        return False
    _change(connection, task.id, saved=[*batch.saved, custom_id], problems={**batch.problems, **problems})
    return True


def finish(connection: Connection, task: queue.ClaimedTask, problems: Mapping[str, str] | None = None) -> None:
    """Mark a batch done; `problems`: by label, why there is no result. Raises LeaseLostError."""
    queue.finish(connection, task)
    if problems:
        batch = Batch(**connection.execute(select(Task.payload).where(Task.id == task.id)).scalar_one())
        _change(connection, task.id, problems={**problems, **batch.problems})


def open_batches(connection: Connection, video_ids: Collection[int] | None = None) -> list[BatchRow]:
    """The unfinished batches, oldest first."""
    return _rows(connection, Task.status.in_(OPEN), video_ids)


def batch(connection: Connection, task_id: int) -> BatchRow | None:
    """One batch in any state; None if it was deleted."""
    rows = _rows(connection, Task.id == task_id, None)
    return rows[0] if rows else None


def known_batch_ids(connection: Connection) -> set[str]:
    """The ids of all batches of this library, also of removed videos as long as they are under way."""
    orphans = {orphan.batch_id for orphan in reservations.orphan_batches(connection)}
    rows = _rows(connection, Task.status.in_(tuple(TaskStatus)), None)  # all statuses, so that ix_tasks_claim is used
    return {found for found in (*(row.batch.batch_id for row in rows), *orphans) if found is not None}


def _rows(connection: Connection, where: Any, video_ids: Collection[int] | None) -> list[BatchRow]:
    statement = (
        select(Task.id, Task.video_id, Task.status, Task.payload)
        .where(Task.kind == TaskKind.BATCH, Task.pass_ == QUICK, where)
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
        .order_by(Task.id)
    )
    return [
        BatchRow(row.id, row.video_id, TaskStatus(row.status), Batch(**(row.payload or {})))
        for row in connection.execute(statement)
    ]


def _require(connection: Connection, task: queue.ClaimedTask, *, now: datetime | None = None) -> None:
    """Raise LeaseLostError unless the task is ours. With `now`, renew its lease."""
    if now is not None:
        is_ours = queue.renew(connection, [task], now=now) == 1
    else:
        held = select(Task.id).where(
            Task.id == task.id, Task.lease_token == task.token, Task.status == TaskStatus.DOING
        )
        is_ours = connection.scalar(held) is not None
    if not is_ours:
        raise queue.LeaseLostError(f"the lease of task {task.id} was lost")


def _change(connection: Connection, task_id: int, **changes: Any) -> None:
    payload = connection.execute(select(Task.payload).where(Task.id == task_id)).scalar_one_or_none()
    if payload is not None:  # its video may have been removed
        connection.execute(update(Task).where(Task.id == task_id).values(payload={**payload, **changes}))
