"""The decoder of a worker: first looks at every video by seeking, then decodes one after the other.

Both happen in threads that step back. While videos wait to be decoded, or are, they are looked at again in more places
whenever what is described next would be finer than that: so no film falls far behind the others. The decoder ends with
the last video if the run does, else it waits for more. A video that is removed while it is in hand leaves no pictures
behind; a locked database is waited for.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.exc import OperationalError

from db import extraction, queries, queue
from db.engine import reading, writing
from db.models import TaskKind
from db.store import SUSPECT_CRASHES
from enrich.library.library import Library
from enrich.library.pictures import remove_images
from enrich.logs import Action, about
from enrich.process import this_process
from enrich.schedule.coverage import COVERAGE_PRIORITY_LIMIT, CoverageOrder
from enrich.worker.activity import Activity
from enrich.worker.extract_task import ExtractionProgress, extract_video
from enrich.worker.heartbeat import Heartbeat
from enrich.worker.prefetch import DatabaseRunner
from enrich.worker.run_options import RunCounts, RunOptions
from enrich.worker.skim_task import skim_video
from enrich.worker.threads import in_own_thread
from enrich.worker.writer import LOCKED_PAUSE_SECONDS

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often a waiting worker looks for new videos
LOOKS_AT_ONCE = 2  # seeking keeps one core busy


class Decoder:
    """One run's decoding, from one event loop. `extracting` is the video in hand."""

    def __init__(
        self,
        library: Library,
        order: RunOptions,
        *,
        run_id: int,
        passes: tuple[str, ...],
        pass_: str,
        database: DatabaseRunner,
        keeper: Heartbeat,
        counts: RunCounts,
        on_frames: Callable[[], None],
        stopping: asyncio.Event,
        activity: Activity,
    ) -> None:
        self.extracting: ExtractionProgress | None = None
        self._library = library
        self._order = order
        self._run_id = run_id
        self._passes = passes  # whose tasks a new frame gets
        self._pass = pass_  # the one this run describes
        self._database = database
        self._keeper = keeper
        self._counts = counts
        self._on_frames = on_frames
        self._stopping = stopping
        self._activity = activity
        self._stop = threading.Event()
        self._first_skims = asyncio.Event()  # every video has been looked at once
        self._all_decoded = asyncio.Event()
        self._looks = 0  # in hand

    async def run(self) -> None:
        """Look and decode until nothing is left to decode, or until the worker stops."""
        if not self._order.extract:
            return
        loops = [asyncio.create_task(self._decode_all())]
        if self._order.describe:
            loops.append(asyncio.create_task(self._look_at_all()))
        else:
            self._first_skims.set()
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def try_suspects(self) -> None:
        """Work only on videos that may have crashed the worker, one at a time, until there are none."""
        for kind, work in ((TaskKind.SKIM, self._skim), (TaskKind.EXTRACT, self._extract)):
            while not self._stopping.is_set():
                jobs = await self._database.in_database(partial(self._claim, kind, least_crashes=SUSPECT_CRASHES))
                if not jobs:
                    break
                await self._handle(jobs[0], work)

    async def _look_at_all(self) -> None:
        try:
            await asyncio.gather(*(self._look_on() for _ in range(LOOKS_AT_ONCE)))
        finally:
            self._first_skims.set()

    async def _look_on(self) -> None:
        """Look at new videos at once, at those that wait again when that is due, until all are decoded."""
        while not self._stopping.is_set():
            jobs = await self._database.in_database(partial(self._claim, TaskKind.SKIM))
            for job in jobs:
                self._looks += 1
                try:
                    await self._handle(job, self._skim)
                finally:
                    self._looks -= 1
            looks_deeper = not jobs and await self._database.in_database(self._look_deeper)
            if jobs or looks_deeper:
                continue
            if not self._looks:
                self._first_skims.set()
            if self._all_decoded.is_set():
                return
            await self._sleep(POLL_SECONDS)

    async def _decode_all(self) -> None:
        try:
            await self._first_skims.wait()
            while not self._stopping.is_set():
                jobs = await self._database.in_database(partial(self._claim, TaskKind.EXTRACT))
                if not jobs and self._order.until_idle:
                    return
                for job in jobs:
                    await self._handle(job, self._extract)
                if not jobs:
                    await self._sleep(POLL_SECONDS)
        finally:
            self._all_decoded.set()

    async def stop(self) -> None:
        """End the video in hand early; what is kept of it stays."""
        self._stop.set()
        if self.extracting is not None:
            await asyncio.to_thread(self.extracting.extraction.close)

    async def _handle(self, job: queue.ClaimedTask, work: Callable[[queue.ClaimedTask], Awaitable[None]]) -> None:
        """Work on one video; again and again while the database is locked: what is there already is skipped."""
        self._keeper.hold(job)
        video: queries.VideoRow | None = None
        try:
            while True:
                try:
                    video = await asyncio.to_thread(self._video, job.video_id)
                    await work(job)
                except (queue.LeaseLostError, queries.NoSuchVideoError):
                    log.warning("a video was removed while it was in hand", extra=about(Action.ANSWER_DROPPED))
                    if video is not None:
                        await asyncio.to_thread(self._remove_orphans, video)
                except OperationalError as error:
                    log.warning("the database waits: %s", error.orig, extra=about(Action.DATABASE_LOCKED))
                    await self._sleep(LOCKED_PAUSE_SECONDS)
                    if not self._stopping.is_set():
                        continue
                return
        finally:
            self._keeper.drop(job)

    async def _skim(self, job: queue.ClaimedTask) -> None:
        work = partial(skim_video, self._library, job, passes=self._passes, stop=self._stop, on_frames=self._on_frames)
        self._activity.begin_skim(job.video_id)
        try:
            await in_own_thread(work, steps_back=True)
        finally:
            self._activity.end_skim(job.video_id)

    async def _extract(self, job: queue.ClaimedTask) -> None:
        try:
            work = partial(
                extract_video,
                self._library,
                job,
                passes=self._passes,
                stop=self._stop,
                on_begin=self._note,
                on_frames=self._on_frames,
            )
            self._counts.videos_extracted += await in_own_thread(work, steps_back=self._order.describe)
        finally:
            self.extracting = None
            self._activity.extract(None)

    def _video(self, video_id: int) -> queries.VideoRow:
        with reading(self._library.engine) as connection:
            return queries.video(connection, video_id)

    def _claim(self, kind: TaskKind, least_crashes: int = 0) -> list[queue.ClaimedTask]:
        with writing(self._library.engine) as connection:
            return queue.claim(
                connection,
                kind=kind,
                run_id=self._run_id,
                host=this_process().hostname,
                limit=1,
                video_ids=self._order.video_ids,
                least_crashes=least_crashes,
                now=datetime.now(UTC),
            )

    def _look_deeper(self) -> bool:
        """Have the video with the largest gap looked at again, if that gap is due; whether it will be."""
        with reading(self._library.engine) as connection:
            due = queries.next_priority(connection, self._pass, self._order.video_ids)
            waiting = extraction.skimmed_videos(connection, self._order.video_ids)
        if due is not None and due > COVERAGE_PRIORITY_LIMIT:  # first looks are being described
            return False
        gaps = {video.id: CoverageOrder(video.duration).gap(video.taken) for video in waiting}
        for video in sorted(waiting, key=lambda video: -gaps[video.id]):
            pictures = CoverageOrder(video.duration).next_skim_count(video.taken)
            if due is not None and 1000 * gaps[video.id] <= due:
                return False
            if pictures > video.taken:
                with writing(self._library.engine) as connection:
                    return extraction.skim_deeper(connection, video.id, pictures=pictures)
        return False

    def _remove_orphans(self, video: queries.VideoRow) -> None:
        """Delete the pictures that were written after their video had been removed."""
        with reading(self._library.engine) as connection:
            is_back = any(row.fingerprint == video.fingerprint for row in queries.videos(connection))
        if not is_back:
            remove_images(self._library.settings, video)

    def _note(self, extracting: ExtractionProgress) -> None:
        self.extracting = extracting
        self._activity.extract(extracting)
        if self._stop.is_set():
            extracting.extraction.close()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
