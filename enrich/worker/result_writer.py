"""The result writer: saves what host runners deliver, one transaction per frame, while the next requests are under way.

A result is saved even if the host runner that delivered it is cancelled. A result whose lease was lost, because the
video was removed or the task was taken over, is dropped.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from db import queue, runs, store
from db.engine import writing
from db.models import TaskStatus
from enrich.describe.describer import Answer
from enrich.errors import DescribeError
from enrich.library.records import call_records, searchable_text
from enrich.logs import Action, about
from enrich.worker.prefetch import PrefetchedFrame
from enrich.worker.run_context import RunContext

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)

RETRY_PAUSE_SECONDS = 10  # a failed frame is retried after this; other frames come first
PROGRESS_SECONDS = 1.0  # how often the run's progress timestamp is written


class ResultWriter:
    """Writes in the database thread, in the order results are delivered."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._failed: set[int] = set()  # tasks that failed permanently in this run
        self._progress_at = float("-inf")

    def save_answer(self, item: PrefetchedFrame, answer: Answer) -> "asyncio.Task[bool]":
        """Save a description. The task's result: whether it was saved; else the frame's lease was lost."""
        work = partial(self._answer, item, answer)
        return self._context.database.submit(partial(self._unless_lease_lost, item, work))

    def save_failure(
        self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None
    ) -> "asyncio.Task[bool]":
        """Count a failed attempt; `error` is None where the reply was empty. The task's result is as above."""
        work = partial(self._failure, item, error, answer)
        return self._context.database.submit(partial(self._unless_lease_lost, item, work))

    async def refund_attempts(self, items: Sequence[PrefetchedFrame]) -> None:
        """Take back one counted attempt for each item: the host was to blame. An item may be named several times."""
        await self._context.database.run(partial(self._refund, items))

    def _unless_lease_lost(self, item: PrefetchedFrame, work: Callable[[], None]) -> bool:
        try:
            work()
        except queue.LeaseLostError:
            where = about(Action.ANSWER_DROPPED, video=item.task.video_id, frame=item.frame.id)
            log.warning("lease lost: reply dropped", extra=where)
            return False
        return True

    def _answer(self, item: PrefetchedFrame, answer: Answer) -> None:
        description = answer.description
        if description is None:
            raise ValueError("an empty answer is a failure")
        found = searchable_text(description, answer.unverified_names)
        now = datetime.now(UTC)
        with writing(self._context.library.engine) as connection:
            store.save_description(
                connection,
                item.task,
                store.NewDescription(description.text, description.tags, found.text, found.tags),
                analyses=call_records(answer),
                now=now,
                run_id=self._context.run_id,
            )
            if time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
                runs.record_progress(connection, self._context.run_id, now=now)
                self._progress_at = time.monotonic()
        counts = self._context.counts
        counts.frames_described += 1
        counts.calls += len(answer.calls)
        counts.warnings += bool(answer.warnings)

    def _failure(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        reason = str(error) if error is not None else "the model's reply was empty"
        now = datetime.now(UTC)
        with writing(self._context.library.engine) as connection:
            status = store.save_failure(
                connection,
                item.task,
                error=reason,
                not_before=now + timedelta(seconds=RETRY_PAUSE_SECONDS),
                analyses=call_records(answer) if answer is not None else [],
                now=now,
                run_id=self._context.run_id,
            )
            if status is TaskStatus.FAILED:
                runs.record_progress(connection, self._context.run_id, now=now)
        if status is TaskStatus.FAILED:
            self._failed.add(item.task.id)
            self._context.counts.frames_failed += 1
            where = about(Action.FRAME_FAILED, video=item.task.video_id, frame=item.frame.id)
            log.warning("the frame at %.3f s failed: %s", item.frame.timestamp, reason, extra=where)

    def _refund(self, items: Sequence[PrefetchedFrame]) -> None:
        attempts = Counter(item.task.id for item in items)
        with writing(self._context.library.engine) as connection:
            for number in range(max(attempts.values())):
                task_ids = [task_id for task_id, count in attempts.items() if count > number]
                queue.refund_attempts(connection, task_ids)
            for video_id in {item.task.video_id for item in items}:
                store.refresh_enrichment(connection, video_id)
        revived = self._failed.intersection(attempts)
        self._failed -= revived
        self._context.counts.frames_failed -= len(revived)
