"""What is written when a video is decoded: its beginning, and each of its ends.

Every function takes part in its caller's transaction.
"""

from datetime import datetime

from sqlalchemy import Connection, case, exists, func, update

from db import queue
from db.models import ExtractionStatus, Task, TaskKind, TaskStatus, Video
from db.store import refresh_enrichment


def begin_extraction(connection: Connection, video_id: int) -> None:
    """Note that a video is being decoded."""
    connection.execute(
        update(Video).where(Video.id == video_id).values(extraction_status=ExtractionStatus.EXTRACTING, error=None)
    )


def finish_extraction(
    connection: Connection, job: queue.Job, *, decoded: int, failures: int, duration: float | None = None
) -> None:
    """Note that every frame of a video was decoded: `decoded` pictures, and `failures` that could not be.

    `duration` in seconds is kept where the file says nothing of it.
    """
    connection.execute(
        update(Video)
        .where(Video.id == job.video_id)
        .values(
            extraction_status=ExtractionStatus.EXTRACTED,
            frame_count=decoded,
            decode_failures=failures,
            duration=func.coalesce(Video.duration, duration),
            error=None,
        )
    )
    queue.finish(connection, job)
    looks = update(Task).where(Task.video_id == job.video_id, Task.kind == TaskKind.SKIM)
    connection.execute(looks.values(status=TaskStatus.DONE, lease_token=None, lease_until=None, error=None))
    refresh_enrichment(connection, job.video_id)


def fail_extraction(connection: Connection, job: queue.Job, *, error: str) -> None:
    """Note that a video cannot be decoded, for good."""
    queue.fail(connection, job, error=error, attempt_limit=1)
    connection.execute(
        update(Video).where(Video.id == job.video_id).values(extraction_status=ExtractionStatus.FAILED, error=error)
    )
    refresh_enrichment(connection, job.video_id)


def found_again(connection: Connection, video_id: int) -> None:
    """Note that a video's file is there again: what waited for it is due now, and nothing is said of it any more."""
    for kind in TaskKind:
        queue.wake(connection, kind=kind, video_ids=[video_id])
    waits = (Video.id == video_id, Video.extraction_status != ExtractionStatus.FAILED)
    connection.execute(update(Video).where(*waits).values(error=None))


def postpone_extraction(
    connection: Connection, job: queue.Job, *, reason: str | None, not_before: datetime | None
) -> None:
    """Give an extraction back: the file is not there now, or the worker stops. Nothing is counted."""
    queue.release(connection, job, reason=reason, not_before=not_before)
    was_skimmed = exists().where(
        Task.video_id == job.video_id, Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE
    )
    status = case((was_skimmed, ExtractionStatus.SKIMMED), else_=ExtractionStatus.PENDING)
    connection.execute(update(Video).where(Video.id == job.video_id).values(extraction_status=status, error=reason))
