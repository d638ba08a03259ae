"""The prefetcher: claims describe tasks ahead and loads their images, so that no request waits for a disk.

One prefetcher serves all hosts of a worker. It also decides which frames come next: it claims in order of priority, and
lets gap filling raise the priority of frames between unlike descriptions. Claims that are not settled when it closes
are released.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from db import queue
from db import quick as quick_results
from db.editing import REQUEST_PRIORITY
from db.engine import reading, writing
from db.errors import RETRYABLE
from db.models import DEEP, TaskKind, TaskStatus
from db.queries import FrameRow, VideoRow
from db.queries import frame as read_frame
from db.queries import video as read_video
from db.store import SUSPECT_CRASHES, save_failure
from enrich.describe.describer import Description, Image, MotionHint, Question
from enrich.errors import VideoError
from enrich.library.images import restore_image
from enrich.logs import Action, about
from enrich.process import this_process
from enrich.schedule.gap_filling import GapFilling
from enrich.video.jpeg import is_whole_jpeg
from enrich.wording import one_line
from enrich.worker.run_context import RunContext
from enrich.worker.run_options import RunOptions

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often an empty queue is polled; new frames of this worker wake the prefetcher at once
VIDEO_CACHE_SECONDS = 5.0  # a video's context may be edited during a run
MISSING_FILE_PAUSE_SECONDS = 60
RETRY_PAUSE_SECONDS = 10  # after an error that was not foreseen
MAX_ERROR_CHARACTERS = 300
RESTORE_FAILED = (
    "the image could not be restored from {path} ({details}): retry it with `everyframe retry`; if it fails again, "
    "report the traceback in the log"
)
MOST_REQUESTED_IN_A_ROW = 3  # then one frame in coverage order, so that requests starve nothing


@dataclass(frozen=True, slots=True)
class PrefetchedFrame:
    """A claimed frame with its image, ready to be described."""

    task: queue.ClaimedTask
    frame: FrameRow
    question: Question

    @property
    def dhash(self) -> int:
        """The frame's 64-bit difference hash."""
        return int(self.frame.dhash or "0", 16)


@dataclass(frozen=True, slots=True)
class _ClaimedFrame:
    """A claimed task and its rows; None: the frame was removed."""

    task: queue.ClaimedTask
    rows: tuple[FrameRow, VideoRow] | None
    event: str = ""  # the event the quick pass recognised in its scene


@dataclass(frozen=True, slots=True)
class _MissingImage:
    """Why a claimed frame's image cannot be loaded now. `is_failure`: the error was not foreseen, so it is counted."""

    reason: str
    is_failure: bool = False


