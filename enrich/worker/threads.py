"""How threads share the processor: decoding steps back, and the event loop need not wait for its turn.

Decoding uses what processor time describing, and everybody else's work, leaves. On Linux threads have a priority each,
and hand it on to the threads they start, those of the codec too; elsewhere decoding is an ordinary thread.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

STEPS_BACK = 15
SWITCH_SECONDS = 0.0005  # how long a thread may compute while the event loop wants to send the next call
T = TypeVar("T")


async def in_own_thread(work: Callable[[], T], *, steps_back: bool) -> T:
    """What `work` returns; cancelling does not end it."""
    initializer = _step_back if steps_back else None
    executor = ThreadPoolExecutor(1, thread_name_prefix="everyframe-extract", initializer=initializer)
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _step_back() -> None:
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + STEPS_BACK)


@contextlib.contextmanager
def quick_switching() -> Iterator[None]:
    """Let threads take turns quickly: the interpreter's own 5 ms, several times a call, would be felt by the model."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
