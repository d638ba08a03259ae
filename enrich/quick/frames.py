"""Ensures that a video has kept frames to choose key frames from, within seconds, by skimming it.

Works beside a running worker: a task that the worker has claimed is waited for, for a limited time, an unclaimed one is
claimed and done here, with the same rows as a result. A video is decoded completely only if it is too short to skim or
is not seekable. Setting `stop` ends every step within a second; the task is then released, and continues where it was.
"""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from db import extraction, queries, queue, quick
from db.engine import reading, writing
from db.errors import StorageError
from db.models import DEEP, EXTRACTION_ENDED, TaskKind, TaskStatus
from db.queries import VideoRow
from enrich.errors import EveryFrameError, VideoError
from enrich.library.library import Library
from enrich.process import this_process
from enrich.wording import one_line
from enrich.worker.extract_task import ExtractionProgress, extract_video, fail_attempt
from enrich.worker.leases import LeaseRenewal, sweep_abandoned
from enrich.worker.skim_task import skim_video

FRAMES_PER_KEY_FRAME = 2  # frames to skim for each key frame wanted
FAST_SKIM_SECONDS = 12.0  # if the skim took less, the video is skimmed a second time, in more places
OTHERS_SECONDS = 60.0  # for a task that another process has claimed
POLL_SECONDS = 0.2


def ensure_frames(
    library: Library,
    video_id: int,
    *,
    wanted: int,
    stop: threading.Event,
    on_step: Callable[[str], None] = lambda _: None,
) -> VideoRow:
    """Ensure that a video has frames to choose `wanted` key frames from, and return its row.

    `on_step` is called with a phrase at the start of each step. Raises VideoError if no frame can be extracted.
    """
    began = time.monotonic()
    video = _video(library, video_id)
    if video.extraction_status in EXTRACTION_ENDED and video.kept:
        return video
    with writing(library.engine) as connection:  # the user may have put a missing file back
        for kind in (TaskKind.SKIM, TaskKind.EXTRACT):
            queue.make_due(connection, kind=kind, video_ids=[video_id])
    if _state(library, video_id, TaskKind.SKIM) is not None:
        on_step(f"skimming {one_line(video.title)}")
        _skim(library, video_id, stop)
        if time.monotonic() - began < FAST_SKIM_SECONDS and not stop.is_set():
            with writing(library.engine) as connection:
                is_due = extraction.extend_skim(connection, video_id, places=FRAMES_PER_KEY_FRAME * wanted)
            if is_due:
                _skim(library, video_id, stop)
        video = _video(library, video_id)
    if not _has_spread_frames(library, video) and not stop.is_set():
        on_step(f"decoding {one_line(video.title)}")
        _decode(library, video_id, stop)
        video = _video(library, video_id)
    if not video.kept and not stop.is_set():
        if (_state(library, video_id, TaskKind.EXTRACT) or (None,))[0] is TaskStatus.DOING:
            raise VideoError(f"another process is decoding {video.path}, which has no frames yet: try again later")
        raise VideoError(video.error or f"no frame of {video.path} can be decoded: check that the file plays")
    return video


def _has_spread_frames(library: Library, video: VideoRow) -> bool:
    """Whether there are frames of more than the beginning: an interrupted decode without a skim left only those."""
    with reading(library.engine) as connection:
        if extraction.unplaced_frames(connection, video.id):  # found by seeking
            return True
        timestamps = [row.timestamp for row in quick.candidates(connection, video.id)]
    return bool(timestamps) and max(timestamps) >= (video.duration or math.inf) / 2


def _skim(library: Library, video_id: int, stop: threading.Event) -> None:
    """Skim the video, or wait for the process that does, until the timeout."""

    def work(task: queue.ClaimedTask) -> None:
        skim_video(library, task, passes=(DEEP,), stop=stop, on_frames=lambda: None)

    _until_done(library, video_id, TaskKind.SKIM, work, stop)


def _decode(library: Library, video_id: int, stop: threading.Event) -> None:
    """Decode the video completely, or wait for the process that does."""

    def work(task: queue.ClaimedTask) -> None:
        has_ended = threading.Event()

        def close_when_stopped(progress: ExtractionProgress) -> None:
            """Runs in its own thread: decoding does not look at `stop`."""
            while not has_ended.is_set():
                if stop.wait(POLL_SECONDS):
                    progress.extraction.close()
                    return

        def begun(progress: ExtractionProgress) -> None:
            threading.Thread(target=close_when_stopped, args=[progress], name="everyframe-quick-stop").start()

        try:
            extract_video(library, task, passes=(DEEP,), stop=stop, on_begin=begun, on_frames=lambda: None)
        finally:
            has_ended.set()

    _until_done(library, video_id, TaskKind.EXTRACT, work, stop)


def _until_done(
    library: Library,
    video_id: int,
    kind: TaskKind,
    work: Callable[[queue.ClaimedTask], None],
    stop: threading.Event,
) -> None:
    """Do a task, or wait OTHERS_SECONDS for the process that has claimed it. Raises VideoError if it cannot run."""
    end = time.monotonic() + OTHERS_SECONDS
    while not stop.is_set():
        status, reason = _state(library, video_id, kind) or (TaskStatus.DONE, None)
        if status in (TaskStatus.DONE, TaskStatus.FAILED):
            return
        task = _claimed(library, video_id, kind)
        if task is None:
            if status is TaskStatus.TODO and reason is not None:
                raise VideoError(reason)
            if time.monotonic() >= end:
                return
            stop.wait(POLL_SECONDS)
            continue
        try:
            with LeaseRenewal(library.engine, [task]):
                work(task)
        except queue.LeaseLostError:  # a worker has taken over the task
            continue
        except (EveryFrameError, StorageError, SQLAlchemyError):  # not the video's fault
            _release(library, task)
            raise
        except Exception as error:
            raise VideoError(fail_attempt(library, task, error)) from error
        except BaseException:
            _release(library, task)
            raise


def _claimed(library: Library, video_id: int, kind: TaskKind) -> queue.ClaimedTask | None:
    now = datetime.now(UTC)
    with writing(library.engine) as connection:
        sweep_abandoned(connection, now=now)  # the process that claimed the task may have been killed
        tasks = queue.claim(
            connection,
            queue.TaskFilter(kind, video_ids=[video_id]),
            run_id=None,
            host=str(this_process()),
            limit=1,
            now=now,
        )
    return tasks[0] if tasks else None


def _release(library: Library, task: queue.ClaimedTask) -> None:
    try:
        with writing(library.engine) as connection:
            queue.release(connection, task)
    except queue.LeaseLostError:
        return


def _state(library: Library, video_id: int, kind: TaskKind) -> tuple[TaskStatus, str | None] | None:
    """The status of a video's task and the reason it waits; None if there is no task."""
    with reading(library.engine) as connection:
        return queries.task_state(connection, video_id, kind)


def _video(library: Library, video_id: int) -> VideoRow:
    with reading(library.engine) as connection:
        return queries.video(connection, video_id)
