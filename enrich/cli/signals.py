"""Ending a command by Ctrl-C or SIGTERM: it is asked to stop first, and what it was about is brought to an end."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # exit code


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM has the running event loop call `stop`, a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)  # it wakes the loop as well

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
