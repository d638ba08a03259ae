"""Having pictures to choose key frames from, soon: by seeking, without waiting for a film to be decoded.

Works beside a running worker: what that has in hand is waited for, what nobody has is claimed and done here, and what
is done leaves the same rows as if the worker had done it. Only a film that is too short for seeking, or cannot be
sought, is decoded.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from db import extraction, queries, queue
from db.engine import reading, writing
from db.models import DEEP, ExtractionStatus, TaskKind, TaskStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.library import Library
from enrich.process import this_process
from enrich.wording import first_line
from enrich.worker.extract_task import ExtractionProgress, extract_video
from enrich.worker.heartbeat import held
from enrich.worker.skim_task import skim_video

CHOICE = 2  # pictures looked for, for each key frame that is wanted
DEEPER_WITHIN_SECONDS = 12.0  # a film that is quick to seek in is looked at in more places
PATIENCE_SECONDS = 60.0  # for a look that another process has in hand
POLL_SECONDS = 0.2
ENDED = (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)


def ensure_frames(
    library: Library,
    video_id: int,
    *,
    wanted: int,
    stop: threading.Event,
    told: Callable[[str], None] = lambda _: None,
) -> VideoRow:
    """Have pictures of a video to choose `wanted` key frames from; the video as it is then.

    Raises VideoError if there are none and none can be had.
    """
    began = time.monotonic()
    video = _video(library, video_id)
    if video.extraction_status in ENDED and video.kept:
        return video
    with writing(library.engine) as connection:  # whoever asks may have put the file back
        for kind in (TaskKind.SKIM, TaskKind.EXTRACT):
            queue.make_due(connection, kind=kind, video_ids=[video_id])
    if _state(library, video_id, TaskKind.SKIM) is not None:
        told(f"looking at {first_line(video.title)}")
        _look(library, video_id, stop)
        if time.monotonic() - began < DEEPER_WITHIN_SECONDS and not stop.is_set():
            with writing(library.engine) as connection:
                is_due = extraction.extend_skim(connection, video_id, places=CHOICE * wanted)
            if is_due:
                _look(library, video_id, stop)
        video = _video(library, video_id)
    if not video.kept and not stop.is_set():
        told(f"decoding {first_line(video.title)}")
        _decode(library, video_id, stop)
        video = _video(library, video_id)
    if not video.kept and not stop.is_set():
        raise VideoError(video.error or f"{video.path} has no picture that can be looked at")
    return video


def _look(library: Library, video_id: int, stop: threading.Event) -> None:
    """Seek through the video, unless somebody else does; until it is done, or the patience is at its end."""

    def work(job: queue.ClaimedTask) -> None:
        skim_video(library, job, passes=(DEEP,), stop=stop, on_frames=lambda: None)

    end = time.monotonic() + PATIENCE_SECONDS
    _until_done(library, video_id, TaskKind.SKIM, work, is_over=lambda: stop.is_set() or time.monotonic() >= end)


def _decode(library: Library, video_id: int, stop: threading.Event) -> None:
    """Decode the video to its end, unless somebody else does."""

    def begun(extracting: ExtractionProgress) -> None:
        if stop.is_set():
            extracting.extraction.close()

    def work(job: queue.ClaimedTask) -> None:
        extract_video(library, job, passes=(DEEP,), stop=stop, on_begin=begun, on_frames=lambda: None)

    _until_done(library, video_id, TaskKind.EXTRACT, work, is_over=stop.is_set)


def _until_done(
    library: Library,
    video_id: int,
    kind: TaskKind,
    work: Callable[[queue.ClaimedTask], None],
    *,
    is_over: Callable[[], bool],
) -> None:
    """Claim and do a task, or wait for whoever has it. Raises VideoError with what it waits for, where it must wait."""
    while not is_over():
        status, reason = _state(library, video_id, kind) or (TaskStatus.DONE, None)
        if status in (TaskStatus.DONE, TaskStatus.FAILED):
            return
        job = _claimed(library, video_id, kind)
        if job is None:
            if status is TaskStatus.TODO and reason is not None:
                raise VideoError(reason)
            time.sleep(POLL_SECONDS)
            continue
        try:
            with held(library.engine, job):
                work(job)
        except queue.LeaseLostError:  # a worker began meanwhile, and does it
            continue
        except BaseException:
            _give_back(library, job)
            raise


def _claimed(library: Library, video_id: int, kind: TaskKind) -> queue.ClaimedTask | None:
    with writing(library.engine) as connection:
        jobs = queue.claim(
            connection,
            queue.TaskFilter(kind, video_ids=[video_id]),
            run_id=None,
            host=this_process().hostname,
            limit=1,
            now=datetime.now(UTC),
        )
    return jobs[0] if jobs else None


def _give_back(library: Library, job: queue.ClaimedTask) -> None:
    try:
        with writing(library.engine) as connection:
            queue.release(connection, job)
    except queue.LeaseLostError:
        return


def _state(library: Library, video_id: int, kind: TaskKind) -> tuple[TaskStatus, str | None] | None:
    """The status of a video's task and what it waits for; None if it has none."""
    with reading(library.engine) as connection:
        return queries.task_state(connection, video_id, kind)


def _video(library: Library, video_id: int) -> VideoRow:
    with reading(library.engine) as connection:
        return queries.video(connection, video_id)
