"""Saving what lanes hand on: one writer thread, one transaction a frame, while the next calls already run."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from db import queue, runs, store
from db.engine import writing
from db.models import TaskStatus
from enrich.describe.describer import Answer
from enrich.errors import DescribeError
from enrich.library.library import Library
from enrich.library.records import call_records, searchable_text
from enrich.logs import Action, about
from enrich.worker.gap_filling import GapFiller
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher
from enrich.worker.run_options import RunCounts

log = logging.getLogger(__name__)

RETRY_PAUSE_SECONDS = 10  # other frames come first
LOCKED_PAUSE_SECONDS = 1.0
PROGRESS_SECONDS = 1.0  # how exactly a run says when it last got on
T = TypeVar("T")


class ResultWriter:
    """Writes results in the order they come. `in_database` runs anything else in the same one thread."""

    def __init__(self, library: Library, run_id: int, counts: RunCounts, filler: GapFiller | None = None) -> None:
        self._library = library
        self._filler = filler
        self._run_id = run_id
        self._counts = counts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="everyframe-database")
        self._saving: set[asyncio.Task[None]] = set()
        self._failed: set[int] = set()  # tasks that failed for good in this run
        self._progress_at = float("-inf")
        self.feed: Prefetcher | None = None
        self.error: BaseException | None = None  # what saving failed with, for good: the run cannot go on

    async def in_database(self, work: Callable[[], T]) -> T:
        """Run a piece of database work in the writer thread, again and again while the database is locked."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._thread, work)
            except OperationalError as error:
                log.warning("the database waits: %s", error.orig, extra=about(Action.DATABASE_LOCKED))
                await asyncio.sleep(LOCKED_PAUSE_SECONDS)

    async def answered(self, item: PrefetchedFrame, answer: Answer) -> None:
        """Save an answer. Who waits for it may be cancelled: it is saved all the same.

        It is waited for, or answers would pile up before a slow disk, and a kill would cost them all.
        """
        await asyncio.wait([self._begin(self._save(item, lambda: self._write_answer(item, answer)))])

    async def failed(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        """Count a failed attempt; waited for, since the circuit may want it given back."""
        await self._save(item, lambda: self._write_failure(item, error, answer))

    async def refund_attempts(self, items: list[PrefetchedFrame]) -> None:
        """Take counted attempts back, one for each time an item is named: the host was to blame."""
        attempts = Counter(item.job.id for item in items)
        videos = {item.job.video_id for item in items}

        def work() -> None:
            with writing(self._library.engine) as connection:
                for number in range(max(attempts.values())):
                    again = [task_id for task_id, count in attempts.items() if count > number]
                    queue.refund_attempts(connection, again)
                for video_id in videos:
                    store.refresh_enrichment(connection, video_id)
            revived = self._failed.intersection(attempts)
            self._failed -= revived
            self._counts.frames_failed -= len(revived)

        await self.in_database(work)

    def note(self, work: Callable[[], None]) -> None:
        """Run a piece of database work soon, in its turn."""
        self._begin(self.in_database(work))

    async def drain(self) -> None:
        """Wait until all that was handed on is saved. Raises what saving raised."""
        while self._saving:
            await asyncio.wait(self._saving)
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Save what is left and end the thread."""
        try:
            await self.drain()
        finally:
            self._thread.shutdown(wait=True)

    def _begin(self, saving: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(saving)
        self._saving.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._saving.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.error = task.exception()

    async def _save(self, item: PrefetchedFrame, work: Callable[[], None]) -> None:
        try:
            await self.in_database(work)
        except queue.LeaseLostError:
            log.warning(
                "an answer came too late and is dropped",
                extra=about(Action.ANSWER_DROPPED, video=item.job.video_id, frame=item.frame.id),
            )
        finally:
            if self.feed is not None:
                self.feed.settled(item)

    def _write_answer(self, item: PrefetchedFrame, answer: Answer) -> None:
        said = answer.description
        if said is None:
            raise ValueError("an empty answer is a failure")
        found = searchable_text(said, answer.unsure_names)
        now = datetime.now(UTC)
        with writing(self._library.engine) as connection:
            store.save_description(
                connection,
                item.job,
                store.NewDescription(said.text, said.tags, found.text, found.tags),
                analyses=call_records(answer),
                now=now,
                run_id=self._run_id,
            )
            if time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
                runs.record_progress(connection, self._run_id, now=now)
                self._progress_at = time.monotonic()
        self._counts.frames_described += 1
        self._counts.calls += len(answer.calls)
        self._counts.warnings += bool(answer.warnings)
        if self._filler is not None:
            with suppress(OperationalError):  # what is saved is saved: the order can wait
                self._filler.described(item.job, item.frame, said)

    def _write_failure(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        reason = str(error) if error is not None else "the model's reply was empty"
        now = datetime.now(UTC)
        with writing(self._library.engine) as connection:
            status = store.save_failure(
                connection,
                item.job,
                error=reason,
                not_before=now + timedelta(seconds=RETRY_PAUSE_SECONDS),
                analyses=call_records(answer) if answer is not None else [],
                now=now,
                run_id=self._run_id,
            )
            if status is TaskStatus.FAILED:
                runs.record_progress(connection, self._run_id, now=now)
        if status is TaskStatus.FAILED:
            self._failed.add(item.job.id)
            self._counts.frames_failed += 1
            where = about(Action.FRAME_FAILED, video=item.job.video_id, frame=item.frame.id)
            log.warning("the frame at %.3f s failed: %s", item.frame.timestamp, reason, extra=where)
