"""The worker: decodes, describes and saves at the same time, until nothing is left or it is stopped.

One asyncio loop runs the host runners (one per host) and the prefetcher. Separate threads decode, write results,
renew leases, and write the heartbeat. However a run ends, only the requests in flight are lost: the next run returns
their claims to the queue, and a result is saved in one transaction with the end of its task.

A run is a sequence of pipelines. Between two of them it is paused, or outside its working hours: the model's memory is
freed, and no task is claimed.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from db import queries
from db.engine import reading
from db.errors import StorageError
from db.models import DEEP, HostState, RunState
from db.runs import PAUSE, RESUME, STOP, ProcessIdentity
from enrich.clock import Hours, parse_hours
from enrich.describe.describer import Describer
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.schedule.gap_filling import GapFilling
from enrich.worker.activity import Activity
from enrich.worker.database_thread import DatabaseThread
from enrich.worker.extract_task import ExtractionProgress
from enrich.worker.heartbeat import Heartbeat
from enrich.worker.host_health import HostHealth, frames_ahead
from enrich.worker.host_runner import DescribeState
from enrich.worker.keep_awake import SleepInhibitor
from enrich.worker.leases import LeaseRenewal
from enrich.worker.pipeline import (
    Pipeline,
    SuspectKind,
    check_tasks,
    remaining_options,
    suspects_to_isolate,
    unload_model,
)
from enrich.worker.result_writer import ResultWriter
from enrich.worker.run_context import RunContext
from enrich.worker.run_limits import PauseControl, RunDeadline
from enrich.worker.run_options import RunCounts, RunEnd, RunOptions, RunSummary
from enrich.worker.run_record import RunRecord
from enrich.worker.threads import frequent_thread_switches

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often an idle worker polls for new videos, and a busy one checks whether it is finished
GRACE_SECONDS = 5.0  # for requests in flight when the worker is stopped
PAUSE_GRACE_SECONDS = 60.0  # for requests in flight when it is paused, or its working hours end

# A coroutine that runs beside the worker, on its event loop, from the start of a run until it is cancelled at the end.
# It is given the library and the run's id, and handles its own errors.
SideTask = Callable[[Library, int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker is doing now."""

    state: RunState
    reason: str | None
    extracting: ExtractionProgress | None
    counts: RunCounts


