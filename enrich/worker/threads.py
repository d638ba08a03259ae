"""Thread priority: decoding yields the processor to describing and to other programs.

On Linux every thread has its own nice value and passes it on to the threads it starts, those of the codec included.
Elsewhere decoding runs at normal priority.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

NICE_INCREMENT = 15
SWITCH_SECONDS = 0.0005  # how long a thread may run while the event loop wants to send the next request
T = TypeVar("T")


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
