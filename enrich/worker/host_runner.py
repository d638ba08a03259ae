"""A lane: one host of the describer, its calls at once, and its circuit.

    preparing ──the test card is described──► open ──trouble──► resting ──pause over──► preparing
                                                │
                                                └─ three attempts fail in a row ─► preparing, suspected

A host that is down, busy or without its model rests, with growing pauses; the frames it had in hand go back to the
feed with nothing counted. When several attempts fail in a row, the test card decides who is to blame: if the host
describes it, the frames are, and their attempts count; if not, the host is, and the attempts are given back.

Beside the frames, now and then, go the canary's pictures. A host that is set aside for what it says of them rests.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from db.models import HostState
from enrich.describe.asking import ask
from enrich.describe.describer import Answer, Call, Describer, Problem, Question
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
from enrich.worker.activity import Activity, RequestInFlight
from enrich.worker.host_health import HostHealth
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher

log = logging.getLogger(__name__)

FAILURE_THRESHOLD = 3
ITEMS_PER_CALL = 2  # one is being asked about, one is ready for the moment that call ends
HANDOFF_DELAY_SECONDS = 0.01  # a reply lies there unread so long, while the next call goes out
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
HEALTH_CHECK_POLL_SECONDS = 2.0  # how often it is looked whether the canary is due
MOST_DOUBLINGS = 10  # of the first rest: a night without a host must not end in an overflow


@dataclass(frozen=True, slots=True)
class ResultHandlers:
    """What a lane hands on: answers, failed attempts (counted at once), and attempts to give back."""

    answered: Callable[[PrefetchedFrame, Answer], Awaitable[None]]
    failed: Callable[[PrefetchedFrame, DescribeError | None, Answer | None], Awaitable[None]]
    refund_attempts: Callable[[list[PrefetchedFrame]], Awaitable[None]]
    changed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Failure:
    """A counted attempt, and when it failed (monotonic)."""

    at: float
    item: PrefetchedFrame
    was_empty: bool  # the reply; else the call failed


class _OverError(Exception):
    """The lane has closed, or the worker stops: the item was not asked about."""


class _Turn:
    """A describer for one item, asked only when one of the host's calls at once is free.

    The next item's turn comes before this one's reply is read and saved: the host does not wait for that.
    """

    def __init__(
        self,
        describer: Describer,
        gate: asyncio.Semaphore,
        *,
        is_over: Callable[[], bool],
        on_call: Callable[[], None],
    ) -> None:
        self._describer = describer
        self._gate = gate
        self._is_over = is_over
        self._on_call = on_call
        self._is_first = True
        self.began = float("inf")  # monotonic: when its first call was made
        self.read = describer.read

    async def describe(self, question: Question, *, host: str) -> Call:
        """As Describer.describe. Raises _OverError instead of making a first call that nobody waits for."""
        async with self._gate:
            if self._is_first and self._is_over():
                raise _OverError
            if self._is_first:
                self.began = time.monotonic()
            self._is_first = False
            self._on_call()
            call = await self._describer.describe(question, host=host)
        await asyncio.sleep(HANDOFF_DELAY_SECONDS)
        return call


class HostRunner:
    def __init__(
        self,
        describer: Describer,
        host: str,
        *,
        feed: Prefetcher,
        guard: ReplyHistory,
        health: HostHealth,
        slots: int,
        handlers: ResultHandlers,
        stopping: asyncio.Event,
        activity: Activity | None = None,
    ) -> None:
        self.host = host
        self.state = HostState.PROBING
        self.reason: str | None = None
        self.slots = slots
        self._describer = describer
        self._feed = feed
        self._guard = guard
        self._health = health
        self._handlers = handlers
        self._stopping = stopping
        self._activity = activity if activity is not None else Activity()
        self._activity.enter(host, self.state, None, slots)
        self._trouble: DescribeError | None = None
        self._closing = asyncio.Event()
        self._gate = asyncio.Semaphore(slots)
        self._asking = asyncio.Lock()  # held while the canary is out
        self._streak: list[_Failure] = []  # in a row: a frame may be among them more than once
        self._brought_down: Counter[int] = Counter()  # how often the host went down over a task, by id
        self._rests = 0  # in a row, without an answer in between

    @property
    def is_suspected(self) -> bool:
        """Whether it is still open if the last failures were the frames' fault or the host's."""
        return len(self._streak) >= FAILURE_THRESHOLD

    async def run(self) -> None:
        """Serve until cancelled, or until the worker stops; calls in flight are then brought to their end."""
        try:
            while not self._stopping.is_set():
                if await self._is_ready():
                    self._enter(HostState.SERVING)
                    await self._serve()
        finally:
            self._enter(HostState.STOPPED)

    async def _is_ready(self) -> bool:
        """Prepare the host; if that fails, rest."""
        trouble, self._trouble = self._trouble, None
        if isinstance(trouble, HostError):
            await self._rest(trouble)
            if isinstance(trouble, HostBusyError):  # it works, it has too much to do: the test card would add to it
                return not self._stopping.is_set()
        if self._stopping.is_set():
            return False
        try:
            report = await self._describer.prepare(self.host)
            if any(failure.was_empty for failure in self._streak) and await is_silent(self._describer, self.host):
                raise HostError(f"{self.host} says nothing of any picture: restart Ollama, or take another model")
        except DescribeError as error:
            await self._blame_host()
            await self._rest(error)
            return False
        if report.calls_at_once is not None:
            self.slots = min(self.slots, report.calls_at_once)
        self._health.back(self.host)
        if await self._stands_aside():
            return False
        log.info("%s", report.sentence, extra=about(Action.HOST_READY, host=self.host))
        self._streak.clear()  # the host describes: whatever failed before is the frames' own
        return True

    async def _stands_aside(self) -> bool:
        """Rest if the canary says so; whether it does, the canary is asked once more, if it is time."""
        if not self._health.is_unhealthy(self.host):
            return False
        await self._blame_host()
        if await self._health.is_due(self.host):
            await self._ask_canary()
        if not self._health.is_unhealthy(self.host):
            return False
        await self._rest(HostError(self._health.sentences()[self.host]))
        return True

    async def _blame_host(self) -> None:
        if self._streak:
            await self._handlers.refund_attempts([failure.item for failure in self._streak])
            self._streak.clear()

    async def _rest(self, error: DescribeError) -> None:
        seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(self._rests, MOST_DOUBLINGS))
        self._rests += 1
        self._health.gone(self.host)
        self._enter(HostState.BACKING_OFF, str(error))
        log.warning(
            "%s rests for %.0f s: %s", self.host, seconds, error, extra=about(Action.HOST_BACKING_OFF, host=self.host)
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _serve(self) -> None:
        """Keep all slots busy until there is trouble, or the worker stops."""
        self._closing.clear()
        self._gate = asyncio.Semaphore(self.slots)
        slots = [asyncio.create_task(self._slot()) for _ in range(self.slots * ITEMS_PER_CALL)]
        serving, checking = asyncio.gather(*slots), asyncio.create_task(self._check())
        try:
            ended, _ = await asyncio.wait((serving, checking), return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            if self._trouble is None and not self._stopping.is_set():
                async with self._asking:  # frames fail while the canary is out: it tells who is to blame
                    pass
        finally:
            for task in (*slots, checking):
                task.cancel()
            await asyncio.gather(*slots, serving, checking, return_exceptions=True)

    async def _check(self) -> None:
        """Ask the canary's pictures whenever they are due, in the slots, among the frames; until cancelled."""
        while True:
            async with self._asking:
                if self._describer.is_model and await self._health.is_due(self.host):
                    await self._ask_canary()
            if self._health.is_unhealthy(self.host):
                self._close(None)
            await asyncio.sleep(HEALTH_CHECK_POLL_SECONDS)

    async def _ask_canary(self) -> None:
        """Ask them now, unless the worker stops. Should a call fail, frames will show what is wrong with the host."""
        was_bad = self._health.is_bad(self.host)
        self._health.begin(self.host)
        turn = _Turn(self._describer, self._gate, is_over=self._stopping.is_set, on_call=lambda: None)
        asking = asyncio.create_task(check_health(cast("Describer", turn), self.host))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((asking, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return
            result = asking.result()
        except (_OverError, DescribeError) as error:
            log.debug("the canary of %s came to no end: %s", self.host, error)
            return
        finally:
            for task in (asking, stopped):
                task.cancel()
            await asyncio.gather(asking, stopped, return_exceptions=True)
        self._health.report(self.host, result)
        if result.is_bad:
            log.warning("%s", result.sentence, extra=about(Action.HEALTH_CHECK_FAILED, host=self.host))
        elif was_bad:
            log.info("%s", result.sentence, extra=about(Action.HOST_READY, host=self.host))

    async def _slot(self) -> None:
        while not self._closing.is_set() and not self._stopping.is_set():
            item = await self._next()
            if item is not None:
                await self._describe(item)

    async def _next(self) -> PrefetchedFrame | None:
        """The next item, None once the lane closes or the worker stops."""
        take = asyncio.ensure_future(self._feed.take())
        ends = [asyncio.ensure_future(event.wait()) for event in (self._closing, self._stopping)]
        try:
            await asyncio.wait([take, *ends], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if take.done() and not take.cancelled():
                self._feed.return_item(take.result())
            raise
        finally:
            for waiting in (take, *ends):
                waiting.cancel()
        return take.result() if take.done() and not take.cancelled() else None

    async def _describe(self, item: PrefetchedFrame) -> None:
        call = RequestInFlight.of(item)
        turn = _Turn(
            self._describer,
            self._gate,
            is_over=lambda: self._closing.is_set() or self._stopping.is_set(),
            on_call=lambda: self._activity.begin_call(self.host, call),
        )
        try:
            await self._ask(item, turn)
        finally:
            self._activity.end_call(self.host, call)

    async def _ask(self, item: PrefetchedFrame, turn: _Turn) -> None:
        try:
            answer = await ask(
                cast("Describer", turn),  # which has all that asking needs
                item.question,
                host=self.host,
                worth_retrying=self._guard.is_worth_retrying,
                same_text=lambda description: (
                    self._describer.is_model and self._guard.is_same_text(description, item.dhash)
                ),
            )
        except _OverError:
            self._feed.return_item(item)
        except (HostError, ModelError) as error:
            await self._host_failed(item, error)
        except (CallFailedError, CallTimeoutError) as error:
            await self._failed(item, error, None)
        except asyncio.CancelledError:
            self._feed.return_item(item)
            raise
        else:
            if self._health.is_unhealthy(self.host):  # asked before that was known: the other host will see more
                self._feed.return_item(item)
                self._close(None)
                return
            if answer.description is None:
                self._health.empty(self.host)
                await self._failed(item, None, answer)
                return
            is_same = any(doubt.problem is Problem.SAME_TEXT for doubt in answer.warnings)
            (self._health.same_text if is_same else self._health.fine)(self.host)
            self._guard.learn(answer, item.dhash)
            # What failed after this call began is not made good by its answer: the host may have broken meanwhile.
            self._streak = [failure for failure in self._streak if failure.at >= turn.began]
            self._brought_down.pop(item.job.id, None)
            self._rests = 0
            await self._handlers.answered(item, answer)

    async def _host_failed(self, item: PrefetchedFrame, error: DescribeError) -> None:
        """The host's fault, unless this one frame brings it down time and again though it is well in between."""
        if isinstance(error, HostDownError):
            self._brought_down[item.job.id] += 1
        if self._brought_down[item.job.id] >= FAILURE_THRESHOLD:
            del self._brought_down[item.job.id]
            await self._failed(item, error, None)
        else:
            self._feed.return_item(item)
        self._close(error)

    async def _failed(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
        self._streak.append(_Failure(time.monotonic(), item, was_empty=error is None))
        await self._handlers.failed(item, error, answer)
        if self.is_suspected:
            self._close(None)

    def _close(self, error: DescribeError | None) -> None:
        self._trouble = error or self._trouble
        self._closing.set()

    def _enter(self, state: HostState, reason: str | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._activity.enter(self.host, state, reason, self.slots)
            self._handlers.changed()
