"""Graceful shutdown of a command on Ctrl-C or SIGTERM."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # exit code after Ctrl-C


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the running event loop at the first SIGINT or SIGTERM; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)  # also wakes the loop

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
