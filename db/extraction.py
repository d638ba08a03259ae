"""State of a video while it is skimmed and extracted, and the frames found by skimming that extraction later places.

A skim finds frames by seeking, so their index is unknown; extraction decodes the video from the start and gives each of
them its index when it reaches it. Every function runs in its caller's transaction.

Each source frame is stood for once, whatever an interrupted extraction has stored: frames that extraction does not keep
this time are deleted in the transaction that saves their neighbours. Those with a description or a person's work stay
without an index. The end of the extraction places them by their timestamp, as it does with frames found by skimming:
each takes its share of what the kept frame before it stands for. A stored index is never trusted, because it may be
the error for which `verify --mend` had the video extracted again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from db import queue, store
from db.models import (
    EXTRACTION_ENDED,
    Checkpoint,
    Epoch,
    ExtractionStatus,
    Frame,
    Task,
    TaskKind,
    TaskStatus,
    Video,
)
from db.store import NewFrame, refresh_enrichment

# A frame with one of these was described, or a person worked on it: it is never deleted.
WORK = (Frame.local_description, Frame.quick_description, Frame.edited_at, Frame.reviewed_at)
CUT_SHORT = "cut short"  # the beginning of a video's warning about it
PERSONS_WORK = (Frame.edited_at, Frame.reviewed_at)
HALF_TURN = 180  # degrees


@dataclass(frozen=True, slots=True)
class ExtractionStart:
    """What the extraction of a video begins with. The same at every attempt, but for the checkpoint."""

    wanted: tuple[float, ...]  # timestamps of the frames skimmed before its first attempt, in seconds: always kept
    index: int | None  # of the source frame after which it continues, None: it begins at the start
    state: bytes | None
    kept: int  # frames kept until then


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """A stretch of a video between two restarts of its file's clock; units as in `db.models.Epoch`."""

    first_index: int
    first_at: float
    clock_at: float
    is_steady: bool


def begin_extraction(connection: Connection, video_id: int) -> ExtractionStart:
    """Mark a video as being extracted. Which frames are wanted is decided at the first attempt and stored."""
    connection.execute(
        update(Video).where(Video.id == video_id).values(extraction_status=ExtractionStatus.EXTRACTING, error=None)
    )
    begun = select(Checkpoint.wanted, Checkpoint.index.label("number"), Checkpoint.state)
    row = connection.execute(begun.where(Checkpoint.video_id == video_id)).one_or_none()
    if row is not None:
        until = row.number if row.number is not None else -1
        kept = select(func.count()).where(Frame.video_id == video_id, Frame.index <= until)
        return ExtractionStart(tuple(row.wanted), row.number, row.state, connection.scalar(kept) or 0)
    wanted = [timestamp for _, timestamp in unplaced_frames(connection, video_id)]
    connection.execute(insert(Checkpoint), [{"video_id": video_id, "wanted": wanted}])
    return ExtractionStart(tuple(wanted), None, None, 0)


def save_checkpoint(connection: Connection, video_id: int, *, index: int | None, state: bytes | None) -> None:
    """Store where the extraction continues; None: at the start. Save the frames before it in the same transaction."""
    connection.execute(update(Checkpoint).where(Checkpoint.video_id == video_id).values(index=index, state=state))


def save_epochs(
    connection: Connection, video_id: int, epochs: Sequence[NewEpoch], *, is_first_guess: bool = False
) -> None:
    """Replace what is known of a video's clock; a first guess replaces nothing."""
    if is_first_guess and connection.scalar(select(exists().where(Epoch.video_id == video_id))):
        return
    connection.execute(delete(Epoch).where(Epoch.video_id == video_id))
    rows = [{"video_id": video_id, "number": number, **asdict(epoch)} for number, epoch in enumerate(epochs)]
    if rows:
        connection.execute(insert(Epoch), rows)


