"""The worker: decodes, describes and saves at the same time, until nothing is left or it is told to stop.

One asyncio loop runs the lanes (one a host) and the feed; one thread decodes; one thread writes; one thread beats.
Whatever ends it, nothing is lost but the calls in flight: claims that are not released in time are swept by the next
run, and a result is saved in one transaction with its task's end.

A run is made of shifts. Between two of them it is paused, or waits for its working hours; then the hosts have freed the
model's memory, and nothing is claimed.
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
from db.models import DEEP, RunState
from db.runs import PAUSE, RESUME, STOP, ProcessIdentity
from enrich.clock import Hours, parse_hours
from enrich.describe.describer import Describer
from enrich.describe.reply_checks import ReplyHistory
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.worker.activity import Activity
from enrich.worker.extract_task import ExtractionProgress
from enrich.worker.gap_filling import GapFiller
from enrich.worker.heartbeat import Heartbeat
from enrich.worker.host_health import HostHealth, frames_ahead
from enrich.worker.keep_awake import SleepInhibitor
from enrich.worker.pipeline import Pipeline, RunContext, SuspectKind, free_memory, remaining_options
from enrich.worker.run_limits import PauseControl, RunDeadline
from enrich.worker.run_options import RunCounts, RunEnd, RunOptions, RunSummary
from enrich.worker.run_record import RunRecord
from enrich.worker.threads import quick_switching
from enrich.worker.writer import ResultWriter

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often a waiting worker looks for new videos, and a working one whether it is done
GRACE_SECONDS = 5.0  # what calls in flight are given when the worker is told to stop
PAUSE_GRACE_SECONDS = 60.0  # the same when it is told to pause, or its working hours end


# What runs beside the worker, on its event loop, from the beginning of a run until it is cancelled at the end:
# a function of the library and the run's id. It handles its own errors.
SideTask = Callable[[Library, int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker is doing right now, for whoever shows it."""

    state: RunState
    reason: str | None
    extracting: ExtractionProgress | None
    counts: RunCounts


