"""Tasks that may have crashed the worker: counted, tried alone, set aside.

Only crashes that a supervisor saw count, not kills and power cuts found at the next start. From one crash all that was
in hand looks alike; what was in hand at two is tried alone, so that the third crash has one culprit. Every function
takes part in its caller's transaction.
"""

from collections.abc import Collection
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, func, select, true, update

from db import queue, store
from db.models import ExtractionStatus, Task, TaskKind, TaskStatus, Video

CRASH_LIMIT = 3
SUSPECT_CRASHES = CRASH_LIMIT - 1  # in hand at so many crashes, a task is tried alone
SET_ASIDE = f"the worker crashed {CRASH_LIMIT} times while it was in hand"


def count_crash(connection: Connection, run_id: int, *, now: datetime) -> int:
    """A run has crashed: put its tasks back, and set those aside that were in hand too often. How many these are."""
    queue.sweep(connection, now=now, dead_runs=[run_id], counts_crash=True)
    guilty = connection.execute(
        select(Task.id, Task.kind, Task.video_id)
        .where(Task.status == TaskStatus.TODO, Task.crashes >= CRASH_LIMIT)
        .where(Task.kind != TaskKind.BATCH)  # what is paid for is never given up
    ).all()
    for task in guilty:
        connection.execute(update(Task).where(Task.id == task.id).values(status=TaskStatus.FAILED, error=SET_ASIDE))
        if task.kind == TaskKind.EXTRACT:
            connection.execute(
                update(Video)
                .where(Video.id == task.video_id)
                .values(extraction_status=ExtractionStatus.FAILED, error=SET_ASIDE)
            )
        store.refresh_enrichment(connection, task.video_id)
    return len(guilty)


def suspects(
    connection: Connection, kinds: Collection[TaskKind], *, pass_: str, video_ids: Collection[int] | None = None
) -> int:
    """How many unfinished tasks of these kinds are to be tried alone."""
    statement = (
        select(func.count())
        .select_from(Task)
        .where(Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)), Task.crashes >= SUSPECT_CRASHES)
        .where(Task.kind.in_(kinds), Task.pass_.in_(("", pass_)))
        .where(Task.not_before.is_(None))
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
    )
    return cast("int", connection.scalar(statement))
