"""Threads of the worker: background threads that cannot die silently, and thread priority.

Decoding yields the processor to describing and to other programs. On Linux every thread has its own nice value and
passes it on to the threads it starts, those of the codec included. Elsewhere decoding runs at normal priority.
"""

import asyncio
import contextlib
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from db.queue import LeaseLostError

NICE_INCREMENT = 15
SWITCH_SECONDS = 0.0005  # how long a thread may run while the event loop wants to send the next request
T = TypeVar("T")


class BackgroundThread(ABC):
    """A thread that runs from entry to exit of its context.

    An error that ends it early is kept for `check`, which the run calls at every poll: a run whose leases or heartbeat
    are no longer written must end with the reason. Leaving the context raises the error too, unless another one is on
    its way; a lost lease is the consequence of a thread that failed to renew it, so the thread's error replaces it.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run_and_keep_error, name=f"everyframe-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None or isinstance(error, LeaseLostError):
            self.check()

    def check(self) -> None:
        """Raise the error that ended the thread, if there is one."""
        if self._error is not None:
            raise self._error

    @abstractmethod
    def _run(self) -> None:
        """Work until `_stop` is set."""

    def _run_and_keep_error(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001  # raised again by `check`
            self._error = error


async def run_in_own_thread(work: Callable[[], T], *, low_priority: bool) -> T:
    """Run `work` in a new thread and return its result. Cancelling does not end it."""
    initializer = _lower_priority if low_priority else None
    executor = ThreadPoolExecutor(1, thread_name_prefix="everyframe-extract", initializer=initializer)
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _lower_priority() -> None:
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE_INCREMENT)


@contextlib.contextmanager
def frequent_thread_switches() -> Iterator[None]:
    """Switch threads more often: with the interpreter's default of 5 ms, hosts would idle between requests."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
