"""A shift: decoder, feed and lanes at work together, from one beginning to one end; a pause lies between two shifts.

Usually everything is in hand at once. After crashes a shift may be for suspects alone: one task at a time, so that the
next crash has one culprit.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from db import queries, store
from db.engine import reading
from db.models import DEEP, HostState, TaskKind
from enrich.describe.describer import Describer
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import DescribeError
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.worker.activity import Activity
from enrich.worker.decoder import Decoder
from enrich.worker.heartbeat import Heartbeat
from enrich.worker.host_health import HostHealth
from enrich.worker.host_runner import HostRunner, ResultHandlers
from enrich.worker.prefetch import Prefetcher
from enrich.worker.run_options import RunCounts, RunOptions
from enrich.worker.writer import ResultWriter

log = logging.getLogger(__name__)


class SuspectKind(StrEnum):
    """Which suspects a shift tries one by one."""

    FRAMES = "frames"  # first: they are quicker
    VIDEOS = "videos"


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all shifts of one run share."""

    library: Library
    describer: Describer | None
    pass_: str
    run_id: int
    saver: ResultWriter
    keeper: Heartbeat
    counts: RunCounts
    activity: Activity
    guard: ReplyHistory
    health: HostHealth
    on_change: Callable[[], None]  # a host's state is another
    on_news: Callable[[], None]  # the run may be at its end

    async def suspected(self, order: RunOptions, tried: Collection[SuspectKind]) -> SuspectKind | None:
        """Which suspects of crashes are to be tried next, one by one, before all else; those tried are not again."""
        for which in SuspectKind:
            is_ordered = order.extract if which is SuspectKind.VIDEOS else order.describe and self.describer is not None
            if not is_ordered or which in tried:
                continue
            count = await self.saver.in_database(partial(self.suspects, order, which))
            if count:
                log.warning(
                    "%s that may have crashed the worker are tried alone", which, extra=about(Action.SUSPECTS_ISOLATED)
                )
                return which
        return None

    def suspects(self, order: RunOptions, which: SuspectKind) -> int:
        """How many there are. Reads the database."""
        kinds = (TaskKind.DESCRIBE,) if which is SuspectKind.FRAMES else (TaskKind.SKIM, TaskKind.EXTRACT)
        with reading(self.library.engine) as connection:
            return store.count_suspects(connection, kinds, pass_=self.pass_, video_ids=order.video_ids)


