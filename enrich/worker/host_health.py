"""The health of a run's hosts: when a health check is due, its result, and which host gets no frames.

A host that fails its health check gets no frames only while another host passes its own and replies, or while the
health check of another host is running, which decides. Where all hosts fail, the model is weak, and weak descriptions
are better than none.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from enrich.describe.describer import Describer
from enrich.describe.health_check import HealthCheckResult, check_health
from enrich.errors import DescribeError
from enrich.logs import Action, about
from enrich.worker.circuit_breaker import GateClosedError, RequestGate
from enrich.worker.run_options import RunOptions

log = logging.getLogger(__name__)

HEALTH_CHECK_POLL_SECONDS = 2.0  # how often to look whether a health check is due
HEALTH_CHECK_SECONDS = 2 * 3600.0  # between two health checks of a host in a long run
UNHEALTHY_RECHECK_SECONDS = 300.0  # until an unhealthy host is checked again
GONE_SECONDS = 300.0  # an unresponsive host counts as healthy for this long: it may be restarting
FEWEST_FRAMES = 50  # left in the run, and between two checks of a host: six more requests are cheap then
SUSPICIOUS_FRAMES = 200  # since its last check: from then on repeated texts trigger an early check
SAME_TEXTS_IN_A_ROW = 5  # for frames that look different: more than this is suspicious


@dataclass(slots=True)
class _HostRecord:
    """What is known about one host. Times are monotonic seconds."""

    checked_at: float | None = None  # when its last health check began; None: due as for a new host
    result: HealthCheckResult | None = None  # of the last completed health check
    answers: int = 0  # to frames, since checked_at
    counted_at: int | None = None  # `answers` when the frames left were last counted
    same_in_a_row: int = 0
    is_being_checked: bool = False
    gone_since: float | None = None


class HostHealth:
    """Shared by all host runners of a run, on one event loop. `count_ahead`: the frames the run will still describe."""

    def __init__(
        self, count_ahead: Callable[[], Awaitable[int]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count_ahead = count_ahead
        self._clock = clock
        self._hosts: dict[str, _HostRecord] = {}
        self._check_ended = asyncio.Event()

    async def is_due(self, host: str) -> bool:
        """Whether the host's health check is due."""
        known = self._known(host)
        if self.is_unhealthy(host):
            return known.checked_at is None or self._clock() - known.checked_at >= UNHEALTHY_RECHECK_SECONDS
        if not self._is_time(known) or known.counted_at == known.answers:
            return False
        known.counted_at = known.answers  # a database query: not again before the next reply
        return await self._count_ahead() >= FEWEST_FRAMES

    @contextmanager
    def checking(self, host: str) -> Iterator[None]:
        """Enter it around a health check. If no result is reported, the next one is due after FEWEST_FRAMES."""
        known = self._known(host)
        known.checked_at, known.answers, known.counted_at = self._clock(), 0, None
        known.is_being_checked = True
        try:
            yield
        finally:
            known.is_being_checked = False
            self._check_ended.set()

    def report(self, host: str, result: HealthCheckResult) -> None:
        """A health check was completed."""
        self._known(host).result = result

    def same_text(self, host: str) -> None:
        """A frame got the text of another frame that looks different."""
        self._answered(host).same_in_a_row += 1

    def fine(self, host: str) -> None:
        """A frame got a text of its own."""
        self._answered(host).same_in_a_row = 0

    def empty(self, host: str) -> None:
        """A reply was empty."""
        self._answered(host)

    def gone(self, host: str) -> None:
        """The host is backing off: it does not respond, or responds with errors only."""
        known = self._known(host)
        if known.gone_since is None and not self.is_unhealthy(host):
            known.gone_since = self._clock()

    def back(self, host: str) -> None:
        """The host responds again. If its last health check failed, it may have been repaired: check it again."""
        known = self._known(host)
        if known.gone_since is not None and _is_bad(known):
            known.checked_at, known.counted_at = None, None
        known.gone_since = None

    def is_bad(self, host: str) -> bool:
        """Whether the host's last health check failed."""
        return _is_bad(self._known(host))

    def is_unhealthy(self, host: str) -> bool:
        """Whether the host gets no frames: its health check failed, and another host is healthy."""
        return self.is_bad(host) and any(self._is_healthy(other) for other in self._hosts.values())

    def is_undecided(self, host: str) -> bool:
        """Whether its health check failed while that of another host is running, which tells if the model is weak."""
        others = (known for other, known in self._hosts.items() if other != host)
        return self.is_bad(host) and not self.is_unhealthy(host) and any(known.is_being_checked for known in others)

    async def wait_until_decided(self, host: str) -> None:
        """Wait until no other host's health check decides about this host."""
        while self.is_undecided(host):
            self._check_ended.clear()
            await self._check_ended.wait()

    def sentences(self) -> dict[str, str]:
        """Warnings for people, by host; healthy hosts are left out."""
        warnings = {}
        for host, known in self._hosts.items():
            if known.result is not None and known.result.is_bad:
                suffix = "; it gets no frames while another host is healthy" if self.is_unhealthy(host) else ""
                warnings[host] = known.result.sentence + suffix
            elif known.same_in_a_row > SAME_TEXTS_IN_A_ROW:
                warnings[host] = (
                    f"{host} returned the text of an earlier, different-looking frame {known.same_in_a_row} times in a "
                    "row: the model may be weak, or Ollama may need a restart"
                )
        return warnings

    def _is_time(self, known: _HostRecord) -> bool:
        if known.checked_at is None:
            return True
        if known.answers < FEWEST_FRAMES:
            return False
        if known.result is None or self._clock() - known.checked_at >= HEALTH_CHECK_SECONDS:
            return True
        return known.same_in_a_row > SAME_TEXTS_IN_A_ROW and known.answers >= SUSPICIOUS_FRAMES

    def _is_healthy(self, known: _HostRecord) -> bool:
        if known.result is None or known.result.is_bad:
            return False
        return known.gone_since is None or self._clock() - known.gone_since < GONE_SECONDS

    def _answered(self, host: str) -> _HostRecord:
        self.back(host)
        known = self._known(host)
        known.answers += 1
        return known

    def _known(self, host: str) -> _HostRecord:
        return self._hosts.setdefault(host, _HostRecord())