def save_kept_frames(
    connection: Connection,
    task: queue.ClaimedTask,
    frames: Sequence[NewFrame],
    *,
    passes: Collection[str],
    now: datetime,
) -> int:
    """Save consecutive kept frames as `store.save_frames` does, as the only frames of the stretch they stand for.

    Returns how many were new. Raises LeaseLostError.
    """
    count = store.save_frames(connection, task, frames, passes=passes, now=now)
    if frames and frames[0].index is not None:
        last = frames[-1]
        end = (last.index or 0) + (last.stands_for or 0)
        _settle(connection, task.video_id, frames[0].index, end, {frame.timestamp for frame in frames})
    return count


def settle_end(connection: Connection, task: queue.ClaimedTask, *, decoded: int, now: datetime) -> None:
    """Leave no index at or after `decoded`, the number of source frames. Raises LeaseLostError."""
    if queue.renew(connection, [task], now=now) != 1:
        raise queue.LeaseLostError(f"the lease of {task.kind} task {task.id} was lost")
    _settle(connection, task.video_id, decoded, None, ())


def _settle(connection: Connection, video_id: int, begin: int, end: int | None, kept: Collection[float]) -> None:
    """Make `kept` (timestamps) the only frames with an index from `begin` on, before `end`: see the module."""
    stale = [Frame.video_id == video_id, Frame.index >= begin, Frame.timestamp.not_in(kept)]
    if end is not None:
        stale.append(Frame.index < end)
    connection.execute(delete(Frame).where(*stale, ~_has_work()))
    connection.execute(update(Frame).where(*stale).values(**dict.fromkeys(("index", "stands_for", "scene"))))


@dataclass(frozen=True, slots=True)
class MeasuredVideo:
    """What decoding found out about a video; it replaces what the header says."""

    duration: float  # seconds
    fps: float | None
    warning: str | None  # that the file is cut short, beginning with CUT_SHORT


def finish_extraction(
    connection: Connection,
    task: queue.ClaimedTask,
    *,
    decoded: int,
    failures: int,
    measured: MeasuredVideo | None = None,
    places: Mapping[int, int | None] | None = None,
) -> None:
    """Mark a video as extracted: `decoded` source frames, and `failures` that could not be decoded.

    `places` are the indexes of the frames that were
    unplaced when it had been decoded, by id. A frame without one is deleted, unless a person worked on it: seeking may
    find frames in a damaged video that decoding loses. Call `settle_end` first. Raises LeaseLostError.
    """
    for frame_id, index in (places or {}).items():
        if index is not None:
            place_frame(connection, frame_id, index=index)
    if not_in_video := [frame_id for frame_id, index in (places or {}).items() if index is None]:
        connection.execute(delete(Frame).where(Frame.id.in_(not_in_video), ~_has_work(PERSONS_WORK)))
    save_checkpoint(connection, task.video_id, index=None, state=None)
    connection.execute(
        update(Video)
        .where(Video.id == task.video_id)
        .values(
            extraction_status=ExtractionStatus.EXTRACTED,
            frame_count=decoded,
            decode_failures=failures,
            error=None,
        )
    )
    if measured is not None:
        _save_measured(connection, task.video_id, measured)
    queue.finish(connection, task)
    skims = update(Task).where(Task.video_id == task.video_id, Task.kind == TaskKind.SKIM)
    connection.execute(skims.values(status=TaskStatus.DONE, lease_token=None, lease_until=None, error=None))
    refresh_enrichment(connection, task.video_id)


def _save_measured(connection: Connection, video_id: int, measured: MeasuredVideo) -> None:
    warnings = connection.execute(select(Video.warnings).where(Video.id == video_id)).scalar_one()
    warnings = [warning for warning in warnings if not warning.startswith(CUT_SHORT)]  # of an earlier extraction
    if measured.warning is not None:
        warnings.append(measured.warning)
    values = {"duration": measured.duration, "fps": measured.fps, "warnings": warnings}
    connection.execute(update(Video).where(Video.id == video_id).values(values))


