"""The host runner: keeps one host busy with frames, through failures of frames and of the host.

A host serves a fixed number of requests at once. The next request is sent before the last reply is parsed and saved,
so that the host never waits for this program.

Who is to blame for a failure: a single failing frame is at fault, and its attempt is counted. After several failures in
a row the circuit breaker opens and the host is probed. If the probe fails, the host is at fault: the attempts are
refunded, and it is probed again with backoff. If the probe passes, the attempts stay counted. If a host goes down over
the same frame again and again but works otherwise, that frame is at fault.

Health check images are sent between frames now and then. A host that fails its health check while another host passes
it gets no frames until it passes again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from db.models import HostState
from enrich.describe.asking import ask
from enrich.describe.describer import Answer, Describer, Problem
from enrich.describe.health_check import check_health, is_silent
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    HostError,
    ModelError,
)
from enrich.logs import Action, about
from enrich.worker.activity import RequestInFlight
from enrich.worker.host_health import HostHealth
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher
from enrich.worker.result_writer import ResultWriter
from enrich.worker.run_context import RunContext

log = logging.getLogger(__name__)

FAILURE_THRESHOLD = 3  # failures in a row that open the circuit breaker
FRAMES_PER_REQUEST_SLOT = 2  # one is in flight, the next is ready to be sent
HANDOFF_DELAY_SECONDS = 0.01  # lets the next request be sent before this reply is parsed
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
MOST_BACKOFF_DOUBLINGS = 10  # 2 ** failures would overflow after a night without a host
HEALTH_CHECK_POLL_SECONDS = 2.0  # how often to look whether a health check is due


@dataclass(frozen=True, slots=True)
class _Failure:
    """A counted attempt, and when it failed (monotonic seconds)."""

    at: float
    item: PrefetchedFrame
    was_empty: bool  # the reply was; else the request failed


class _GateClosedError(Exception):
    """The request was not sent: the circuit breaker is open, or the worker stops."""


class _RequestGate:
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
        """Wait for a free slot. Raises _GateClosedError if a first request is no longer wanted."""
        await self._slots.acquire()
        if self.opened_at == float("inf"):
            if self._is_closed():
                self._slots.release()
                raise _GateClosedError
            self.opened_at = time.monotonic()
        self._on_admitted()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.release()
        if error is None:
            await asyncio.sleep(HANDOFF_DELAY_SECONDS)


class HostRunner:
    """One host of one pipeline, on its event loop. `history` and `health` are shared by all runners of a run."""

    def __init__(
        self,
        context: RunContext,
        describer: Describer,
        host: str,
        *,
        prefetcher: Prefetcher,
        writer: ResultWriter,
        history: ReplyHistory,
        health: HostHealth,
        stopping: asyncio.Event,
    ) -> None:
        self.host = host
        self.state = HostState.PROBING
        self.reason: str | None = None
        self._slots = asyncio.Semaphore(context.library.settings.concurrency)
        self._context = context
        self._describer = describer
        self._prefetcher = prefetcher
        self._writer = writer
        self._history = history
        self._health = health
        self._stopping = stopping
        self._slot_count = context.library.settings.concurrency
        self._breaker_open = asyncio.Event()  # no frame is sent until the host was probed
        self._trouble: DescribeError | None = None  # why the breaker opened, if the host is at fault
        self._checking = asyncio.Lock()  # held while health check images are out
        self._failures: list[_Failure] = []  # in a row; a frame may be among them more than once
        self._brought_down: Counter[int] = Counter()  # how often the host went down over a task, by id
        self._backoffs = 0  # in a row, without a reply in between
        context.activity.enter(host, self.state, None, self._slot_count)

    @property
    def is_undecided(self) -> bool:
        """Whether it is still open who is to blame for the last failures: attempts may be refunded."""
        return len(self._failures) >= FAILURE_THRESHOLD

    async def run(self) -> None:
        """Serve until cancelled or until the worker stops; requests in flight are then finished."""
        try:
            while not self._stopping.is_set():
                if await self._probe():
                    self._enter(HostState.SERVING)
                    await self._serve()
        finally:
            self._enter(HostState.STOPPED)

    async def _probe(self) -> bool:
        """Check that the host can describe. Back off if it cannot."""
        trouble, self._trouble = self._trouble, None
        if isinstance(trouble, HostError):
            await self._back_off(trouble)
            if isinstance(trouble, HostBusyError):  # it works and has too much to do: probing would add to it
                return not self._stopping.is_set()
        if self._stopping.is_set():
            return False
        try:
            report = await self._describer.prepare(self.host)
            if any(failure.was_empty for failure in self._failures) and await is_silent(self._describer, self.host):
                raise HostError(
                    f"{self.host} returns empty replies for every image: restart Ollama, or use another model"
                )
        except DescribeError as error:
            await self._refund_failures()
            await self._back_off(error)
            return False
        if report.calls_at_once is not None:
            self._slot_count = min(self._slot_count, report.calls_at_once)
        self._health.back(self.host)
        if await self._is_held_back():
            return False
        log.info("%s", report.sentence, extra=about(Action.HOST_READY, host=self.host))
        self._failures.clear()  # the host describes, so the frames were at fault
        return True

    async def _is_held_back(self) -> bool:
        """Whether a failed health check keeps frames from the host; it is repeated if due, else the host backs off."""
        if not self._health.is_unhealthy(self.host):
            return False
        await self._refund_failures()
        if await self._health.is_due(self.host):
            await self._check_health()
        if not self._health.is_unhealthy(self.host):
            return False
        await self._back_off(HostError(self._health.sentences()[self.host]))
        return True

    async def _refund_failures(self) -> None:
        if self._failures:
            await self._writer.refund_attempts([failure.item for failure in self._failures])
            self._failures.clear()

    async def _back_off(self, error: DescribeError) -> None:
        seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(self._backoffs, MOST_BACKOFF_DOUBLINGS))
        self._backoffs += 1
        self._health.gone(self.host)
        self._enter(HostState.BACKING_OFF, str(error))
        extra = about(Action.HOST_BACKING_OFF, host=self.host)
        log.warning("%s: backing off, retrying in %.0f s: %s", self.host, seconds, error, extra=extra)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _serve(self) -> None:
        """Keep all slots busy until the circuit breaker opens or the worker stops."""
        self._breaker_open.clear()
        self._slots = asyncio.Semaphore(self._slot_count)
        count = self._slot_count * FRAMES_PER_REQUEST_SLOT
        loops = [asyncio.create_task(self._describe_frames()) for _ in range(count)]
        serving, checking = asyncio.gather(*loops), asyncio.create_task(self._repeat_health_checks())
        try:
            done, _ = await asyncio.wait((serving, checking), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if self._trouble is None and not self._stopping.is_set():
                async with self._checking:  # frames fail during a health check, which tells who is to blame
                    pass
        finally:
            for task in (*loops, checking):
                task.cancel()
            await asyncio.gather(*loops, serving, checking, return_exceptions=True)

    async def _repeat_health_checks(self) -> None:
        """Run the health check whenever it is due, in the slots, between frames; until cancelled."""
        while True:
            async with self._checking:
                if self._describer.is_model and await self._health.is_due(self.host):
                    await self._check_health()
            if self._health.is_unhealthy(self.host):
                self._open_breaker(None)
            await asyncio.sleep(HEALTH_CHECK_POLL_SECONDS)

    async def _check_health(self) -> None:
        """Run the health check, unless the worker stops. If a request fails, frames will show what is wrong."""
        was_bad = self._health.is_bad(self.host)
        self._health.begin(self.host)
        gate = _RequestGate(self._slots, self._stopping.is_set)  # also while the circuit breaker is open
        checking = asyncio.create_task(check_health(self._describer, self.host, gate=gate))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((checking, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not checking.done():
                return
            result = checking.result()
        except (_GateClosedError, DescribeError) as error:
            log.debug("health check of %s not completed: %s", self.host, error)
            return
        finally:
            for task in (checking, stopped):
                task.cancel()
            await asyncio.gather(checking, stopped, return_exceptions=True)
        self._health.report(self.host, result)
        if result.is_bad:
            log.warning("%s", result.sentence, extra=about(Action.HEALTH_CHECK_FAILED, host=self.host))
        elif was_bad:
            log.info("%s", result.sentence, extra=about(Action.HOST_READY, host=self.host))

    async def _describe_frames(self) -> None:
        while not self._sends_no_frames():
            item = await self._next()
            if item is not None:
                await self._describe(item)

    def _sends_no_frames(self) -> bool:
        return self._stopping.is_set() or self._breaker_open.is_set()

    async def _next(self) -> PrefetchedFrame | None:
        """The next frame; None once the circuit breaker opens or the worker stops."""
        take = asyncio.ensure_future(self._prefetcher.take())
        ends = [asyncio.ensure_future(event.wait()) for event in (self._breaker_open, self._stopping)]
        try:
            await asyncio.wait([take, *ends], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if take.done() and not take.cancelled():
                self._prefetcher.return_item(take.result())
            raise
        finally:
            for waiting in (take, *ends):
                waiting.cancel()
        return take.result() if take.done() and not take.cancelled() else None

    async def _describe(self, item: PrefetchedFrame) -> None:
        request = RequestInFlight(item.frame.id, item.task.video_id, item.frame.timestamp)
        begin_request = partial(self._context.activity.begin_request, self.host, request)
        gate = _RequestGate(self._slots, self._sends_no_frames, begin_request)
        try:
            answer = await ask(
                self._describer,
                item.question,
                host=self.host,
                gate=gate,
                worth_retrying=self._history.is_worth_retrying,
                same_text=lambda said: self._describer.is_model and self._history.is_same_text(said, item.dhash),
            )
        except _GateClosedError:
            self._prefetcher.return_item(item)
        except (HostError, ModelError) as error:
            await self._host_failed(item, error)
        except (CallFailedError, CallTimeoutError) as error:
            await self._frame_failed(item, error, None)
        except asyncio.CancelledError:
            self._prefetcher.return_item(item)
            raise
        else:
            await self._answered(item, answer, asked_at=gate.opened_at)
        finally:
            self._context.activity.end_request(self.host, request)

    async def _answered(self, item: PrefetchedFrame, answer: Answer, *, asked_at: float) -> None:
        if self._health.is_unhealthy(self.host):  # the request was sent before that was known: use a healthy host
            self._prefetcher.return_item(item)
            self._open_breaker(None)
            return
        if answer.description is None:
            self._health.empty(self.host)
            await self._frame_failed(item, None, answer)
            return
        is_same = any(warning.problem is Problem.SAME_TEXT for warning in answer.warnings)
        (self._health.same_text if is_same else self._health.fine)(self.host)
        self._history.learn(answer, item.dhash)
        # A reply says nothing about failures after its request was sent: the host may have broken since.
        self._failures = [failure for failure in self._failures if failure.at >= asked_at]
        self._brought_down.pop(item.task.id, None)
        self._backoffs = 0
        await self._settle(item, self._writer.save_answer(item, answer), answer)

    async def _host_failed(self, item: PrefetchedFrame, error: DescribeError) -> None:
        """The host is at fault, unless it went down over this one frame again and again and was fine in between."""
        if isinstance(error, HostDownError):
            self._brought_down[item.task.id] += 1
        if self._brought_down[item.task.id] >= FAILURE_THRESHOLD:
            del self._brought_down[item.task.id]
            await self._frame_failed(item, error, None)
        else:
            self._prefetcher.return_item(item)
        self._open_breaker(error)

    async def _frame_failed(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        self._failures.append(_Failure(time.monotonic(), item, was_empty=error is None))
        if self.is_undecided:
            self._open_breaker(None)
        await self._settle(item, self._writer.save_failure(item, error, answer), None)

    async def _settle(self, item: PrefetchedFrame, saving: "asyncio.Task[bool]", answer: Answer | None) -> None:
        """Wait until a result is saved. Without the wait, results would pile up before a slow disk, and a kill would
        lose them. Cancelling the wait does not cancel the saving.
        """

        def release_item(task: "asyncio.Task[bool]") -> None:
            is_saved = not task.cancelled() and task.exception() is None and task.result()
            self._prefetcher.settled(item, answer.description if answer is not None and is_saved else None)

        saving.add_done_callback(release_item)
        await asyncio.wait([saving])

    def _open_breaker(self, error: DescribeError | None) -> None:
        """Send no more frames until the host was probed."""
        self._trouble = error or self._trouble
        self._breaker_open.set()

    def _enter(self, state: HostState, reason: str | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._context.activity.enter(self.host, state, reason, self._slot_count)
            self._context.wake()