class Prefetcher:
    """Used from one event loop; `wake_soon` may be called from any thread."""

    def __init__(
        self,
        context: RunContext,
        options: RunOptions,
        *,
        ahead: int,
        gap_filling: GapFilling | None = None,
        isolates_suspects: bool = False,
    ) -> None:
        """`ahead`: how many frames to claim in advance.

        `isolates_suspects`: claim only tasks suspected of a crash, one at a time, and only when a host runner waits.
        """
        self._context = context
        self._options = options
        self._ahead = ahead
        self._gap_filling = gap_filling
        self._isolates_suspects = isolates_suspects
        self._waiters = 0  # host runner slots waiting in `take`
        self._claims: dict[int, queue.ClaimedTask] = {}  # claimed and not settled, by id
        self._ready: asyncio.Queue[PrefetchedFrame] = asyncio.Queue()
        self._ahead_now = 0  # claimed and not taken yet
        self._taken = 0  # taken and not settled yet
        self._handed_out = 0
        self._videos: dict[int, tuple[VideoRow, float]] = {}
        self._requested_in_a_row = 0
        self._new_frames = asyncio.Event()
        self._room = asyncio.Event()
        self.waiting_for_video: set[int] = set()  # ids of tasks postponed because their video is missing
        self._host = str(this_process())
        self._loop = asyncio.get_running_loop()

    @property
    def is_empty(self) -> bool:
        """Whether no claimed frame is left to describe or to save."""
        return self._ahead_now == 0 and self._taken == 0

    @property
    def handed_out(self) -> int:
        """How many frames were taken and not returned."""
        return self._handed_out

    @property
    def is_limit_reached(self) -> bool:
        """Whether the run's limit of frames has been handed out."""
        return self._options.limit is not None and self._handed_out >= self._options.limit

    def wake_soon(self) -> None:
        """Announce new tasks, from any thread."""
        self._loop.call_soon_threadsafe(self._new_frames.set)

    async def run(self) -> None:
        """Claim ahead until cancelled."""
        while True:
            room = self._room_now()
            if room <= 0 or self._ahead_now > self._ahead // 2:  # a claim is a transaction: claim several at once
                self._room.clear()
                await self._room.wait()
                continue
            self._new_frames.clear()
            claimed = await self._context.database.run(partial(self._claim, room))
            if not claimed:
                await self._wait_for_tasks()
                continue
            self._ahead_now += len(claimed)
            for one in claimed:
                await self._load(one)

    async def take(self) -> PrefetchedFrame:
        """The next frame. The caller either returns it or reports that it is settled."""
        self._waiters += 1
        self._room.set()
        try:
            item = await self._ready.get()
        finally:
            self._waiters -= 1
        self._ahead_now -= 1
        self._taken += 1
        self._handed_out += 1
        self._room.set()
        return item

    def return_item(self, item: PrefetchedFrame) -> None:
        """Return a frame as it was: its host was to blame, or was not asked."""
        self._taken -= 1
        self._ahead_now += 1
        self._handed_out -= 1
        self._ready.put_nowait(item)

    def settled(self, item: PrefetchedFrame, described: Description | None) -> None:
        """A frame was saved (with what description), counted as failed, or dropped."""
        if described is not None and self._gap_filling is not None:
            self._context.database.submit(partial(self._reprioritize, self._gap_filling, item, described))
        self._taken -= 1
        self._drop(item.task)
        self._room.set()
        self._new_frames.set()  # a failed one may be due again
        self._wake_if_empty()

    async def close(self) -> None:
        """Release what was claimed and not settled, including a claim that was cancelled half-way."""
        await self._context.database.run(self._release)  # in the thread that claims, so after the last claim

    def _room_now(self) -> int:
        """How many frames may be claimed now."""
        room = self._ahead - self._ahead_now
        if self._options.limit is not None:
            room = min(room, self._options.limit - self._handed_out - self._ahead_now)
        if self._isolates_suspects:
            room = min(room, 1) if self.is_empty and self._waiters else 0
        return room

    async def _load(self, claimed: _ClaimedFrame) -> None:
        task = claimed.task
        self.waiting_for_video.discard(task.id)
        if claimed.rows is not None:
            item = await asyncio.to_thread(self._load_image, task, *claimed.rows, claimed.event)
            if isinstance(item, PrefetchedFrame):
                self._ready.put_nowait(item)
                return
            give_up = self._fail if item.is_failure else self._postpone
            await self._context.database.run(partial(give_up, task, item.reason))
        self._drop(task)
        self._ahead_now -= 1
        self._room.set()
        self._wake_if_empty()

    def _load_image(
        self, task: queue.ClaimedTask, frame: FrameRow, video: VideoRow, event: str
    ) -> PrefetchedFrame | _MissingImage:
        """Load the frame's image, restoring it from the video if necessary. Runs in a thread, without the database."""
        library = self._context.library
        path = library.frames_folder / frame.image_path
        try:
            if is_whole_jpeg(path):
                jpeg = path.read_bytes()
            else:
                jpeg = restore_image(library.settings, video, frame)
                log.warning("%s was missing or damaged: restored", path, extra=about(Action.IMAGE_RESTORED))
        except (VideoError, OSError) as error:
            return _MissingImage(str(error))
        except Exception as error:
            where = about(Action.FRAME_FAILED, video=video.id, frame=frame.id)
            log.warning("%s: unexpected error while restoring an image", video.title, exc_info=error, extra=where)
            details = ": ".join(
                part for part in (type(error).__name__, one_line(str(error), MAX_ERROR_CHARACTERS)) if part
            )
            return _MissingImage(RESTORE_FAILED.format(path=video.path, details=details), is_failure=True)
        image = Image(jpeg, frame.timestamp, MotionHint(motion=frame.motion))
        language = library.settings.language
        return PrefetchedFrame(task, frame, Question((image,), context=video.context, event=event, language=language))

    def _claim(self, room: int) -> list[_ClaimedFrame]:
        """Claim up to `room` frames in order of priority. Runs in the database thread."""
        min_crashes = SUSPECT_CRASHES if self._isolates_suspects else 0
        wanted = queue.TaskFilter(
            TaskKind.DESCRIBE, self._context.pass_, self._options.video_ids, min_crashes=min_crashes
        )
        claim = partial(queue.claim, run_id=self._context.run_id, host=self._host, now=datetime.now(UTC))
        tasks: list[queue.ClaimedTask] = []
        with writing(self._context.library.engine) as connection:
            if self._requested_in_a_row >= MOST_REQUESTED_IN_A_ROW:
                tasks += claim(connection, replace(wanted, below_priority=REQUEST_PRIORITY), limit=1)
                self._requested_in_a_row = 0
            if room > len(tasks):
                tasks += claim(connection, wanted, limit=room - len(tasks))
        for task in tasks:
            self._claims[task.id] = task
            self._context.leases.hold(task)
            self._requested_in_a_row = self._requested_in_a_row + 1 if task.priority >= REQUEST_PRIORITY else 0
        if not tasks:
            return []
        with reading(self._context.library.engine) as connection:
            return [_ClaimedFrame(task, self._rows(connection, task), self._event(connection, task)) for task in tasks]

    def _rows(self, connection: Connection, task: queue.ClaimedTask) -> tuple[FrameRow, VideoRow] | None:
        frame = read_frame(connection, task.frame_id) if task.frame_id is not None else None
        if frame is None:
            return None
        return frame, self._video(task.video_id, lambda: read_video(connection, task.video_id))

    def _video(self, video_id: int, read: Callable[[], VideoRow]) -> VideoRow:
        known = self._videos.get(video_id)
        if known is None or time.monotonic() - known[1] > VIDEO_CACHE_SECONDS:
            known = self._videos[video_id] = (read(), time.monotonic())
        return known[0]

    def _event(self, connection: Connection, task: queue.ClaimedTask) -> str:
        """The event that the quick pass recognised in the frame's scene; "" if it did not look at it."""
        if self._context.pass_ != DEEP or task.frame_id is None:
            return ""
        return quick_results.event_of(connection, video_id=task.video_id, frame_id=task.frame_id) or ""

    def _postpone(self, task: queue.ClaimedTask, reason: str) -> None:
        where = about(Action.VIDEO_WAITING, video=task.video_id)
        log.warning("frame postponed, its video is not available: %s", reason, extra=where)
        later = datetime.now(UTC) + timedelta(seconds=MISSING_FILE_PAUSE_SECONDS)
        with suppress(queue.LeaseLostError), writing(self._context.library.engine) as connection:
            queue.release(connection, task, reason=reason, not_before=later)
            self.waiting_for_video.add(task.id)

    def _fail(self, task: queue.ClaimedTask, reason: str) -> None:
        """Count a failed attempt. Runs in the database thread."""
        now = datetime.now(UTC)
        later = now + timedelta(seconds=RETRY_PAUSE_SECONDS)
        run_id = self._context.run_id
        with suppress(queue.LeaseLostError), writing(self._context.library.engine) as connection:
            status = save_failure(connection, task, error=reason, not_before=later, analyses=[], now=now, run_id=run_id)
            self._context.counts.frames_failed += status is TaskStatus.FAILED

    def _reprioritize(self, gap_filling: GapFilling, item: PrefetchedFrame, described: Description) -> None:
        """Let gap filling raise the priority of another frame. Runs in the database thread."""
        with suppress(*RETRYABLE):  # the description is saved; its neighbours keep their priority
            gap_filling.frame_described(item.task, item.frame.timestamp, described.text, described.tags)

    def _release(self) -> None:
        """Release all claims; attempts are not counted. Leases that were lost are skipped."""
        for task in list(self._claims.values()):
            with suppress(queue.LeaseLostError), writing(self._context.library.engine) as connection:
                queue.release(connection, task)
            self._drop(task)

    def _drop(self, task: queue.ClaimedTask) -> None:
        self._claims.pop(task.id, None)
        self._context.leases.drop(task)

    def _wake_if_empty(self) -> None:
        if self.is_empty:
            self._context.wake()

    async def _wait_for_tasks(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):  # wait_for may swallow a cancellation before Python 3.12
                await self._new_frames.wait()
