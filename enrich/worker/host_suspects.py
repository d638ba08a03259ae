"""Frames suspected of bringing a host down: each is retried alone, so that the next failure has one culprit.

A frame that ends the model runner takes all requests in flight with it, and nothing shows which frame it was. All of
them are suspects of that host, which retries them one at a time, with nothing else in flight. A reply clears a frame.
A failure that the host survives is an attempt at the frame.

A suspect stays with its host, so that it does not bring down one host after another. If the host stays down, other
hosts may try it: at once if the host went down with several requests in flight (it was probably not this frame), after
minutes if it went down over this frame alone.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from enrich.worker.prefetch import PrefetchedFrame

RECOVERY_SECONDS = 300.0  # a host that went down over one frame alone is expected back for this long


@dataclass(slots=True)
class _Suspect:
    """A suspected frame."""

    host: str | None  # that retries it; None: any host
    item: PrefetchedFrame | None = None  # held for the retry; None: it is in flight, or not claimed again yet
    brought_down_at: float | None = None  # monotonic: when `host` last went down over this frame alone
    outages: int = 0  # how often the host itself was down while this frame was alone on it


class HostSuspects:
    """Shared by all host runners of a pipeline, on one event loop. Frames are identified by their tasks."""

    def __init__(self) -> None:
        self._suspects: dict[int, _Suspect] = {}
        self._changed = asyncio.Event()

    def is_suspect(self, item: PrefetchedFrame) -> bool:
        """Whether the frame may only be sent alone."""
        return item.task.id in self._suspects

    def hold(self, item: PrefetchedFrame, host: str | None = None) -> None:
        """Keep a frame until it can be retried alone: by `host`, or else by the host that it is a suspect of."""
        known = self._suspects.setdefault(item.task.id, _Suspect(host))
        known.host = host or known.host
        known.item = item
        self._changed.set()

    def mark(self, items: Iterable[PrefetchedFrame], host: str) -> None:
        """Let `host` retry frames alone once they are claimed again: their failed attempts were saved."""
        for item in items:
            self._suspects.setdefault(item.task.id, _Suspect(host)).host = host

    def take(self, host: str) -> PrefetchedFrame | None:
        """The next frame that `host` must retry alone; None if there is none."""
        self._adopt(host)
        for known in self._suspects.values():
            if known.host == host and known.item is not None:
                item, known.item = known.item, None
                return item
        return None

    def count(self, host: str) -> int:
        """How many frames are held for `host`."""
        self._adopt(host)
        return sum(known.host == host and known.item is not None for known in self._suspects.values())

    def take_all(self) -> list[PrefetchedFrame]:
        """All frames that are held, of all hosts: the pipeline ends."""
        held = [known.item for known in self._suspects.values() if known.item is not None]
        self._suspects.clear()
        return held

    async def wait(self, host: str) -> None:
        """Wait until `host` must retry a frame alone."""
        while not self._adopt(host):
            self._changed.clear()
            await self._changed.wait()

    def clear(self, item: PrefetchedFrame) -> None:
        """The frame was described, or failed in a way that harms no other frame."""
        self._suspects.pop(item.task.id, None)

    def brought_down(self, item: PrefetchedFrame) -> None:
        """The frame's host went down over it alone."""
        self._suspects[item.task.id].brought_down_at = time.monotonic()

    def count_outage(self, item: PrefetchedFrame) -> int:
        """The host was down, not only its model runner, while the frame was alone on it. Returns how often so far."""
        known = self._suspects[item.task.id]
        known.outages += 1
        return known.outages

    def release(self, host: str) -> None:
        """`host` cannot describe now: other hosts may try its suspects, unless one of them brought it down lately."""
        for known in self._suspects.values():
            if known.host == host and not _is_recent(known.brought_down_at):
                known.host = None
        self._changed.set()

    def _adopt(self, host: str) -> bool:
        """Give `host` the frames that any host may retry. Returns whether frames are held for it."""
        held = [known for known in self._suspects.values() if known.host in (None, host) and known.item is not None]
        for known in held:
            known.host = host
        return bool(held)


def _is_recent(at: float | None) -> bool:
    return at is not None and time.monotonic() - at < RECOVERY_SECONDS
