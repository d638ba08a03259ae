"""The decoder of a worker: skims every video by seeking first, then extracts one video after another.

Skimming runs in threads of low priority, and so does extraction while frames are described. While videos wait for
extraction, or are being extracted, they are skimmed again at more places whenever the next frame to describe would be
finer than that, so that no video falls far behind. The decoder ends with the last video if the run does, else it polls
for more. A video removed during its extraction leaves no images behind. A locked database or a full disk is retried.
Any other error that nothing foresaw counts as a failed attempt at its video, and the other videos go on.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from db import extraction, queries, queue
from db.engine import reading, writing
from db.errors import StorageError
from db.models import TaskKind
from db.store import SUSPECT_CRASHES
from enrich.library.images import remove_images
from enrich.logs import Action, about
from enrich.process import this_process
from enrich.schedule.coverage import COVERAGE_PRIORITY_LIMIT, CoverageOrder
from enrich.worker import database_thread
from enrich.worker.extract_task import ExtractionProgress, extract_video, fail_attempt
from enrich.worker.run_context import RunContext
from enrich.worker.run_options import RunOptions
from enrich.worker.skim_task import skim_video
from enrich.worker.threads import run_in_own_thread

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often a waiting worker looks for new videos
SKIMS_IN_PARALLEL = 2  # seeking keeps one core busy


class Decoder:
    """Used from one event loop. `extracting` is the video being extracted."""

    def __init__(
        self,
        context: RunContext,
        options: RunOptions,
        *,
        passes: tuple[str, ...],
        on_frames: Callable[[], None],
        stopping: asyncio.Event,
    ) -> None:
        """`passes`: the passes that get a describe task for each new frame. `on_frames` is called in a thread."""
        self.extracting: ExtractionProgress | None = None
        self._context = context
        self._library = context.library
        self._options = options
        self._passes = passes
        self._on_frames = on_frames
        self._stopping = stopping
        self._stop = threading.Event()
        self._all_skimmed = asyncio.Event()  # once
        self._all_extracted = asyncio.Event()
        self._skimming = 0  # videos being skimmed

    async def run(self) -> None:
        """Skim and extract until nothing is left to extract or the worker stops."""
        if not self._options.extract:
            return
        loops = [asyncio.create_task(self._extract_all())]
        if self._options.describe:
            loops.append(asyncio.create_task(self._skim_all()))
        else:
            self._all_skimmed.set()
        try:
            await asyncio.gather(*loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def run_suspects(self) -> None:
        """Work on the videos suspected of a crash only, one at a time, until none is left."""
        for kind, work in ((TaskKind.SKIM, self._skim), (TaskKind.EXTRACT, self._extract)):
            while not self._stopping.is_set():
                tasks = await self._context.database.run(partial(self._claim, kind, min_crashes=SUSPECT_CRASHES))
                if not tasks:
                    break
                await self._handle(tasks[0], work)

    async def _skim_all(self) -> None:
        try:
            await asyncio.gather(*(self._skim_videos() for _ in range(SKIMS_IN_PARALLEL)))
        finally:
            self._all_skimmed.set()

    async def _skim_videos(self) -> None:
        """Skim new videos at once and waiting videos again when that is due, until all are extracted."""
        while not self._stopping.is_set():
            tasks = await self._context.database.run(partial(self._claim, TaskKind.SKIM))
            for task in tasks:
                self._skimming += 1
                try:
                    await self._handle(task, self._skim)
                finally:
                    self._skimming -= 1
            skims_deeper = not tasks and await self._context.database.run(self._skim_deeper)
            if tasks or skims_deeper:
                continue
            if not self._skimming:
                self._all_skimmed.set()
            if self._all_extracted.is_set():
                return
            await self._sleep(POLL_SECONDS)

    async def _extract_all(self) -> None:
        try:
            await self._all_skimmed.wait()
            while not self._stopping.is_set():
                tasks = await self._context.database.run(partial(self._claim, TaskKind.EXTRACT))
                if not tasks and self._options.until_idle and not await self._context.database.run(self._is_claimed):
                    return
                for task in tasks:
                    await self._handle(task, self._extract)
                if not tasks:
                    await self._sleep(POLL_SECONDS)
        finally:
            self._all_extracted.set()

    async def stop(self) -> None:
        """Interrupt the extraction; frames that were kept stay."""
        self._stop.set()
        if self.extracting is not None:
            await asyncio.to_thread(self.extracting.extraction.close)

    async def _handle(self, task: queue.ClaimedTask, work: Callable[[queue.ClaimedTask], Awaitable[None]]) -> None:
        """Work on one video, and repeat while the database is locked or full: work already saved is skipped."""
        self._context.leases.hold(task)
        attempts = object()  # these attempts, for the outage
        video: queries.VideoRow | None = None
        failure: Exception | None = None  # not recorded yet
        try:
            while True:
                try:
                    if failure is not None:
                        await asyncio.to_thread(fail_attempt, self._library, task, failure)
                        return
                    video = await asyncio.to_thread(self._video, task.video_id)
                    await work(task)
                except (queue.LeaseLostError, queries.NoSuchVideoError):
                    log.warning("a video was removed while it was being processed", extra=about(Action.ANSWER_DROPPED))
                    if video is not None and not await self._context.database.run(partial(self._is_in_library, video)):
                        await asyncio.to_thread(remove_images, self._library, video)
                except StorageError as error:
                    self._context.database.outage.failed(attempts, error)
                    await self._sleep(database_thread.RETRY_SECONDS)
                    if not self._stopping.is_set():
                        continue
                except SQLAlchemyError:  # not the video's fault: the run ends
                    raise
                except Exception as error:
                    if failure is not None:
                        raise
                    failure = error
                    continue
                return
        finally:
            self._context.database.outage.ended(attempts)
            self._context.leases.drop(task)

    async def _skim(self, task: queue.ClaimedTask) -> None:
        work = partial(skim_video, self._library, task, passes=self._passes, stop=self._stop, on_frames=self._on_frames)
        self._context.activity.begin_skim(task.video_id)
        try:
            await run_in_own_thread(work, low_priority=True)
        finally:
            self._context.activity.end_skim(task.video_id)

    async def _extract(self, task: queue.ClaimedTask) -> None:
        try:
            work = partial(
                extract_video,
                self._library,
                task,
                passes=self._passes,
                stop=self._stop,
                on_begin=self._extraction_began,
                on_frames=self._on_frames,
            )
            self._context.counts.videos_extracted += await run_in_own_thread(work, low_priority=self._options.describe)
        finally:
            self.extracting = None
            self._context.activity.extract(None)

    def _video(self, video_id: int) -> queries.VideoRow:
        with reading(self._library.engine) as connection:
            return queries.video(connection, video_id)

    def _claim(self, kind: TaskKind, min_crashes: int = 0) -> list[queue.ClaimedTask]:
        with writing(self._library.engine) as connection:
            return queue.claim(
                connection,
                queue.TaskFilter(kind, video_ids=self._options.video_ids, min_crashes=min_crashes),
                run_id=self._context.run_id,
                host=str(this_process()),
                limit=1,
                now=datetime.now(UTC),
            )

    def _is_claimed(self) -> bool:
        """Whether another process is working on a video, so that frames to describe may still appear."""
        with reading(self._library.engine) as connection:
            return queue.is_claimed(connection, TaskKind.EXTRACT, self._options.video_ids)

    def _skim_deeper(self) -> bool:
        """Queue another skim of the video with the largest gap, if that gap is due. Returns whether one was queued."""
        with reading(self._library.engine) as connection:
            due = queries.next_priority(connection, self._context.pass_, self._options.video_ids)
            waiting = extraction.skimmed_videos(connection, self._options.video_ids)
        if due is not None and due > COVERAGE_PRIORITY_LIMIT:  # first skims are being described
            return False
        gaps = {video.id: CoverageOrder(video.duration).gap(video.places) for video in waiting}
        for video in sorted(waiting, key=lambda video: -gaps[video.id]):
            count = CoverageOrder(video.duration).next_skim_count(video.places)
            if due is not None and 1000 * gaps[video.id] <= due:
                return False
            if count > video.places:
                with writing(self._library.engine) as connection:
                    return extraction.extend_skim(connection, video.id, places=count)
        return False

    def _is_in_library(self, video: queries.VideoRow) -> bool:
        """Whether a video was not removed, or was added again; else images written after its removal must go."""
        with reading(self._library.engine) as connection:
            return any(row.image_folder == video.image_folder for row in queries.videos(connection))

    def _extraction_began(self, extracting: ExtractionProgress) -> None:
        self.extracting = extracting
        self._context.activity.extract(extracting)
        if self._stop.is_set():
            extracting.extraction.close()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
