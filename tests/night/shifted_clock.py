"""Shifts the wall clock of a Python process: copy it as `sitecustomize.py` to a folder of the process's PYTHONPATH.

The file named by EVERYFRAME_TEST_CLOCK holds the offset in seconds and may change at any time, so the clock can jump
while the process runs. The monotonic clock continues, as it does when the clock of a system is set. Not shifted: the
times of files, and times that libraries read in C.
"""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any, Self

CACHE_SECONDS = 0.02
Unshifted = dt.datetime
unshifted_time = time.time


class Offset:
    """The offset in seconds, read at most once in CACHE_SECONDS."""

    seconds = 0.0
    read_at = float("-inf")

    @classmethod
    def now(cls) -> float:
        if time.monotonic() - cls.read_at > CACHE_SECONDS:
            cls.seconds = float(Path(os.environ["EVERYFRAME_TEST_CLOCK"]).read_text())
            cls.read_at = time.monotonic()
        return cls.seconds


class AnyDatetime(type):
    """Every datetime is an instance of the shifted class."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Unshifted)


class ShiftedDatetime(Unshifted, metaclass=AnyDatetime):
    """`datetime.datetime` with a shifted `now`."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return super().now(tz) + dt.timedelta(seconds=Offset.now())


def install() -> None:
    """Shift the clock of this process from now on; modules must not have imported `datetime` yet."""
    dt.datetime = ShiftedDatetime  # type: ignore[misc]  # that is the purpose
    time.time = lambda: unshifted_time() + Offset.now()


if __name__ == "sitecustomize":
    install()
