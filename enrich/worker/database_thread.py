"""The database thread: runs a worker's statements off the event loop, one after another.

One thread means that claims and results never compete for SQLite's write lock. Work that finds the database locked, or
its disk full, is retried (see `enrich.worker.outage`); work submitted after it may overtake it. After any other error
no more work is run.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from db.errors import StorageError
from enrich.worker import outage
from enrich.worker.outage import Outage

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
                    await asyncio.sleep(outage.RETRY_SECONDS)
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
