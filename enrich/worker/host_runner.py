"""The host runner: keeps one host busy with frames, through failures of frames and of the host.

A host serves a fixed number of requests at once. The next request is sent before the last reply is parsed and saved,
so that the host never waits for this program.

Failures are attributed to the host or to its frames by a probe: see `failure_attribution`. A frame may end the model
runner, and every request in flight with it; these frames, and those that failed in a row, are suspects: they are
retried one at a time, with nothing else in flight on the host, before it gets others.

Health check images are sent between frames now and then. A host that fails its health check while another host passes
it gets no frames until it passes again.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from db.models import HostState
from enrich.describe.asking import CRASHES, ask
from enrich.describe.describer import Answer, Describer, Problem
from enrich.describe.health_check import is_silent
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import (
    AccountError,
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostError,
    ModelError,
)
from enrich.logs import Action, about
from enrich.schedule.gap_filling import GapFilling
from enrich.wording import format_count
from enrich.worker.activity import RequestInFlight
from enrich.worker.circuit_breaker import CircuitBreaker, GateClosedError, RequestGate
from enrich.worker.failure_attribution import FailureAttribution, HostSuspects
from enrich.worker.host_health import HealthChecker, HostHealth
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher
from enrich.worker.result_writer import ResultWriter
from enrich.worker.run_context import RunContext

log = logging.getLogger(__name__)

FRAMES_PER_REQUEST_SLOT = 2  # one is in flight, the next is ready to be sent
FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
MOST_BACKOFF_DOUBLINGS = 10  # 2 ** failures would overflow after a night without a host


@dataclass(frozen=True, slots=True)
class DescribeState:
    """What a run learns while describing. Shared by its host runners; it outlives the pipelines."""

    describer: Describer
    writer: ResultWriter
    health: HostHealth
    gap_filling: GapFilling | None
    history: ReplyHistory = field(default_factory=ReplyHistory)


class HostRunner:
    """One host of one pipeline, on its event loop. `suspects` is shared by all runners of a pipeline."""

    def __init__(
        self,
        context: RunContext,
        describing: DescribeState,
        host: str,
        *,
        prefetcher: Prefetcher,
        suspects: HostSuspects,
        stopping: asyncio.Event,
    ) -> None:
        self.host = host
        self.state = HostState.PROBING
        self.reason: str | None = None
        self._context = context
        self._describer = describing.describer
        self._prefetcher = prefetcher
        self._writer = describing.writer
        self._history = describing.history
        self._health = describing.health
        self._checker = HealthChecker(describing.describer, host, describing.health, stopping)
        self._suspects = suspects
        self._stopping = stopping
        self._slot_count = context.library.settings.concurrency
        self._slots = asyncio.Semaphore(self._slot_count)
        self._breaker = CircuitBreaker()
        self._failures = FailureAttribution(host, describing.writer, suspects)
        self._backoffs = 0  # in a row, without a reply in between
        context.activity.enter(host, self.state, None, self._slot_count)

    @property
    def is_undecided(self) -> bool:
        """Whether it is still open who is to blame for the last failures: attempts may be refunded."""
        return self._failures.is_undecided

    async def run(self) -> None:
        """Serve until cancelled or until the worker stops; requests in flight are then finished."""
        try:
            while not self._stopping.is_set():
                if await self._probe():
                    await self._serve()
        finally:
            self._failures.drop()
            self._enter(HostState.STOPPED)

    async def _probe(self) -> bool:
        """Check that the host can describe. Back off if it cannot."""
        trouble = self._breaker.take_trouble()
        if trouble is not None:
            await self._back_off(trouble)
            if isinstance(trouble, HostBusyError):  # it works and has too much to do: probing would add to it
                return not self._stopping.is_set()
        if self._stopping.is_set():
            return False
        try:
            report = await self._describer.prepare(self.host)
            if self._failures.has_empty_reply and await is_silent(self._describer, self.host):
                raise HostError(
                    f"{self.host} returns empty replies for every image: restart Ollama, or use another model"
                )
        except DescribeError as error:
            await self._failures.blame_host()
            await self._back_off(error)
            return False
        if report.calls_at_once is not None:
            self._slot_count = min(self._slot_count, report.calls_at_once)
        self._health.back(self.host)
        if await self._is_held_back():
            return False
        log.info("%s", report.sentence, extra=about(Action.HOST_READY, host=self.host))
        if (failure := await self._failures.blame_frames()) is not None:
            await self._save_failure(failure.item, failure.error, failure.answer)
        return True

    async def _is_held_back(self) -> bool:
        """Whether a failed health check keeps frames from the host; it is repeated if due, else the host backs off."""
        if self._health.is_undecided(self.host):
            await self._await_decision()
        if not self._health.is_unhealthy(self.host):
            return self._stopping.is_set()
        await self._failures.blame_host()
        if await self._health.is_due(self.host):
            await self._checker.check(self._slots)
        if not self._health.is_unhealthy(self.host):
            return False
        await self._back_off(HostError(self._health.sentences()[self.host]))
        return True

    async def _await_decision(self) -> None:
        """Wait for the health check of another host: it tells whether this host or the model is bad."""
        self._enter(HostState.PROBING, "its health check failed; the health check of another host is running")
        ends = [
            asyncio.ensure_future(wait) for wait in (self._health.wait_until_decided(self.host), self._stopping.wait())
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in ends:
                waiting.cancel()

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
        """Keep all slots busy until the circuit breaker opens or the worker stops. Suspects come first, alone."""
        self._breaker.close()
        self._slots = asyncio.Semaphore(self._slot_count)
        await self._retry_suspects()
        if self._sends_no_frames():
            return
        self._enter(HostState.SERVING)
        count = self._slot_count * FRAMES_PER_REQUEST_SLOT
        loops = [asyncio.create_task(self._describe_frames()) for _ in range(count)]
        serving = asyncio.gather(*loops)
        checking = asyncio.create_task(self._checker.repeat(self._slots, self._breaker.open))
        watching = asyncio.create_task(self._watch_suspects())
        try:
            done, _ = await asyncio.wait((serving, checking), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if self._breaker.trouble is None and not self._stopping.is_set():
                await self._checker.wait()  # frames fail during a health check, which tells who is to blame
        finally:
            for task in (*loops, checking, watching):
                task.cancel()
            await asyncio.gather(*loops, serving, checking, watching, return_exceptions=True)

    async def _retry_suspects(self) -> None:
        """Retry suspected frames one at a time, until one fails. Each host retries only frames that were in flight."""
        if not (count := self._suspects.count(self.host)):
            return
        frames = format_count(count, "frame")
        log.warning(
            "%s: retrying %s one at a time, because a host failed while they were in flight",
            self.host,
            frames,
            extra=about(Action.SUSPECTS_ISOLATED, host=self.host),
        )
        self._enter(HostState.SERVING, f"retrying {frames} one at a time: a host failed while they were in flight")
        while not self._sends_no_frames() and (item := self._suspects.take(self.host)) is not None:
            await self._describe(item, alone=True)

    async def _watch_suspects(self) -> None:
        """Stop sending frames when one must be retried alone."""
        await self._suspects.wait(self.host)
        self._breaker.open()

    async def _describe_frames(self) -> None:
        while not self._sends_no_frames():
            item = await self._next()
            if item is not None and self._suspects.is_suspect(item):  # claimed again after a failed attempt
                self._suspects.hold(item)
            elif item is not None:
                await self._describe(item)

    def _sends_no_frames(self) -> bool:
        return self._stopping.is_set() or self._breaker.is_open

    async def _next(self) -> PrefetchedFrame | None:
        """The next frame; None once the circuit breaker opens or the worker stops."""
        take = asyncio.ensure_future(self._prefetcher.take())
        ends = [asyncio.ensure_future(wait) for wait in (self._breaker.wait_until_open(), self._stopping.wait())]
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

    async def _describe(self, item: PrefetchedFrame, *, alone: bool = False) -> None:
        """Describe a frame. `alone`: it is a suspect, and nothing else is in flight on the host."""
        request = RequestInFlight(item.frame.id, item.task.video_id, item.frame.timestamp)
        begin_request = partial(self._context.activity.begin_request, self.host, request)
        gate = RequestGate(self._slots, self._sends_no_frames, begin_request)
        try:
            answer = await ask(
                self._describer,
                item.question,
                host=self.host,
                gate=gate,
                worth_retrying=self._history.is_worth_retrying,
                same_text=lambda said: self._describer.is_model and self._history.is_same_text(said, item.dhash),
            )
        except GateClosedError:
            self._give_back(item)
        except (HostError, ModelError, CallFailedError, CallTimeoutError) as error:
            await self._failed(item, error, alone=alone)
        except asyncio.CancelledError:
            self._give_back(item)
            raise
        else:
            await self._answered(item, answer, asked_at=gate.opened_at, alone=alone)
        finally:
            self._context.activity.end_request(self.host, request)

    def _give_back(self, item: PrefetchedFrame) -> None:
        """Return a frame as it was: its host was to blame, or was not asked."""
        if self._suspects.is_suspect(item):
            self._suspects.hold(item)
        else:
            self._prefetcher.return_item(item)

    async def _answered(self, item: PrefetchedFrame, answer: Answer, *, asked_at: float, alone: bool) -> None:
        # The request may have been sent before it was known that the host is unhealthy: use a healthy host.
        if self._health.is_unhealthy(self.host) or self._health.is_undecided(self.host):
            self._give_back(item)
            self._breaker.open()
            return
        if answer.description is None:
            self._health.empty(self.host)
            await self._frame_failed(item, None, answer, alone=alone)
            return
        is_same = any(warning.problem is Problem.SAME_TEXT for warning in answer.warnings)
        (self._health.same_text if is_same else self._health.fine)(self.host)
        self._history.learn(answer, item.dhash)
        self._failures.record_reply(asked_at)
        self._suspects.clear(item)
        self._backoffs = 0
        await self._settle(item, self._writer.save_answer(item, answer), answer)

    async def _failed(self, item: PrefetchedFrame, error: DescribeError, *, alone: bool) -> None:
        """A request failed: because of the host, of this frame, or of another one that was in flight."""
        is_crash = isinstance(error, CRASHES)
        if isinstance(error, HostError | AccountError) and not is_crash:
            self._give_back(item)
            self._breaker.open(error)
            if alone:  # a host that stays busy must not keep its suspects from the others
                self._suspects.release(self.host)
        elif not alone and is_crash:
            self._suspects.hold(item, self.host)
            self._breaker.open(_host_trouble(error))
        elif not alone and isinstance(error, ModelError):
            self._suspects.refuse(item, self.host)
            self._breaker.open(error)
        else:
            await self._frame_failed(item, error, None, alone=alone)

    async def _frame_failed(
        self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None, *, alone: bool
    ) -> None:
        """A frame failed. Alone on the host, the next probe tells whether that counts; else it counts for now."""
        if alone:
            self._failures.record_alone(item, error, answer)
            self._breaker.open(_host_trouble(error))
            return
        self._failures.record(item, error, answer)
        if self._failures.is_undecided:
            self._breaker.open()
        await self._save_failure(item, error, answer)

    async def _save_failure(self, item: PrefetchedFrame, error: DescribeError | None, answer: Answer | None) -> None:
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

    def _enter(self, state: HostState, reason: str | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._context.activity.enter(self.host, state, reason, self._slot_count)
            self._context.wake()


def _host_trouble(error: DescribeError | None) -> DescribeError | None:
    """The error, if the host must back off because of it; None if only the frame failed."""
    return error if isinstance(error, HostError | ModelError) else None
