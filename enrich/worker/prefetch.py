"""The feed: claims describe tasks a little ahead and gets their pictures ready, so that no call waits for a disk.

One feed serves all hosts of a worker. What it has claimed and nobody has settled is released when it closes.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from db import queue
from db import quick as quick_looks
from db.engine import reading, writing
from db.models import DEEP, TaskKind
from db.queries import FrameRow, VideoRow
from db.queries import frame as read_frame
from db.queries import video as read_video
from db.store import SUSPECT_CRASHES
from enrich.describe.describer import Image, MotionHint, Question
from enrich.errors import VideoError
from enrich.library.library import Library
from enrich.library.pictures import restore_image
from enrich.logs import Action, about
from enrich.process import this_process
from enrich.schedule.coverage import REQUEST_PRIORITY
from enrich.video.jpeg import is_whole_jpeg
from enrich.worker.heartbeat import Heartbeat
from enrich.worker.run_options import RunOptions

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # how often an empty queue is asked again; new frames of this worker wake the feed at once
MISSING_FILE_PAUSE_SECONDS = 60
MOST_REQUESTED_IN_A_ROW = 3  # then comes a frame nobody asked for
T = TypeVar("T")


class DatabaseRunner(Protocol):
    """Where database work is run, one piece after the other, off the event loop."""

    async def in_database(self, work: Callable[[], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class PrefetchedFrame:
    """A claimed frame, ready to be described."""

    job: queue.ClaimedTask
    frame: FrameRow
    question: Question

    @property
    def dhash(self) -> int:
        return int(self.frame.dhash or "0", 16)


@dataclass(frozen=True, slots=True)
class _ClaimedFrame:
    """A claimed task and its rows; None: the frame is gone."""

    job: queue.ClaimedTask
    rows: tuple[FrameRow, VideoRow] | None
    event: str = ""  # what the quick pass took its scene for


@dataclass(frozen=True, slots=True)
class _WaitingFrame:
    """A claimed frame whose picture cannot be had now."""

    reason: str


class Prefetcher:
    def __init__(
        self,
        library: Library,
        order: RunOptions,
        *,
        pass_: str,
        run_id: int,
        keeper: Heartbeat,
        ahead: int,
        database: DatabaseRunner,
        on_empty: Callable[[], None] = lambda: None,
        alone: bool = False,
    ) -> None:
        """`alone`: claims only suspects of crashes, one at a time, and only for somebody who waits for it."""
        self._library = library
        self._order = order
        self._pass = pass_
        self._run_id = run_id
        self._keeper = keeper
        self._ahead = ahead
        self._database = database
        self._on_empty = on_empty
        self._alone = alone
        self._waiting = 0  # who wants an item
        self._held: dict[int, queue.ClaimedTask] = {}  # claimed and not settled, by id
        self._ready: asyncio.Queue[PrefetchedFrame] = asyncio.Queue()
        self._claimed = 0  # items made ready or being made ready, not taken yet
        self._taken = 0  # items in somebody's hands
        self._handed_out = 0
        self._videos: dict[int, tuple[VideoRow, float]] = {}
        self._wishes_in_a_row = 0
        self._new_frames = asyncio.Event()
        self._room = asyncio.Event()
        self.waiting_for_video: set[int] = set()  # task ids postponed because their video is not there
        self._hostname = this_process().hostname
        self._loop = asyncio.get_running_loop()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is claimed: neither waiting to be taken, nor in anybody's hands."""
        return self._claimed == 0 and self._taken == 0

    @property
    def handed_out(self) -> int:
        """How many frames were handed out and not put back."""
        return self._handed_out

    @property
    def is_spent(self) -> bool:
        """Whether the order's limit of frames has been handed out."""
        return self._order.limit is not None and self._handed_out >= self._order.limit

    def wake_soon(self) -> None:
        """Tell the feed, from any thread, that there are new tasks."""
        self._loop.call_soon_threadsafe(self._new_frames.set)

    async def run(self) -> None:
        """Claim ahead until cancelled."""
        while True:
            room = self._ahead - self._claimed
            if self._order.limit is not None:
                room = min(room, self._order.limit - self._handed_out - self._claimed)
            if self._alone:
                room = min(room, 1) if self.is_empty and self._waiting else 0
            if room <= 0 or self._claimed > self._ahead // 2:  # a claim is a transaction: several at once
                self._room.clear()
                await self._room.wait()
                continue
            self._new_frames.clear()
            claimed = await self._database.in_database(partial(self._claim, room))
            if not claimed:
                await self._wait_for_tasks()
                continue
            self._claimed += len(claimed)
            for one in claimed:
                await self._make_ready(one)

    async def _make_ready(self, claimed: _ClaimedFrame) -> None:
        job = claimed.job
        self.waiting_for_video.discard(job.id)
        if claimed.rows is not None:
            item = await asyncio.to_thread(self._prepare, job, *claimed.rows, claimed.event)
            if isinstance(item, PrefetchedFrame):
                self._ready.put_nowait(item)
                return
            await self._database.in_database(partial(self._postpone, job, item.reason))
        self._drop(job)
        self._claimed -= 1
        self._room.set()
        self._look_if_empty()

    async def take(self) -> PrefetchedFrame:
        """The next item; whoever takes it gives it back or says that it is settled."""
        self._waiting += 1
        self._room.set()
        try:
            item = await self._ready.get()
        finally:
            self._waiting -= 1
        self._claimed -= 1
        self._taken += 1
        self._handed_out += 1
        self._room.set()
        return item

    def return_item(self, item: PrefetchedFrame) -> None:
        """Return an item as it was: its host was to blame."""
        self._taken -= 1
        self._claimed += 1
        self._handed_out -= 1
        self._ready.put_nowait(item)

    def settled(self, item: PrefetchedFrame) -> None:
        """An item is saved, counted as failed, or dropped."""
        self._taken -= 1
        self._drop(item.job)
        self._room.set()
        self._new_frames.set()  # a failed one may be due again
        self._look_if_empty()

    async def close(self) -> None:
        """Release what was claimed and not settled, a claim that was cancelled half-way too."""
        await self._database.in_database(self._release)  # in the claims' own thread, so after the last of them

    def _release(self) -> None:
        """Give tasks back, nothing counted; those that are not ours any more are let go."""
        for job in list(self._held.values()):
            with suppress(queue.LeaseLostError), writing(self._library.engine) as connection:
                queue.release(connection, job)
            self._drop(job)

    def _hold(self, job: queue.ClaimedTask) -> None:
        self._held[job.id] = job
        self._keeper.hold(job)

    def _drop(self, job: queue.ClaimedTask) -> None:
        self._held.pop(job.id, None)
        self._keeper.drop(job)

    def _look_if_empty(self) -> None:
        if self.is_empty:
            self._on_empty()

    def _claim(self, room: int) -> list[_ClaimedFrame]:
        """Claim in order of priority; now and then a frame nobody asked for, so that wishes starve nothing."""
        wanted = queue.TaskFilter(
            TaskKind.DESCRIBE, self._pass, self._order.video_ids, min_crashes=SUSPECT_CRASHES if self._alone else 0
        )
        claim = partial(queue.claim, run_id=self._run_id, host=self._hostname, now=datetime.now(UTC))
        jobs: list[queue.ClaimedTask] = []
        with writing(self._library.engine) as connection:
            if self._wishes_in_a_row >= MOST_REQUESTED_IN_A_ROW:
                jobs += claim(connection, replace(wanted, below_priority=REQUEST_PRIORITY), limit=1)
                self._wishes_in_a_row = 0
            if room > len(jobs):
                jobs += claim(connection, wanted, limit=room - len(jobs))
        for job in jobs:
            self._hold(job)
            self._wishes_in_a_row = self._wishes_in_a_row + 1 if job.priority >= REQUEST_PRIORITY else 0
        if not jobs:
            return []
        with reading(self._library.engine) as connection:
            return [_ClaimedFrame(job, self._rows(connection, job), self._event(connection, job)) for job in jobs]

    def _rows(self, connection: Connection, job: queue.ClaimedTask) -> tuple[FrameRow, VideoRow] | None:
        frame = read_frame(connection, job.frame_id) if job.frame_id is not None else None
        if frame is None:
            return None
        return frame, self._video(job.video_id, lambda: read_video(connection, job.video_id))

    def _event(self, connection: Connection, job: queue.ClaimedTask) -> str:
        """What the quick pass took the frame's scene for, if it has been there."""
        if self._pass != DEEP or job.frame_id is None:
            return ""
        return quick_looks.event_of(connection, video_id=job.video_id, frame_id=job.frame_id) or ""

    def _prepare(
        self, job: queue.ClaimedTask, frame: FrameRow, video: VideoRow, event: str
    ) -> PrefetchedFrame | _WaitingFrame:
        """The claimed frame with its picture, made anew if it must be. Runs in a thread, without the database."""
        path = self._library.frames_folder / frame.image_path
        try:
            if is_whole_jpeg(path):
                jpeg = path.read_bytes()
            else:
                jpeg = restore_image(self._library.settings, video, frame)
                log.warning("%s was missing or broken: made again", path, extra=about(Action.IMAGE_RESTORED))
        except (VideoError, OSError) as error:
            return _WaitingFrame(str(error))
        movement = MotionHint(motion=frame.motion)
        picture = Image(jpeg=jpeg, timestamp=frame.timestamp, movement=movement)
        language = self._library.settings.language
        question = Question(pictures=(picture,), context=video.context, event=event, language=language)
        return PrefetchedFrame(job, frame, question)

    def _video(self, video_id: int, read: Callable[[], VideoRow]) -> VideoRow:
        known = self._videos.get(video_id)
        if known is None or time.monotonic() - known[1] > POLL_SECONDS * 10:  # its context may be edited meanwhile
            known = self._videos[video_id] = (read(), time.monotonic())
        return known[0]

    def _postpone(self, job: queue.ClaimedTask, reason: str) -> None:
        log.warning("a frame waits for its video: %s", reason, extra=about(Action.VIDEO_WAITING, video=job.video_id))
        later = datetime.now(UTC) + timedelta(seconds=MISSING_FILE_PAUSE_SECONDS)
        with suppress(queue.LeaseLostError), writing(self._library.engine) as connection:
            queue.release(connection, job, reason=reason, not_before=later)
            self.waiting_for_video.add(job.id)

    async def _wait_for_tasks(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):  # wait_for may swallow a cancellation before Python 3.12
                await self._new_frames.wait()
