"""What is written when a video is decoded: its beginning, and each of its ends.

Every function takes part in its caller's transaction.

What is written when a video is looked at by seeking, and when decoding meets the pictures that were found so.

Every function takes part in its caller's transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, delete, exists, func, select, update

from db import queue
from db.models import ExtractionStatus, Frame, Task, TaskKind, TaskStatus, Video
from db.store import refresh_enrichment


def begin_extraction(connection: Connection, video_id: int) -> None:
    """Note that a video is being decoded."""
    connection.execute(
        update(Video).where(Video.id == video_id).values(extraction_status=ExtractionStatus.EXTRACTING, error=None)
    )


def finish_extraction(
    connection: Connection, job: queue.ClaimedTask, *, decoded: int, failures: int, duration: float | None = None
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


def fail_extraction(connection: Connection, job: queue.ClaimedTask, *, error: str) -> None:
    """Note that a video cannot be decoded, for good."""
    queue.fail(connection, job, error=error, attempt_limit=1)
    connection.execute(
        update(Video).where(Video.id == job.video_id).values(extraction_status=ExtractionStatus.FAILED, error=error)
    )
    refresh_enrichment(connection, job.video_id)


def restart_extraction(connection: Connection, video_id: int) -> None:
    """Note that a video's file is there again: what waited for it is due now, and nothing is said of it any more."""
    for kind in TaskKind:
        queue.wake(connection, kind=kind, video_ids=[video_id])
    waits = (Video.id == video_id, Video.extraction_status != ExtractionStatus.FAILED)
    connection.execute(update(Video).where(*waits).values(error=None))


def postpone_extraction(
    connection: Connection, job: queue.ClaimedTask, *, reason: str | None, not_before: datetime | None
) -> None:
    """Give an extraction back: the file is not there now, or the worker stops. Nothing is counted."""
    queue.release(connection, job, reason=reason, not_before=not_before)
    was_skimmed = exists().where(
        Task.video_id == job.video_id, Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE
    )
    status = case((was_skimmed, ExtractionStatus.SKIMMED), else_=ExtractionStatus.PENDING)
    connection.execute(update(Video).where(Video.id == job.video_id).values(extraction_status=status, error=reason))


@dataclass(frozen=True, slots=True)
class SkimmedVideo:
    """A video that was looked at in `taken` places and is not decoded to its end."""

    id: int
    duration: float | None
    taken: int


def skimmed_videos(connection: Connection, video_ids: Collection[int] | None = None) -> list[SkimmedVideo]:
    """The videos that were looked at and are not decoded to their end, and can be."""
    statement = (
        select(Video.id, Video.duration, Task.payload)
        .join(Task, Task.video_id == Video.id)
        .where(Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE)
        .where(Video.extraction_status.not_in((ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)))
    )
    if video_ids is not None:
        statement = statement.where(Video.id.in_(video_ids))
    return [
        SkimmedVideo(row.id, row.duration, int((row.payload or {}).get("taken", 0)))
        for row in connection.execute(statement)
    ]


def places_taken(connection: Connection, video_id: int) -> int:
    """In how many places a video was looked at."""
    payload = connection.scalar(select(Task.payload).where(Task.video_id == video_id, Task.kind == TaskKind.SKIM))
    return int((payload or {}).get("taken", 0))


def unplaced_frames(connection: Connection, video_id: int) -> list[tuple[int, float]]:
    """The ids and timestamps of frames that were found by seeking and have no index yet, in the order of time."""
    statement = select(Frame.id, Frame.timestamp).where(Frame.video_id == video_id, Frame.index.is_(None))
    return [(row.id, row.timestamp) for row in connection.execute(statement.order_by(Frame.timestamp))]


def decoded_until(connection: Connection, video_id: int) -> float:
    """The time of the last kept frame that decoding has reached, in seconds; before all time where there is none."""
    last = select(func.max(Frame.timestamp)).where(Frame.video_id == video_id, Frame.index.is_not(None))
    found = connection.scalar(last)
    return float("-inf") if found is None else float(found)


def finish_skim(connection: Connection, job: queue.ClaimedTask, *, taken: int) -> None:
    """Note that a video was looked at in `taken` places. Raises LeaseLostError."""
    queue.finish(connection, job)
    connection.execute(update(Task).where(Task.id == job.id).values(payload={**(job.payload or {}), "taken": taken}))
    connection.execute(
        update(Video)
        .where(Video.id == job.video_id, Video.extraction_status == ExtractionStatus.PENDING)
        .values(extraction_status=ExtractionStatus.SKIMMED)
    )


def skim_deeper(connection: Connection, video_id: int, *, pictures: int) -> bool:
    """Have a video that is not extracted yet looked at in more places, `pictures` in all; whether it will be."""
    task = connection.execute(
        select(Task.id, Task.payload)
        .join(Video, Video.id == Task.video_id)
        .where(Task.video_id == video_id, Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE)
        .where(Video.extraction_status.not_in((ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)))
    ).one_or_none()
    if task is None or pictures <= (task.payload or {}).get("taken", 0):
        return False
    payload = {**(task.payload or {}), "pictures": pictures}
    connection.execute(update(Task).where(Task.id == task.id).values(status=TaskStatus.TODO, payload=payload))
    return True


def place_frame(connection: Connection, frame_id: int, *, index: int) -> None:
    """Give a frame that was found by seeking its index, and its share of what the kept frame before it stands for."""
    frame = connection.execute(select(Frame.video_id).where(Frame.id == frame_id)).one()
    before = connection.execute(
        select(Frame.id, Frame.index.label("number"), Frame.stands_for, Frame.scene)
        .where(Frame.video_id == frame.video_id, Frame.index < index)
        .order_by(Frame.index.desc())
        .limit(1)
    ).one()
    rest = before.number + before.stands_for - index
    connection.execute(update(Frame).where(Frame.id == before.id).values(stands_for=index - before.number))
    connection.execute(
        update(Frame).where(Frame.id == frame_id).values(index=index, stands_for=rest, scene=before.scene)
    )


def drop_frames(connection: Connection, frame_ids: Collection[int]) -> None:
    """Forget frames the video turned out not to have; their calls stay in `analyses`."""
    connection.execute(delete(Frame).where(Frame.id.in_(frame_ids)))
