"""The database of a run: the thread that runs its statements, and its outages.

The thread runs a worker's statements off the event loop, one after another, so that claims and results never compete
for SQLite's write lock. Work that finds the database locked, or its disk full, is retried; work submitted after it may
overtake it. After any other error no more work is run.

An outage is known to all threads of the run: which of them wait, why, and when waiting is given up. A locked database
is retried for `LOCKED_LIMIT_SECONDS`, a full disk until there is space again. Once the run is being stopped, both are
retried for `STOP_LIMIT_SECONDS` only. Any other error is fatal: it is kept in `error`, and the run ends with it. Reads
succeed while writes are locked, so each piece of work is followed by itself.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from db.errors import RETRYABLE, DatabaseFailedError, DatabaseFullError, StorageError
from enrich.logs import Action, about

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LOCKED_LIMIT_SECONDS = 600.0
STOP_LIMIT_SECONDS = 10.0
LOG_SECONDS = 60.0  # between two records of the same outage


class Outage:
    """Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, tuple[float, StorageError]] = {}  # what waits: since when, and for what
        self._stopped_at: float | None = None
        self._logged_at = float("-inf")
        self.error: StorageError | None = None  # the run cannot continue

    def failed(self, work: Hashable, error: StorageError) -> None:
        """Record that `work` met an error. Returns if it is to be tried again, else raises."""
        now = time.monotonic()
        with self._lock:
            since, _ = self._waiting.setdefault(work, (now, error))
            self._waiting[work] = (since, error)
            fatal = self._fatal(error, since, now)
            if fatal is not None:
                self._waiting.pop(work)
                self.error = self.error or fatal
            is_logged = fatal is None and now - self._logged_at >= LOG_SECONDS
            if is_logged:
                self._logged_at = now
        if fatal is not None:
            raise fatal from error
        if is_logged:
            log.warning("%s; retrying", error, extra=about(_action(error)))

    def ended(self, work: Hashable) -> None:
        """Record that `work` succeeded, or is not tried again."""
        with self._lock:
            self._waiting.pop(work, None)
            if not self._waiting:
                self._logged_at = float("-inf")

    def stop(self) -> None:
        """Give up soon: the run is being stopped."""
        with self._lock:
            if self._stopped_at is None:
                self._stopped_at = time.monotonic()

    def reason(self) -> str | None:
        """What the run waits for, as the reason of its state; None if it waits for nothing."""
        with self._lock:
            errors = [error for _, error in self._waiting.values()]
        if not errors:
            return None
        full = next((error for error in errors if isinstance(error, DatabaseFullError)), None)
        return str(full) if full is not None else LOCKED_REASON

    def _fatal(self, error: StorageError, since: float, now: float) -> StorageError | None:
        """The error with which the run ends; None if the database is tried again."""
        if not isinstance(error, RETRYABLE):
            return error
        if self._stopped_at is not None and now - max(since, self._stopped_at) >= STOP_LIMIT_SECONDS:
            return error
        if not isinstance(error, DatabaseFullError) and now - since >= LOCKED_LIMIT_SECONDS:
            minutes = LOCKED_LIMIT_SECONDS / 60
            return DatabaseFailedError(f"{error}. It was locked for {minutes:.0f} minutes, so the run ended")
        return None


LOCKED_REASON = "the database is locked by another process: close that program; retrying"


def _action(error: StorageError) -> Action:
    return Action.DATABASE_FULL if isinstance(error, DatabaseFullError) else Action.DATABASE_LOCKED


T = TypeVar("T")


class DatabaseThread:
    """Used from one event loop. Close it: work that was submitted is finished first."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="everyframe-database")
        self._pending: set[asyncio.Task[object]] = set()
        self._error: BaseException | None = None
        self.outage = Outage()  # shared by all threads of the run that use the database

    @property
    def error(self) -> BaseException | None:
        """What submitted work, or the database in any thread, failed with: the run cannot continue."""
        return self.outage.error or self._error

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return its result. Retried while the database is locked or its disk full."""
        loop = asyncio.get_running_loop()
        attempts = object()
        try:
            while True:
                try:
                    return await loop.run_in_executor(self._executor, self._work, work)
                except StorageError as error:
                    self.outage.failed(attempts, error)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self.outage.ended(attempts)

    def submit(self, work: Callable[[], T]) -> "asyncio.Task[T]":
        """Run `work` in the background, whether or not the task is awaited. An error it raises is kept in `error`."""
        task = asyncio.create_task(self.run(work))
        self._pending.add(task)
        task.add_done_callback(self._completed)
        return task

    def check(self) -> None:
        """Raise the error of submitted work that failed, if there is one."""
        if self.error is not None:
            raise self.error

    async def drain(self) -> None:
        """Wait until everything submitted is done. Raises the error of work that failed."""
        while self._pending:
            await asyncio.wait(self._pending)
        self.check()

    async def close(self) -> None:
        """Finish what was submitted and end the thread. Raises as `drain` does."""
        try:
            await self.drain()
        finally:
            self._executor.shutdown(wait=True)

    def _work(self, work: Callable[[], T]) -> T:
        if self.outage.error is not None:  # each attempt may take seconds
            raise self.outage.error
        return work()

    def _completed(self, task: "asyncio.Task[T]") -> None:
        self._pending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
