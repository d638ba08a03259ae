"""The pipeline: decoder, prefetcher and host runners working together, from one start to one end.

A run is a sequence of pipelines, separated by pauses. Usually everything works at once. After a crash a pipeline may
isolate suspects instead: it works on one suspected task at a time, so that the next crash has one culprit.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any

from db import queries, store
from db.engine import reading
from db.models import DEEP, HostState, TaskKind
from enrich.describe.describer import Describer
from enrich.errors import DescribeError
from enrich.logs import Action, about
from enrich.worker.decoder import Decoder
from enrich.worker.failure_attribution import HostSuspects
from enrich.worker.host_runner import DescribeState, HostRunner
from enrich.worker.prefetch import Prefetcher
from enrich.worker.run_context import RunContext
from enrich.worker.run_options import RunOptions

log = logging.getLogger(__name__)

IDLE_CHECK_SECONDS = 0.5  # how long a locked database may keep the worker from showing its state


class SuspectKind(StrEnum):
    """Which suspected tasks a pipeline isolates."""

    FRAMES = "frames"  # first: they are quicker
    VIDEOS = "videos"


class Pipeline:
    """Used from one event loop; started once, ended once."""

    def __init__(
        self,
        context: RunContext,
        options: RunOptions,
        describing: DescribeState | None,
        isolated: SuspectKind | None = None,
    ) -> None:
        """`describing`: None if the run describes nothing."""
        self.options = options
        self.isolated = isolated
        self._context = context
        self._describing = describing
        self._stopping = asyncio.Event()
        hosts = len(describing.describer.hosts) if describing is not None else 1
        self.prefetcher = Prefetcher(
            context,
            options,
            ahead=2 * hosts * context.library.settings.concurrency,
            gap_filling=describing.gap_filling if describing is not None else None,
            isolates_suspects=isolated is not None,
        )
        self.decoder = Decoder(
            context, options, passes=tuple({DEEP, context.pass_}), on_frames=self._on_frames, stopping=self._stopping
        )
        self._suspects = HostSuspects()
        self.runners: list[HostRunner] = []
        self._extraction: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []  # which end by themselves once the pipeline stops
        self._prefetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start decoding and describing."""
        if self.isolated is not SuspectKind.FRAMES:
            work = self.decoder.run() if self.isolated is None else self.decoder.run_suspects()
            self._extraction = asyncio.create_task(work)
            self._tasks.append(self._extraction)
        if self._describing is not None and self.isolated is not SuspectKind.VIDEOS:
            self.runners = [self._host_runner(self._describing, host) for host in self._describing.describer.hosts]
            self._prefetching = asyncio.create_task(self.prefetcher.run())
            self._tasks += [asyncio.create_task(runner.run()) for runner in self.runners]
        for task in self._all_tasks():
            task.add_done_callback(lambda _: self._context.wake())

    def check(self) -> None:
        """Raise the error of a task that failed."""
        check_tasks(self._all_tasks())

    @property
    def is_stopping(self) -> bool:
        """Whether no new work is started any more."""
        return self._stopping.is_set()

    def stop_claiming(self) -> None:
        """Start no new work and let requests in flight finish; `end` must follow."""
        self._stopping.set()

    @property
    def unavailable_hosts(self) -> list[HostRunner]:
        """The runners, if every host is backing off; else none."""
        backing_off = [runner for runner in self.runners if runner.state is HostState.BACKING_OFF]
        return backing_off if len(backing_off) == len(self.runners) else []

    async def is_idle(self, stop: asyncio.Event) -> bool:
        """Whether nothing is left that could be done now; False once `stop` is set or the database cannot be used."""
        asking = asyncio.ensure_future(self._is_idle())
        while not asking.done():
            await asyncio.wait((asking,), timeout=IDLE_CHECK_SECONDS)
            if not asking.done() and (stop.is_set() or self._context.database.outage.reason() is not None):
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                return False
        return asking.result()

    async def _is_idle(self) -> bool:
        if not self.prefetcher.is_empty or any(runner.is_undecided for runner in self.runners):
            return False
        if self.isolated is not None:
            if self.unavailable_hosts:
                return True
            count = partial(count_suspects, self._context, self.options, self.isolated)
            return not await self._context.database.run(count)
        if not self.options.until_idle or self._extraction is None or not self._extraction.done():
            return False
        if not self.runners:
            return True
        left = await self._context.database.run(self._count_left)
        return left <= len(self.prefetcher.waiting_for_video)

    async def end(
        self, grace_seconds: float, *, stop: asyncio.Event, stop_grace_seconds: float, keeps_claims: bool = False
    ) -> None:
        """Let requests in flight finish within the grace period, cancel the rest, and release what is unfinished.

        Once `stop` is set, `stop_grace_seconds` are left. `keeps_claims`: after a crash, to identify its suspects.
        """
        self._stopping.set()
        await self.decoder.stop()
        await self._wait(grace_seconds, stop, stop_grace_seconds)
        for task in self._all_tasks():
            task.cancel()
        await asyncio.gather(*self._all_tasks(), return_exceptions=True)
        try:
            await self._context.database.drain()  # a result that is not saved yet must not be released
        finally:
            for item in self._suspects.take_all():
                self.prefetcher.return_item(item)
            if not keeps_claims:
                await self.prefetcher.close()

    async def _wait(self, seconds: float, stop: asyncio.Event, stop_grace_seconds: float) -> None:
        if not self._tasks:
            return
        stopped = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(asyncio.wait(self._tasks, timeout=seconds))
        try:
            await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=stop_grace_seconds)
        finally:
            stopped.cancel()
            ended.cancel()

    def _all_tasks(self) -> list["asyncio.Task[Any]"]:
        return [*self._tasks, self._prefetching] if self._prefetching is not None else self._tasks

    def _host_runner(self, describing: DescribeState, host: str) -> HostRunner:
        return HostRunner(
            self._context,
            describing,
            host,
            prefetcher=self.prefetcher,
            suspects=self._suspects,
            stopping=self._stopping,
        )

    def _on_frames(self) -> None:
        """New frames were saved. Called in the decoder's threads."""
        self._context.activity.record_progress()
        self.prefetcher.wake_soon()

    def _count_left(self) -> int:
        with reading(self._context.library.engine) as connection:
            return queries.progress(connection, self._context.pass_, self.options.video_ids).left


