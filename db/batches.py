"""Batches at Anthropic: what was sent, in which batch, and which of its answers are saved. Each is a task of the queue.

    intent (no batch id) ──sent──► under way ──its parts saved, one by one──► done
      └──never arrived──► forgotten: its frames may be asked about again

The intent is committed before anything is sent, and the batch's id right after, so that a process killed between the
two can be told from one that never sent. A part's answers and the note that it is saved are one transaction. Every
function takes part in its caller's; `now` is an argument.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, true, update

from db import queue
from db.models import QUICK, Task, TaskKind, TaskStatus
from db.runs import ProcessIdentity

OPEN = (TaskStatus.TODO, TaskStatus.DOING)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. `parts`: of each request, by custom id, what its pictures count as input, by label."""

    model: str
    prompt_version: str
    context: str
    language: str
    usd: float  # expected
    created_at: str  # ISO 8601, before it was sent
    sender: dict[str, Any]  # the process that sends it, as ProcessIdentity
    parts: dict[str, dict[str, int]]
    batch_id: str | None = None
    is_sending: bool = True  # its sender has it in hand, if it lives and there is no id yet
    saved: list[str] = field(default_factory=list)  # custom ids
    problems: dict[str, str] = field(default_factory=dict)  # by label: why there is no answer

    @property
    def created(self) -> datetime:
        return datetime.fromisoformat(self.created_at)

    @property
    def sent_by(self) -> ProcessIdentity:
        return ProcessIdentity(**self.sender)

    @property
    def frame_ids(self) -> list[int]:
        """The frames whose answers are not saved yet."""
        return [frame_of(label) for name, labels in self.parts.items() if name not in self.saved for label in labels]

    @property
    def unpaid_usd(self) -> float:
        """What is not booked yet of what it will cost."""
        return self.usd * (1 - len(self.saved) / max(1, len(self.parts)))


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch with its task and its video. `waits`: what was said of it last."""

    task_id: int
    video_id: int
    status: TaskStatus
    waits: str | None
    batch: Batch


def label_of(frame_id: int) -> str:
    """The label a frame's picture goes by."""
    return f"F{frame_id}"


def frame_of(label: str) -> int:
    """The frame a label stands for."""
    return int(label.removeprefix("F"))


def begin(connection: Connection, video_id: int, batch: Batch, *, not_before: datetime) -> int:
    """Note that a batch is about to be sent; its task. Nobody else looks after it before `not_before`."""
    values = {"kind": TaskKind.BATCH, "pass": QUICK, "video_id": video_id, "payload": asdict(batch)}
    statement = insert(Task).returning(Task.id)
    return int(connection.execute(statement, {**values, "not_before": not_before}).scalar_one())


def sent(connection: Connection, task_id: int, batch_id: str) -> None:
    """Note the id of a batch that was sent; from now on anybody may look after it."""
    _change(connection, task_id, batch_id=batch_id)
    connection.execute(update(Task).where(Task.id == task_id, Task.status == TaskStatus.TODO).values(not_before=None))


def leave(connection: Connection, task_id: int) -> None:
    """Its sender does not know whether it arrived: somebody else is to find out."""
    _change(connection, task_id, is_sending=False)


def forget(connection: Connection, task_id: int) -> None:
    """Forget a batch that was never sent."""
    connection.execute(delete(Task).where(Task.id == task_id, Task.kind == TaskKind.BATCH))


def claim(
    connection: Connection, *, run_id: int | None, host: str, now: datetime, video_ids: Collection[int] | None = None
) -> queue.ClaimedTask | None:
    """The batch to be looked after next, claimed; None if none is due."""
    jobs = queue.claim(
        connection,
        kind=TaskKind.BATCH,
        pass_=QUICK,
        run_id=run_id,
        host=host,
        limit=1,
        now=now,
        video_ids=video_ids,
    )
    return jobs[0] if jobs else None


def batch_of(job: queue.ClaimedTask) -> Batch:
    """The batch of a claimed task."""
    return Batch(**(job.payload or {}))


def identify(connection: Connection, job: queue.ClaimedTask, batch_id: str) -> None:
    """Note which batch turned out to be the one that was sent. Raises LeaseLostError."""
    _require(connection, job)
    _change(connection, job.id, batch_id=batch_id)


def part_saved(
    connection: Connection, job: queue.ClaimedTask, custom_id: str, problems: Mapping[str, str], *, now: datetime
) -> bool:
    """Note that a part's answers are being saved in this transaction; False if they are saved already.

    Raises LeaseLostError.
    """
    _require(connection, job, now=now)
    batch = Batch(**connection.execute(select(Task.payload).where(Task.id == job.id)).scalar_one())
    if custom_id in batch.saved:
        return False
    _change(connection, job.id, saved=[*batch.saved, custom_id], problems={**batch.problems, **problems})
    return True


def finish(connection: Connection, job: queue.ClaimedTask, problems: Mapping[str, str] | None = None) -> None:
    """Nothing more will come of it; `problems` of labels that have no answer. Raises LeaseLostError."""
    queue.finish(connection, job)
    if problems:
        batch = Batch(**connection.execute(select(Task.payload).where(Task.id == job.id)).scalar_one())
        _change(connection, job.id, problems={**problems, **batch.problems})


def open_batches(connection: Connection, video_ids: Collection[int] | None = None) -> list[BatchRow]:
    """The batches that are not done, oldest first."""
    return _rows(connection, Task.status.in_(OPEN), video_ids)


def batch(connection: Connection, task_id: int) -> BatchRow | None:
    """One batch, whatever its state; None if it was forgotten."""
    rows = _rows(connection, Task.id == task_id, None)
    return rows[0] if rows else None


def known_ids(connection: Connection) -> set[str]:
    """The ids of all batches that are known to be ours."""
    rows = _rows(connection, Task.status.in_(tuple(TaskStatus)), None)  # all of them: by the index of claims
    return {row.batch.batch_id for row in rows if row.batch.batch_id is not None}


def promised_usd(connection: Connection) -> float:
    """What open batches will still cost, as far as is known."""
    return sum(row.batch.unpaid_usd for row in open_batches(connection))


def _rows(connection: Connection, where: Any, video_ids: Collection[int] | None) -> list[BatchRow]:
    statement = (
        select(Task.id, Task.video_id, Task.status, Task.error, Task.payload)
        .where(Task.kind == TaskKind.BATCH, Task.pass_ == QUICK, where)
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
        .order_by(Task.id)
    )
    return [
        BatchRow(row.id, row.video_id, TaskStatus(row.status), row.error, Batch(**(row.payload or {})))
        for row in connection.execute(statement)
    ]


def _require(connection: Connection, job: queue.ClaimedTask, *, now: datetime | None = None) -> None:
    """Check that the task is ours; its lease is pushed on. Raises LeaseLostError."""
    if now is not None:
        is_ours = queue.renew(connection, [job], now=now) == 1
    else:
        held = select(Task.id).where(Task.id == job.id, Task.lease_token == job.token, Task.status == TaskStatus.DOING)
        is_ours = connection.scalar(held) is not None
    if not is_ours:
        raise queue.LeaseLostError(f"task {job.id} is not ours any more")


def _change(connection: Connection, task_id: int, **changes: Any) -> None:
    payload = connection.execute(select(Task.payload).where(Task.id == task_id)).scalar_one_or_none()
    if payload is not None:  # its video may have been removed
        connection.execute(update(Task).where(Task.id == task_id).values(payload={**payload, **changes}))