class HealthChecker:
    """Runs the health checks of one host, on its event loop; `health` gets the results."""

    def __init__(self, describer: Describer, host: str, health: HostHealth, stopping: asyncio.Event) -> None:
        self._describer = describer
        self._host = host
        self._health = health
        self._stopping = stopping
        self._running = asyncio.Lock()  # held while health check images are out

    async def repeat(self, slots: asyncio.Semaphore, on_held_back: Callable[[], None]) -> None:
        """Run the health check whenever it is due, in the slots, between frames; until cancelled.

        `on_held_back` is called when the host must get no frames.
        """
        while True:
            async with self._running:
                if self._describer.is_model and await self._health.is_due(self._host):
                    await self.check(slots)
            if self._health.is_unhealthy(self._host) or self._health.is_undecided(self._host):
                on_held_back()
            await asyncio.sleep(HEALTH_CHECK_POLL_SECONDS)

    async def check(self, slots: asyncio.Semaphore) -> None:
        """Run the health check, unless the worker stops. If a request fails, frames will show what is wrong."""
        was_bad = self._health.is_bad(self._host)
        gate = RequestGate(slots, self._stopping.is_set)  # also while the circuit breaker is open
        with self._health.checking(self._host):
            checking = asyncio.create_task(check_health(self._describer, self._host, gate=gate))
            stopped = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait((checking, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not checking.done():
                    return
                result = checking.result()
            except (GateClosedError, DescribeError) as error:
                log.debug("health check of %s not completed: %s", self._host, error)
                return
            finally:
                for task in (checking, stopped):
                    task.cancel()
                await asyncio.gather(checking, stopped, return_exceptions=True)
            self._health.report(self._host, result)
        if result.is_bad:
            log.warning("%s", result.sentence, extra=about(Action.HEALTH_CHECK_FAILED, host=self._host))
        elif was_bad:
            log.info("%s", result.sentence, extra=about(Action.HOST_READY, host=self._host))

    async def wait(self) -> None:
        """Wait until a health check that is running has ended."""
        async with self._running:
            pass


def frames_ahead(options: RunOptions, *, left: int, described: int, seconds: float, time_left: float | None) -> int:
    """How many frames a run will probably still describe.

    `left` frames remain, `described` were described in the run's `seconds` so far. Considers the run's limit and its
    `time_left` (seconds; None: no deadline). At the start of a run with a deadline the speed is unknown: 0.
    """
    ahead = left
    if options.limit is not None:
        ahead = min(ahead, options.limit - described)
    if time_left is not None:
        ahead = min(ahead, int(described * max(0.0, time_left) / seconds)) if seconds > 0 else 0
    return ahead


def _is_bad(known: _HostRecord) -> bool:
    return known.result is not None and known.result.is_bad