class Pipeline:
    """One shift, from one event loop; begun once, ended once."""

    def __init__(self, crew: RunContext, order: RunOptions, alone: SuspectKind | None = None) -> None:
        self.order = order
        self.alone = alone
        self._crew = crew
        self._over = asyncio.Event()
        self.feed = self._make_feed()
        self.decoder = self._make_decoder()
        self.lanes: list[HostRunner] = []
        self._extraction: asyncio.Task[None] | None = None
        self._helpers: list[asyncio.Task[Any]] = []  # that end by themselves when the shift is over
        self._feeding: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Set everybody to work."""
        crew = self._crew
        crew.saver.feed = self.feed
        if self.alone is not SuspectKind.FRAMES:
            work = self.decoder.run() if self.alone is None else self.decoder.try_suspects()
            self._extraction = asyncio.create_task(work)
            self._helpers.append(self._extraction)
        if crew.describer is not None and self.order.describe and self.alone is not SuspectKind.VIDEOS:
            self.lanes = self._make_lanes(crew.describer)
            self._feeding = asyncio.create_task(self.feed.run())
            self._helpers += [asyncio.create_task(lane.run()) for lane in self.lanes]
        for helper in self._all():
            helper.add_done_callback(lambda _: crew.on_news())

    def check(self) -> None:
        """Raise what ended a helper, or saving, that must not end by itself."""
        for helper in self._all():
            if helper.done() and not helper.cancelled() and (error := helper.exception()) is not None:
                raise error
        if self._crew.saver.error is not None:
            raise self._crew.saver.error

    @property
    def is_over(self) -> bool:
        """Whether its end has begun."""
        return self._over.is_set()

    def stop_claiming(self) -> None:
        """What is in hand is brought to its end, and nothing is begun; `end` is still to come."""
        self._over.set()

    @property
    def resting(self) -> list[HostRunner]:
        """The lanes whose hosts cannot be asked now; empty unless that is all of them."""
        resting = [lane for lane in self.lanes if lane.state is HostState.BACKING_OFF]
        return resting if len(resting) == len(self.lanes) else []

    async def is_idle(self) -> bool:
        """Whether nothing of the order, or no suspect, is left that could be done now."""
        if not self.feed.is_empty or any(lane.is_suspected for lane in self.lanes):  # attempts may be given back
            return False
        if self.alone is not None:
            if self.resting:
                return True
            return not await self._crew.saver.in_database(partial(self._crew.suspects, self.order, self.alone))
        if not self.order.until_idle or self._extraction is None or not self._extraction.done():
            return False
        if not self.lanes:
            return True
        left = await self._crew.saver.in_database(self._left)
        return left <= len(self.feed.waiting_for_video)

    async def end(
        self, seconds: float, *, hurry: asyncio.Event, hurry_seconds: float, keeps_claims: bool = False
    ) -> None:
        """Let calls in flight end within the grace time, then cancel; give everything unfinished back.

        Once `hurry` is set, `hurry_seconds` are left. `keeps_claims`: after a crash, so that what was in hand is known.
        """
        self._over.set()
        await self.decoder.stop()
        await self._wait(seconds, hurry, hurry_seconds)
        for helper in self._all():
            helper.cancel()
        await asyncio.gather(*self._all(), return_exceptions=True)
        try:
            await self._crew.saver.drain()  # an answer that is not saved yet must not be given back
        finally:
            if not keeps_claims:
                await self.feed.close()

    async def _wait(self, seconds: float, hurry: asyncio.Event, hurry_seconds: float) -> None:
        if not self._helpers:
            return
        hurried = asyncio.ensure_future(hurry.wait())
        ended = asyncio.ensure_future(asyncio.wait(self._helpers, timeout=seconds))
        try:
            await asyncio.wait((hurried, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=hurry_seconds)
        finally:
            hurried.cancel()
            ended.cancel()

    def _all(self) -> list["asyncio.Task[Any]"]:
        return [*self._helpers, self._feeding] if self._feeding is not None else self._helpers

    def _make_feed(self) -> Prefetcher:
        crew = self._crew
        settings = crew.library.settings
        hosts = len(crew.describer.hosts) if crew.describer else 1
        return Prefetcher(
            crew.library,
            self.order,
            pass_=crew.pass_,
            run_id=crew.run_id,
            keeper=crew.keeper,
            ahead=2 * hosts * settings.concurrency,
            database=crew.saver,
            on_empty=crew.on_news,
            alone=self.alone is not None,
        )

    def _make_decoder(self) -> Decoder:
        crew = self._crew
        return Decoder(
            crew.library,
            self.order,
            run_id=crew.run_id,
            passes=tuple({DEEP, crew.pass_}),
            pass_=crew.pass_,
            database=crew.saver,
            keeper=crew.keeper,
            counts=crew.counts,
            on_frames=self._frames_came,
            stopping=self._over,
            activity=crew.activity,
        )

    def _make_lanes(self, describer: Describer) -> list[HostRunner]:
        crew = self._crew
        saver = crew.saver
        handlers = ResultHandlers(
            answered=saver.answered, failed=saver.failed, refund_attempts=saver.refund_attempts, changed=crew.on_change
        )
        return [
            HostRunner(
                describer,
                host,
                feed=self.feed,
                guard=crew.guard,
                health=crew.health,
                slots=crew.library.settings.concurrency,
                handlers=handlers,
                stopping=self._over,
                activity=crew.activity,
            )
            for host in describer.hosts
        ]

    def _frames_came(self) -> None:
        self._crew.activity.record_progress()
        self.feed.wake_soon()

    def _left(self) -> int:
        with reading(self._crew.library.engine) as connection:
            return queries.progress(connection, self._crew.pass_, self.order.video_ids).left


def remaining_options(order: RunOptions, handed_out: int) -> RunOptions:
    """The order for the next shift, after so many frames."""
    return order if order.limit is None else replace(order, limit=max(0, order.limit - handed_out))


async def free_memory(describer: Describer | None) -> None:
    """Have all hosts free the memory the model takes."""
    if describer is None:
        return
    for host in describer.hosts:
        try:
            await describer.unload(host)
        except DescribeError as error:  # then it has loaded nothing, or cannot be helped
            log.info("the model may stay loaded: %s", error, extra=about(Action.MODEL_UNLOADED, host=host))
        else:
            log.info("the model was unloaded", extra=about(Action.MODEL_UNLOADED, host=host))