class Worker:
    """One run. Made and run once, from one event loop; `stop` may be called from anywhere."""

    def __init__(
        self,
        library: Library,
        describer: Describer | None,
        order: RunOptions,
        *,
        supervisor: ProcessIdentity | None = None,
        log_path: str | None = None,
        side_tasks: Sequence[SideTask] = (),
    ) -> None:
        self._library = library
        self._side_tasks = side_tasks if order.describe else ()
        self._supervisor = supervisor
        self._log_path = log_path
        self._describer = describer
        self._order = order
        self._counts = RunCounts()
        self._state = RunState.STARTING
        self._reason: str | None = None
        self._shift: Pipeline | None = None
        self._activity = Activity()
        self._breaks = PauseControl(
            parse_hours(library.settings.hours) if order.keeps_hours else Hours(), self._note_obeyed
        )
        self._awake = SleepInhibitor(library.settings.keep_awake)
        self._tried_alone: set[SuspectKind] = set()
        self._health = HostHealth(self._frames_ahead)
        self._saver: ResultWriter | None = None
        self._run_row: RunRecord | None = None
        self._began = time.monotonic()
        self._deadline = RunDeadline(order)
        self._was_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()  # something happened after which the run may be at its end

    @property
    def status(self) -> WorkerStatus:
        extracting = self._shift.decoder.extracting if self._shift is not None else None
        return WorkerStatus(self._state, self._reason, extracting, self._counts)

    def _begin_stopping(self) -> None:
        self._stopping.set()
        self._news.set()

    def stop(self) -> None:
        """Ask the worker to end: from a signal handler, another thread or the loop."""
        self._was_stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_stopping)

    async def run(self) -> RunSummary:
        """Work the order off. Raises RunningError if another worker has the library."""
        with quick_switching() if self._order.describe else contextlib.nullcontext():
            return await self._run()

    async def _run(self) -> RunSummary:
        self._began = time.monotonic()
        self._loop = asyncio.get_running_loop()
        run = self._run_row = await self._begun()
        if self._was_stopped:
            self._begin_stopping()
        filler = GapFiller(self._library, self.pass_) if self.pass_ == DEEP else None
        saver = ResultWriter(self._library, run.id, self._counts, filler)
        self._saver = saver
        keeper = Heartbeat(
            self._library.engine,
            run.id,
            counts=self._counts.as_dict,
            on_request=self._on_request,
            activity=self._what_it_does,
            last_progress_at=self._activity.last_progress_at,
        )
        ending, error = RunEnd.STOPPED, None
        side_tasks = [asyncio.create_task(side_task(self._library, run.id)) for side_task in self._side_tasks]
        try:
            with keeper:
                ending = await self._work(run, saver, keeper)
        except BaseException as failure:
            error = failure
            raise
        finally:
            for task in side_tasks:
                task.cancel()
            await asyncio.gather(*side_tasks, return_exceptions=True)
            try:
                await saver.close()
            finally:
                self._end(run, ending, error)
                await asyncio.to_thread(self._awake.release_inhibitor)
        return await asyncio.to_thread(self._summary, run, ending, time.monotonic() - self._began)

    async def _begun(self) -> RunRecord:
        """Begin the run. If this is cancelled, the run that the thread begins all the same is ended."""
        beginning = asyncio.ensure_future(asyncio.to_thread(self._begin))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            self._end(await beginning, RunEnd.STOPPED, None)
            raise

    def _begin(self) -> RunRecord:
        return RunRecord.begin(
            self._library,
            self._describer,
            self._order,
            supervisor=self._supervisor,
            log_path=self._log_path,
            until=self._deadline.told(),
        )

    def _end(self, run: RunRecord, ending: RunEnd, error: BaseException | None) -> None:
        self._state = run.end(ending, error, counts=self._counts.as_dict())

    async def _work(self, run: RunRecord, saver: ResultWriter, keeper: Heartbeat) -> RunEnd:
        """Shift after shift, with pauses between them, until the run is at its end."""
        crew = RunContext(
            self._library,
            self._describer,
            self.pass_,
            run.id,
            saver,
            keeper,
            self._counts,
            self._activity,
            ReplyHistory(),
            self._health,
            on_change=self._show_state,
            on_news=self._news.set,
        )
        handed_out = 0
        while True:
            ending = self._ending(None) or await self._rest()
            if ending is not None:
                return ending
            order = remaining_options(self._order, handed_out)
            shift = Pipeline(crew, order, await crew.suspected(order, self._tried_alone))
            ending = await self._work_shift(shift)
            if ending is not None:
                return ending
            handed_out += shift.feed.handed_out

    async def _work_shift(self, shift: Pipeline) -> RunEnd | None:
        """One shift to its end; None if only that has ended, not the run."""
        self._shift = shift
        shift.begin()
        self._deadline.watch(shift.stop_claiming)
        self._show_state()
        ending, has_failed = None, True
        try:
            while True:
                ending = self._ending(shift)
                if ending is None and await shift.is_idle():
                    if shift.alone is not None:
                        self._tried_alone.add(shift.alone)
                        break
                    ending = RunEnd.FINISHED
                if ending is not None or self._breaks.now() is not None:
                    break
                self._breaks.obey()
                await self._wait_for_news()
                self._activity.warn(self._health.sentences())
                shift.check()
            has_failed = False
        finally:
            self._deadline.unwatch()
            await self._end_shift(shift, ending, has_failed=has_failed)
        return ending

    async def _end_shift(self, shift: Pipeline, ending: RunEnd | None, *, has_failed: bool) -> None:
        pause, seconds = self._breaks.now(), GRACE_SECONDS
        if ending is not None or has_failed:
            self._change(RunState.STOPPING)
        elif pause is not None:
            self._change(pause.state, "calls in flight are being finished")
            seconds = PAUSE_GRACE_SECONDS
        try:
            await shift.end(seconds, hurry=self._stopping, hurry_seconds=GRACE_SECONDS, keeps_claims=has_failed)
        finally:
            self._shift = None

    async def _rest(self) -> RunEnd | None:
        """Wait while the worker is paused or outside its working hours, the model's memory freed."""
        if self._breaks.now() is None:
            return None
        if not self._stopping.is_set() and self._order.describe:
            await free_memory(self._describer)
        while (pause := self._breaks.now()) is not None:
            if (ending := self._ending(None)) is not None:
                return ending
            self._change(pause.state, pause.reason)
            self._breaks.obey()
            await self._wait_for_news()
        return None

    async def _wait_for_news(self) -> None:
        with contextlib.suppress(TimeoutError):
            # wait_for may swallow a cancellation before Python 3.12
            async with asyncio.timeout(self._deadline.at_most(POLL_SECONDS)):
                await self._news.wait()
        self._news.clear()

    def _ending(self, shift: Pipeline | None) -> RunEnd | None:
        if self._stopping.is_set():
            return RunEnd.STOPPED
        if self._deadline.is_over:
            return RunEnd.TIME_UP
        return RunEnd.LIMIT if shift is not None and shift.feed.is_spent and shift.feed.is_empty else None

    @property
    def pass_(self) -> str:
        return self._describer.target_pass.value if self._describer is not None else DEEP

    def _left(self) -> int:
        with reading(self._library.engine) as connection:
            return queries.progress(connection, self.pass_, self._order.video_ids).left

    async def _frames_ahead(self) -> int:
        left = await self._saver.in_database(self._left) if self._saver is not None else 0
        described, seconds = self._counts.frames_described, time.monotonic() - self._began
        time_left = self._deadline.seconds_left()
        return frames_ahead(self._order, left=left, described=described, seconds=seconds, time_left=time_left)

    def _on_request(self, request: str) -> None:
        """Obey what is asked for in the runs table; called again and again until that is noted."""
        if request == STOP:
            self.stop()
        elif self._loop is not None and request in (PAUSE, RESUME):
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._wish, request)

    def _wish(self, wish: str) -> None:
        self._breaks.wish(wish)
        self._news.set()

    def _note_obeyed(self, wish: str) -> None:
        if self._saver is not None and self._run_row is not None:
            self._saver.note(partial(self._run_row.obeyed, wish))

    def _what_it_does(self) -> dict[str, Any]:
        """For the runs table; called with each heartbeat, in the keeper's thread."""
        shift = self._shift
        self._awake.refresh(shift is not None and (not shift.feed.is_empty or shift.decoder.extracting is not None))
        return self._activity_now()

    def _activity_now(self) -> dict[str, Any]:
        return self._activity.as_dict() | {
            "kept_awake": self._awake.state,
            "memory_bytes": psutil.Process().memory_info().rss,
            "hours": str(self._breaks.hours) or None,
        }

    def _show_state(self) -> None:
        """Waiting if no host can be asked, running otherwise."""
        shift = self._shift
        if shift is None or shift.is_over or self._stopping.is_set() or self._breaks.now() is not None:
            return
        resting = shift.resting
        if resting:
            self._change(RunState.WAITING, "; ".join(str(lane.reason) for lane in resting))
        else:
            self._change(RunState.RUNNING)

    def _change(self, state: RunState, reason: str | None = None) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        self._state, self._reason = state, reason
        log.info("%s%s", state, f": {reason}" if reason else "", extra=about(Action.STATE_CHANGED))
        if self._saver is not None:
            self._saver.note(self._write_state)

    def _write_state(self) -> None:
        if self._run_row is not None:
            self._run_row.change(self._state, self._reason, self._activity_now())

    def _summary(self, run: RunRecord, ending: RunEnd, seconds: float) -> RunSummary:
        with reading(self._library.engine) as connection:
            videos = self._order.video_ids
            waiting = queries.open_extractions(connection, videos) if self._order.extract else []
            left = queries.progress(connection, self.pass_, videos).left if self._order.describe else 0
            return RunSummary(
                run_id=run.id,
                ending=ending,
                counts=self._counts,
                seconds=seconds,
                left=left,
                failures=queries.failures(connection, videos),
                waiting=[(video.title, video.error) for video in waiting if video.error],
            )
