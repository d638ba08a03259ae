"""The circuit breaker of a host, and the gate that its requests pass.

The breaker opens after several failures in a row, or after an error of the host. Then no frame is sent until the host
was probed; requests in flight end by themselves.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from enrich.errors import DescribeError

HANDOFF_DELAY_SECONDS = 0.01  # lets the next request be sent before this reply is parsed


class CircuitBreaker:
    """Of one host, used from its event loop. Closed at first."""

    def __init__(self) -> None:
        self.trouble: DescribeError | None = None  # why it opened, if the host is at fault
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether no frame may be sent."""
        return self._opened.is_set()

    def open(self, trouble: DescribeError | None = None) -> None:
        """Send no more frames until the host was probed. `trouble`: the error, if the host is at fault."""
        self.trouble = trouble or self.trouble
        self._opened.set()

    def close(self) -> None:
        """The host was probed: frames may be sent."""
        self._opened.clear()

    async def wait_until_open(self) -> None:
        """Wait until no frame may be sent."""
        await self._opened.wait()

    def take_trouble(self) -> DescribeError | None:
        """The error with which it opened, once."""
        trouble, self.trouble = self.trouble, None
        return trouble


class GateClosedError(Exception):
    """The request was not sent: the circuit breaker is open, or the worker stops."""


class RequestGate:
    """Admits the requests about one image, each when the host has a free slot. Enter it once per request.

    `is_closed`: whether a first request is no longer wanted. `on_admitted` is called for each request.
    """

    def __init__(
        self, slots: asyncio.Semaphore, is_closed: Callable[[], bool], on_admitted: Callable[[], None] = lambda: None
    ) -> None:
        self._slots = slots
        self._is_closed = is_closed
        self._on_admitted = on_admitted
        self.opened_at = float("inf")  # monotonic: when the first request was sent

    async def __aenter__(self) -> Self:
        """Wait for a free slot. Raises GateClosedError if a first request is no longer wanted."""
        await self._slots.acquire()
        if self.opened_at == float("inf"):
            if self._is_closed():
                self._slots.release()
                raise GateClosedError
            self.opened_at = time.monotonic()
        self._on_admitted()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()
        if error is None:
            await asyncio.sleep(HANDOFF_DELAY_SECONDS)