def correct_rotation(connection: Connection, video_id: int, rotation: int) -> None:
    """Store the rotation found by decoding, and the size it gives: a damaged start may have hidden it before."""
    turned = Video.id == video_id, (Video.rotation + rotation) % HALF_TURN != 0
    connection.execute(update(Video).where(*turned).values(width=Video.height, height=Video.width))
    connection.execute(update(Video).where(Video.id == video_id).values(rotation=rotation))


def fail_extraction(connection: Connection, task: queue.ClaimedTask, *, error: str) -> None:
    """Mark a video as permanently failed: it cannot be decoded. Raises LeaseLostError."""
    queue.fail(connection, task, error=error, attempt_limit=1)
    save_checkpoint(connection, task.video_id, index=None, state=None)
    _set_failed(connection, task.video_id, error)


def resume_video(connection: Connection, video_id: int) -> None:
    """Make the tasks that waited for a video's file due now, and clear its error: the file is back."""
    for kind in TaskKind:
        queue.make_due(connection, kind=kind, video_ids=[video_id])
    is_waiting = (Video.id == video_id, Video.extraction_status != ExtractionStatus.FAILED)
    connection.execute(update(Video).where(*is_waiting).values(error=None))


def postpone_extraction(
    connection: Connection, task: queue.ClaimedTask, *, reason: str | None, not_before: datetime | None
) -> None:
    """Release an extraction without counting an attempt: the file is missing, or the worker stops."""
    queue.release(connection, task, reason=reason, not_before=not_before)
    _set_waiting(connection, task.video_id, reason)


def fail_attempt(connection: Connection, task: queue.ClaimedTask, *, error: str, not_before: datetime) -> TaskStatus:
    """Count a failed attempt of a skim or an extraction; at the limit, the task has failed. Returns its new status.

    A skim that has failed leaves the video to its extraction. Saved frames stay. Raises LeaseLostError.
    """
    status = queue.fail(connection, task, error=error, not_before=not_before)
    if task.kind is not TaskKind.EXTRACT:
        return status
    save_checkpoint(connection, task.video_id, index=None, state=None)  # it may be the cause: start over
    if status is TaskStatus.FAILED:
        _set_failed(connection, task.video_id, error)
    else:
        _set_waiting(connection, task.video_id, error)
    return status


def _set_failed(connection: Connection, video_id: int, error: str) -> None:
    connection.execute(
        update(Video).where(Video.id == video_id).values(extraction_status=ExtractionStatus.FAILED, error=error)
    )
    refresh_enrichment(connection, video_id)


def _set_waiting(connection: Connection, video_id: int, reason: str | None) -> None:
    was_skimmed = exists().where(Task.video_id == video_id, Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE)
    status = case((was_skimmed, ExtractionStatus.SKIMMED), else_=ExtractionStatus.PENDING)
    connection.execute(update(Video).where(Video.id == video_id).values(extraction_status=status, error=reason))


@dataclass(frozen=True, slots=True)
class SkimmedVideo:
    """A video that was skimmed at `places` and is not fully extracted; `duration` in seconds."""

    id: int
    duration: float | None
    places: int


def skimmed_videos(connection: Connection, video_ids: Collection[int] | None = None) -> list[SkimmedVideo]:
    """The videos that were skimmed, are not fully extracted, and have not failed."""
    statement = (
        select(Video.id, Video.duration, Task.payload)
        .join(Task, Task.video_id == Video.id)
        .where(Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE)
        .where(Video.extraction_status.not_in(EXTRACTION_ENDED))
    )
    if video_ids is not None:
        statement = statement.where(Video.id.in_(video_ids))
    return [
        SkimmedVideo(row.id, row.duration, int((row.payload or {}).get("taken", 0)))
        for row in connection.execute(statement)
    ]