class Worker:
    """One run: created and run once, on one event loop. `stop` may be called from any thread or signal handler."""

    def __init__(
        self,
        library: Library,
        describer: Describer | None,
        options: RunOptions,
        *,
        supervisor: ProcessIdentity | None = None,
        log_path: str | None = None,
        side_tasks: Sequence[SideTask] = (),
    ) -> None:
        self._library = library
        self._describer = describer
        self._options = options
        self._supervisor = supervisor
        self._log_path = log_path
        self._side_tasks = side_tasks if options.describe else ()
        self.pass_ = describer.target_pass.value if describer is not None else DEEP
        self._state = RunState.STARTING
        self._reason: str | None = None
        self._host_states: list[HostState] = []  # as last written: what is shown must not lag behind a heartbeat
        self._counts = RunCounts()
        self._activity = Activity()
        self._database = DatabaseThread()
        self._health = HostHealth(self._frames_ahead)
        hours = parse_hours(library.settings.hours) if options.keeps_hours else Hours()
        self._pause = PauseControl(hours, self._record_request_done)
        self._deadline = RunDeadline(options)
        self._inhibitor = SleepInhibitor(library.settings.keep_awake)
        self._record: RunRecord | None = None
        self._pipeline: Pipeline | None = None
        self._isolated: set[SuspectKind] = set()  # suspects that were isolated already
        self._checks: list[Callable[[], None]] = []  # each raises the error of a part of the run that has ended
        self._started_at = time.monotonic()
        self._was_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()  # something happened after which the run may be finished

    @property
    def status(self) -> WorkerStatus:
        """A snapshot; callable from any thread."""
        extracting = self._pipeline.decoder.extracting if self._pipeline is not None else None
        outage = self._database.outage.reason()
        if outage is not None and self._state in (RunState.STARTING, RunState.RUNNING):
            return WorkerStatus(RunState.WAITING, outage, extracting, self._counts)
        return WorkerStatus(self._state, self._reason, extracting, self._counts)

    def stop(self) -> None:
        """Ask the worker to end: from a signal handler, another thread or the loop."""
        self._was_stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_stopping)

    async def run(self) -> RunSummary:
        """Do the run's work. Raises RunningError if another worker runs on the library."""
        with frequent_thread_switches() if self._options.describe else contextlib.nullcontext():
            return await self._run()

    async def _run(self) -> RunSummary:
        self._started_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        try:
            record = self._record = await self._begin()
        except BaseException:
            await self._database.close()
            raise
        if self._was_stopped:
            self._begin_stopping()
        leases = LeaseRenewal(self._library.engine, run_id=record.id, outage=self._database.outage)
        heartbeat = Heartbeat(
            self._library.engine,
            record.id,
            counts=self._counts.as_dict,
            on_request=self._on_request,
            activity=self._heartbeat_activity,
            last_progress_at=self._activity.last_progress_at,
            outage=self._database.outage,
        )
        context = RunContext(
            self._library,
            record.id,
            self.pass_,
            database=self._database,
            leases=leases,
            counts=self._counts,
            activity=self._activity,
            wake=self._woken.set,
        )
        ending, error = RunEnd.STOPPED, None
        side_tasks = [asyncio.create_task(side_task(self._library, record.id)) for side_task in self._side_tasks]
        self._checks = [leases.check, heartbeat.check, self._database.check, partial(check_tasks, side_tasks)]
        try:
            with leases, heartbeat:
                ending = await self._work(context)
            await self._database.drain()
        except BaseException as failure:
            error = failure
            raise
        finally:
            for task in side_tasks:
                task.cancel()
            await asyncio.gather(*side_tasks, return_exceptions=True)
            try:
                await self._end(record, ending, error)
            finally:
                await self._database.close()
                await asyncio.to_thread(self._inhibitor.close)
        seconds = time.monotonic() - self._started_at
        return await asyncio.to_thread(
            record.summary, self._options, self.pass_, ending=ending, counts=self._counts, seconds=seconds
        )

    async def _begin(self) -> RunRecord:
        """Begin the run. If this is cancelled, the run that the thread still begins is ended."""
        begin = partial(
            RunRecord.begin,
            self._library,
            self._describer,
            self._options,
            supervisor=self._supervisor,
            log_path=self._log_path,
            until=self._deadline.planned_end(),
        )
        beginning = asyncio.ensure_future(self._database.run(begin))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            self._state = (await beginning).end(RunEnd.STOPPED, None, counts=self._counts.as_dict())
            raise

    async def _end(self, record: RunRecord, ending: RunEnd, error: BaseException | None) -> None:
        """Record the end of the run. If its database cannot be written, the next run finds that its process is gone."""
        end = partial(record.end, ending, error, counts=self._counts.as_dict())
        try:
            # After an error there is one attempt: the database may be the cause.
            self._state = await (self._database.run(end) if error is None else asyncio.to_thread(end))
        except StorageError as problem:
            log.warning("the end of the run is not recorded: %s", problem, extra=about(Action.DATABASE_FAILED))
            record.close()
            if error is None:
                raise

    async def _work(self, context: RunContext) -> RunEnd:
        """Run one pipeline after another, with pauses between them, until the run ends."""
        describing = self._describe_state(context)
        handed_out = 0
        while True:
            ending = self._end_reason(None) or await self._wait_while_paused()
            if ending is not None:
                return ending
            options = remaining_options(self._options, handed_out)
            describes = describing is not None
            suspects = await suspects_to_isolate(context, options, self._isolated, describes=describes)
            pipeline = Pipeline(context, options, describing, suspects)
            ending = await self._run_pipeline(pipeline)
            if ending is not None:
                return ending
            handed_out += pipeline.prefetcher.handed_out

    def _describe_state(self, context: RunContext) -> DescribeState | None:
        if self._describer is None or not self._options.describe:
            return None
        gap_filling = GapFilling(self._library.engine, self.pass_) if self.pass_ == DEEP else None
        return DescribeState(self._describer, ResultWriter(context), self._health, gap_filling)

    async def _run_pipeline(self, pipeline: Pipeline) -> RunEnd | None:
        """Run one pipeline to its end. Returns None if the run continues after it."""
        self._pipeline = pipeline
        pipeline.start()
        self._deadline.watch(pipeline.stop_claiming)
        self._show_state()
        ending, has_failed = None, True
        try:
            while True:
                ending = self._end_reason(pipeline)
                if ending is None and await pipeline.is_idle(self._stopping):
                    if pipeline.isolated is not None:
                        self._isolated.add(pipeline.isolated)
                        break
                    ending = RunEnd.FINISHED
                if ending is not None or self._pause.now() is not None:
                    break
                self._pause.request_done()
                await self._sleep_until_woken()
                self._show_state()
                self._activity.warn(self._health.sentences())
                self._check()
                pipeline.check()
            has_failed = False
        finally:
            self._deadline.unwatch()
            await self._end_pipeline(pipeline, ending, has_failed=has_failed)
        return ending

    async def _end_pipeline(self, pipeline: Pipeline, ending: RunEnd | None, *, has_failed: bool) -> None:
        pause, grace_seconds = self._pause.now(), GRACE_SECONDS
        if ending is not None or has_failed:
            self._change(RunState.STOPPING)
        elif pause is not None:
            self._change(pause.state, "finishing requests in flight")
            grace_seconds = PAUSE_GRACE_SECONDS
        try:
            await pipeline.end(
                grace_seconds, stop=self._stopping, stop_grace_seconds=GRACE_SECONDS, keeps_claims=has_failed
            )
        finally:
            self._pipeline = None

    async def _wait_while_paused(self) -> RunEnd | None:
        """Wait while the run is paused or outside its working hours, with the model's memory freed."""
        if self._pause.now() is None:
            return None
        if not self._stopping.is_set() and self._options.describe and self._describer is not None:
            await unload_model(self._describer)
        while (pause := self._pause.now()) is not None:
            if (ending := self._end_reason(None)) is not None:
                return ending
            self._change(pause.state, self._database.outage.reason() or pause.reason)
            self._check()
            self._pause.request_done()
            await self._sleep_until_woken()
        return None

    def _check(self) -> None:
        """Raise the error of a thread or a side task that has ended: the run must not continue without it."""
        for check in self._checks:
            check()

    async def _sleep_until_woken(self) -> None:
        with contextlib.suppress(TimeoutError):
            # wait_for may swallow a cancellation before Python 3.12
            async with asyncio.timeout(self._deadline.at_most(POLL_SECONDS)):
                await self._woken.wait()
        self._woken.clear()

    def _begin_stopping(self) -> None:
        self._database.outage.stop()
        self._stopping.set()
        self._woken.set()

    def _end_reason(self, pipeline: Pipeline | None) -> RunEnd | None:
        """Why the run ends now; None if it continues."""
        if self._stopping.is_set():
            return RunEnd.STOPPED
        if self._deadline.is_over:
            return RunEnd.TIME_UP
        if pipeline is not None and pipeline.prefetcher.is_limit_reached and pipeline.prefetcher.is_empty:
            return RunEnd.LIMIT
        return None

    def _count_left(self) -> int:
        with reading(self._library.engine) as connection:
            return queries.progress(connection, self.pass_, self._options.video_ids).left

    async def _frames_ahead(self) -> int:
        left = await self._database.run(self._count_left)
        described, seconds = self._counts.frames_described, time.monotonic() - self._started_at
        time_left = self._deadline.working_seconds_left(self._pause.hours)
        return frames_ahead(self._options, left=left, described=described, seconds=seconds, time_left=time_left)

    def _on_request(self, request: str) -> None:
        """Carry out a request of the runs table. Called in the heartbeat's thread, repeatedly until it is recorded."""
        if request == STOP:
            self.stop()
        elif self._loop is not None and request in (PAUSE, RESUME):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._request_pause, request)

    def _request_pause(self, request: str) -> None:
        self._pause.request(request)
        self._woken.set()

    def _record_request_done(self, request: str) -> None:
        if self._record is not None:
            self._database.submit(partial(self._record.request_done, request))

    def _heartbeat_activity(self) -> dict[str, Any]:
        """For the runs table. Called in the heartbeat's thread."""
        pipeline = self._pipeline
        is_busy = pipeline is not None and (not pipeline.prefetcher.is_empty or pipeline.decoder.extracting is not None)
        self._inhibitor.refresh(is_busy)
        return self._activity_now()

    def _activity_now(self) -> dict[str, Any]:
        return self._activity.as_dict() | {
            "kept_awake": self._inhibitor.state,
            "memory_bytes": psutil.Process().memory_info().rss,
            "hours": str(self._pause.hours) or None,
        }

    def _show_state(self) -> None:
        """Waiting if the database cannot be used or every host is backing off, running otherwise."""
        pipeline = self._pipeline
        if pipeline is None or pipeline.is_stopping or self._stopping.is_set() or self._pause.now() is not None:
            return
        if outage := self._database.outage.reason():
            self._change(RunState.WAITING, outage)
        elif unavailable := pipeline.unavailable_hosts:
            self._change(RunState.WAITING, "; ".join(str(runner.reason) for runner in unavailable))
        else:
            self._change(RunState.RUNNING)

    def _change(self, state: RunState, reason: str | None = None) -> None:
        hosts = [runner.state for runner in self._pipeline.runners] if self._pipeline is not None else []
        is_same = (state, reason) == (self._state, self._reason)
        if is_same and hosts == self._host_states:
            return
        self._state, self._reason, self._host_states = state, reason, hosts
        if not is_same:
            log.info("%s%s", state, f": {reason}" if reason else "", extra=about(Action.STATE_CHANGED))
        self._database.submit(self._write_state)

    def _write_state(self) -> None:
        if self._record is not None:
            self._record.change(self._state, self._reason, self._activity_now())
