"""Failure attribution: whether a host or its frames are to blame for failed requests.

A single failing frame is at fault. After several failures in a row the host is probed: if it cannot describe, it is at
fault, and the attempts are refunded. If it can, it may have recovered just before, so the attempts are refunded too,
and the frames are retried alone. A suspect that fails alone is at fault if the host passes its next probe.

A frame that ends the model runner takes all requests in flight with it, and nothing shows which frame it was. All of
them are suspects of that host, which retries them one at a time, with nothing else in flight. A reply clears a frame.
A failure that the host survives is an attempt at the frame.

A model error, such as "not installed", usually needs the user. But a host may refuse a single frame with it, so that
frame is a suspect too. Other hosts retry it first: they may describe it.

A suspect stays with its host, so that it does not bring down one host after another. If the host stays down, other
hosts may try it: at once if the host went down with several requests in flight (it was probably not this frame), after
minutes if it went down over this frame alone.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from enrich.describe.asking import CRASHES
from enrich.describe.describer import Answer
from enrich.errors import DescribeError, HostError
from enrich.worker.prefetch import PrefetchedFrame
from enrich.worker.result_writer import ResultWriter

RECOVERY_SECONDS = 300.0  # a host that went down over one frame alone is expected back for this long


@dataclass(slots=True)
class _Suspect:
    """A suspected frame."""

    host: str | None  # that retries it; None: any host
    item: PrefetchedFrame | None = None  # held for the retry; None: it is in flight, or not claimed again yet
    brought_down_at: float | None = None  # monotonic: when `host` last went down over this frame alone
    refused_by: str | None = None  # the host whose model refused it last
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

    def refuse(self, item: PrefetchedFrame, host: str) -> None:
        """Keep a frame that `host` refused until it can be retried alone: by another host if one is serving."""
        self.hold(item)
        self._suspects[item.task.id].refused_by = host

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
        """Wait until `host`, which is serving, must retry a frame alone. Those that it refused are left to others."""
        while not self._adopt(host, refused=False):
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

    def _adopt(self, host: str, *, refused: bool = True) -> bool:
        """Give `host` the frames that any host may retry. Returns whether frames are held for it.

        `refused`: also those that it refused itself.
        """
        held = [
            known
            for known in self._suspects.values()
            if known.item is not None
            and (known.host == host or (known.host is None and (refused or known.refused_by != host)))
        ]
        for known in held:
            known.host = host
        return bool(held)


def _is_recent(at: float | None) -> bool:
    return at is not None and time.monotonic() - at < RECOVERY_SECONDS


FAILURE_THRESHOLD = 3  # failures in a row that make the host a suspect, too
MOST_OUTAGES = 1  # of a host over one frame alone, before the frame is blamed: somebody may be restarting the host


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt at a frame."""

    item: PrefetchedFrame
    error: DescribeError | None  # None: the reply was empty
    answer: Answer | None
    at: float  # monotonic seconds

    @property
    def is_crash(self) -> bool:
        """Whether it ended the other requests in flight, too."""
        return isinstance(self.error, CRASHES)


class FailureAttribution:
    """Of one host, used from its event loop. `suspects` is shared by all hosts."""

    def __init__(self, host: str, writer: ResultWriter, suspects: HostSuspects) -> None:
        self._host = host
        self._writer = writer
        self._suspects = suspects
        self._in_a_row: list[Failure] = []  # counted as attempts; a frame may be among them more than once
        self._alone: Failure | None = None  # of a suspect, not counted yet
        self._was_down = False  # the host itself was down since then: somebody may be restarting it

    @property
    def is_undecided(self) -> bool:
        """Whether attempts were counted that may be refunded."""
        return len(self._in_a_row) >= FAILURE_THRESHOLD

    @property
    def has_empty_reply(self) -> bool:
        """Whether one of the failures to decide about is an empty reply: the host may return nothing else."""
        failures = [*self._in_a_row, self._alone] if self._alone is not None else self._in_a_row
        return any(failure.error is None for failure in failures)

    def record(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        """A frame failed beside others; its attempt is counted for now."""
        self._in_a_row.append(Failure(item, error, answer, time.monotonic()))

    def record_alone(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        """A suspect failed alone on the host. Its attempt is counted if the host passes its next probe."""
        self._alone = Failure(item, error, answer, time.monotonic())
        self._was_down = isinstance(error, HostError)  # the server itself, not only its model runner
        if self._alone.is_crash:
            self._suspects.brought_down(item)

    def record_reply(self, asked_at: float) -> None:
        """A request that was sent at `asked_at` got a reply.

        It says nothing about failures after that moment: the host may have broken since.
        """
        self._in_a_row = [failure for failure in self._in_a_row if failure.at >= asked_at]

    async def blame_host(self) -> None:
        """The host cannot describe, so no failure counts as an attempt. Other hosts may get its suspects."""
        await self._refund()
        if self._alone is not None and self._alone.is_crash and time.monotonic() - self._alone.at < RECOVERY_SECONDS:
            self._was_down = True  # it may be restarting: the next probe that it passes decides
        else:
            self.drop()
        self._suspects.release(self._host)

    async def blame_frames(self) -> Failure | None:
        """The host describes: frames that failed in a row are to be retried alone. Returns a failure to be counted."""
        failed = [failure.item for failure in self._in_a_row]
        await self._refund()
        self._suspects.mark(failed, self._host)
        failure = self._alone
        if failure is None:
            return None
        if self._was_down and self._suspects.count_outage(failure.item) <= MOST_OUTAGES:
            self.drop()
            return None
        self._alone = None
        if not failure.is_crash:  # it harms no other frame: it need not be alone again
            self._suspects.clear(failure.item)
        return failure

    def drop(self) -> None:
        """Decide nothing about the suspect that failed alone: it is to be retried."""
        if self._alone is not None:
            self._suspects.hold(self._alone.item)
        self._alone = None

    async def _refund(self) -> None:
        failures, self._in_a_row = self._in_a_row, []
        if failures:
            await self._writer.refund_attempts([failure.item for failure in failures])
