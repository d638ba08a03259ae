"""Failure attribution: whether a host or its frames are to blame for failed requests.

A single failing frame is at fault. After several failures in a row the host is probed: if it cannot describe, it is at
fault, and the attempts are refunded. If it can, it may have recovered just before, so the attempts are refunded too,
and the frames are retried alone. A suspect that fails alone is at fault if the host passes its next probe.
"""

import time
from dataclasses import dataclass

from enrich.describe.describer import Answer
from enrich.errors import ConnectionLostError, DescribeError, HostError, RunnerCrashedError
from enrich.worker.host_suspects import RECOVERY_SECONDS, HostSuspects
from enrich.worker.prefetch import PrefetchedFrame
from enrich.worker.result_writer import ResultWriter

FAILURE_THRESHOLD = 3  # failures in a row that make the host a suspect, too
MOST_OUTAGES = 1  # of a host over one frame alone, before the frame is blamed: somebody may be restarting the host
CRASHES = (RunnerCrashedError, ConnectionLostError)  # they end every request in flight


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