async def suspects_to_isolate(
    context: RunContext, options: RunOptions, done: Collection[SuspectKind], *, describes: bool
) -> SuspectKind | None:
    """Which suspects of a crash the next pipeline must isolate, if any; those in `done` were isolated already."""
    for kind in SuspectKind:
        is_wanted = options.extract if kind is SuspectKind.VIDEOS else describes
        if not is_wanted or kind in done:
            continue
        if await context.database.run(partial(count_suspects, context, options, kind)):
            extra = about(Action.SUSPECTS_ISOLATED)
            log.warning("isolating %s suspected of crashing the worker: one at a time", kind, extra=extra)
            return kind
    return None


def count_suspects(context: RunContext, options: RunOptions, kind: SuspectKind) -> int:
    """How many tasks are suspected of a crash. Reads the database."""
    kinds = (TaskKind.DESCRIBE,) if kind is SuspectKind.FRAMES else (TaskKind.SKIM, TaskKind.EXTRACT)
    with reading(context.library.engine) as connection:
        return store.count_suspects(connection, kinds, pass_=context.pass_, video_ids=options.video_ids)


def remaining_options(options: RunOptions, handed_out: int) -> RunOptions:
    """The options of the next pipeline, after `handed_out` frames."""
    return options if options.limit is None else replace(options, limit=max(0, options.limit - handed_out))


def check_tasks(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Raise the error of a task that has ended with one."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def unload_model(describer: Describer) -> None:
    """Free the model's memory on every host."""
    for host in describer.hosts:
        try:
            await describer.unload(host)
        except DescribeError as error:  # it has loaded nothing, or cannot be reached
            log.info("the model may still be loaded: %s", error, extra=about(Action.MODEL_UNLOADED, host=host))
        else:
            log.info("model unloaded", extra=about(Action.MODEL_UNLOADED, host=host))