def skimmed_places(connection: Connection, video_id: int) -> int:
    """At how many places a video was skimmed."""
    payload = connection.scalar(select(Task.payload).where(Task.video_id == video_id, Task.kind == TaskKind.SKIM))
    return int((payload or {}).get("taken", 0))


def unplaced_frames(connection: Connection, video_id: int) -> list[tuple[int, float]]:
    """The ids and timestamps of frames that have no index (yet), in time order."""
    statement = select(Frame.id, Frame.timestamp).where(Frame.video_id == video_id, Frame.index.is_(None))
    return [(row.id, row.timestamp) for row in connection.execute(statement.order_by(Frame.timestamp))]


@dataclass(frozen=True, slots=True)
class MeasuredFrame:
    """What was measured of the image of a kept frame; units as in `db.models.Frame`."""

    id: int
    dhash: str | None
    brightness: float | None


def measured_frames(connection: Connection, video_id: int, timestamps: Collection[float]) -> dict[float, MeasuredFrame]:
    """The frames of a video at these timestamps."""
    statement = select(Frame.timestamp, Frame.id, Frame.dhash, Frame.brightness)
    found = connection.execute(statement.where(Frame.video_id == video_id, Frame.timestamp.in_(timestamps)))
    return {row.timestamp: MeasuredFrame(row.id, row.dhash, row.brightness) for row in found}


def decoded_until(connection: Connection, video_id: int) -> float:
    """The timestamp of the last kept frame that decoding has reached, in seconds; -inf if there is none."""
    last = select(func.max(Frame.timestamp)).where(Frame.video_id == video_id, Frame.index.is_not(None))
    timestamp = connection.scalar(last)
    return float("-inf") if timestamp is None else float(timestamp)


def finish_skim(connection: Connection, task: queue.ClaimedTask, *, places: int) -> None:
    """Mark a video as skimmed at `places`. Raises LeaseLostError."""
    queue.finish(connection, task)
    connection.execute(update(Task).where(Task.id == task.id).values(payload={**(task.payload or {}), "taken": places}))
    connection.execute(
        update(Video)
        .where(Video.id == task.video_id, Video.extraction_status == ExtractionStatus.PENDING)
        .values(extraction_status=ExtractionStatus.SKIMMED)
    )


def extend_skim(connection: Connection, video_id: int, *, places: int) -> bool:
    """Have a video skimmed at more places, `places` in total, unless it is extracted. Returns whether it will be."""
    task = connection.execute(
        select(Task.id, Task.payload)
        .join(Video, Video.id == Task.video_id)
        .where(Task.video_id == video_id, Task.kind == TaskKind.SKIM, Task.status == TaskStatus.DONE)
        .where(Video.extraction_status.not_in(EXTRACTION_ENDED))
    ).one_or_none()
    if task is None or places <= (task.payload or {}).get("taken", 0):
        return False
    payload = {**(task.payload or {}), "pictures": places}
    connection.execute(update(Task).where(Task.id == task.id).values(status=TaskStatus.TODO, payload=payload))
    return True


def place_frame(connection: Connection, frame_id: int, *, index: int) -> None:
    """Set the index of an unplaced frame; it takes its share of what the kept frame before it stands for."""
    frame = connection.execute(select(Frame.video_id).where(Frame.id == frame_id)).one()
    before = connection.execute(
        select(Frame.id, Frame.index.label("number"), Frame.stands_for, Frame.scene)
        .where(Frame.video_id == frame.video_id, Frame.index < index)
        .order_by(Frame.index.desc())
        .limit(1)
    ).one()
    stands_for = before.number + before.stands_for - index
    connection.execute(update(Frame).where(Frame.id == before.id).values(stands_for=index - before.number))
    connection.execute(
        update(Frame).where(Frame.id == frame_id).values(index=index, stands_for=stands_for, scene=before.scene)
    )


def _has_work(columns: Sequence[InstrumentedAttribute[Any]] = WORK) -> ColumnElement[bool]:
    return or_(*(column.is_not(None) for column in columns))
