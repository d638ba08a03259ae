"""Waiting in tests: for a condition, never for a guessed time. A busy machine gets the same patience everywhere."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.01


class Process(Protocol):
    """A process that may end while a test waits for it to do something."""

    def poll(self) -> int | None: ...


def wait_until(
    condition: Callable[[], object],
    what: str,
    process: Process | None = None,
    *,
    details: Callable[[], str] = str,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until a condition holds. Fails after `seconds`, or once `process` has ended; `details()` explains why."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, f"ended before {what}: {details()}"
        assert time.monotonic() < end, f"waited {seconds:.0f} s until {what}: {details()}"
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """`wait_until` for tests on an event loop."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s until {what}"
        await asyncio.sleep(POLL_SECONDS)
