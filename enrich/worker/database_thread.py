"""The database thread: runs a worker's statements off the event loop, one after another.

One thread means that claims and results never compete for SQLite's write lock. Work that finds the database locked is
retried until the lock is released; work submitted after it may overtake it.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from enrich.logs import Action, about

log = logging.getLogger(__name__)

LOCKED_RETRY_SECONDS = 1.0
T = TypeVar("T")


class DatabaseThread:
    """Used from one event loop. Close it: work that was submitted is finished first."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="everyframe-database")
        self._pending: set[asyncio.Task[object]] = set()
        self.error: BaseException | None = None  # what submitted work failed with: the run cannot continue

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return its result. Retried while the database is locked."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._executor, work)
            except OperationalError as error:
                log.warning("database is locked, retrying: %s", error.orig, extra=about(Action.DATABASE_LOCKED))
                await asyncio.sleep(LOCKED_RETRY_SECONDS)

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

    def _completed(self, task: "asyncio.Task[T]") -> None:
        self._pending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.error = task.exception()
