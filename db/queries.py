"""Reads that several features share: videos, frames, progress and speed, as frozen dataclasses.

Other reads are in the module of their feature: `gallery`, `search`, `files`, `counts`, `costs`, `checks`, `extraction`,
`quick`, `batches`, `runs`. Call every function inside `reading(engine)` or `writing(engine)`.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, true

from db import counts
from db.models import (
    AUDIT,
    AUDITION,
    DEEP,
    EXTRACTION_ENDED,
    Analysis,
    EnrichmentStatus,
    ExtractionStatus,
    Frame,
    Location,
    Tally,
    Task,
    TaskKind,
    TaskStatus,
    Video,
    has_description,
)

SPEED_CALLS = 20  # the number of recent calls that speed and time left are computed from


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video with its counts: `kept` frames, of these `described` (deep) and `failed`; `covered` source frames."""

    id: int
    path: str
    fingerprint: str
    title: str
    duration: float | None
    fps: float | None
    width: int
    height: int
    codec: str
    rotation: int
    recorded_at: datetime | None
    start_timecode: str | None
    camera: str | None
    recording: str | None
    chapter: int | None
    warnings: list[str]
    frame_count: int | None
    decode_failures: int
    extraction_status: ExtractionStatus
    enrichment_status: EnrichmentStatus
    error: str | None
    context: str
    sampling: str
    added_at: datetime
    image_folder: str
    kept: int
    described: int
    covered: int
    failed: int
    epochs: int  # 0: none known
    is_steady: bool
    clock_offset: float  # to the file's clock in the first epoch, in seconds: timestamp + offset
    first_epoch_end: float | None
    locations: list[str]  # every known path, the first of them first; not always `path`


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A kept frame with its descriptions, and the warnings about the model's description that is shown."""

    id: int
    video_id: int
    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    image_path: str
    dhash: str | None
    sharpness: float | None
    brightness: float | None
    motion: float | None
    is_keyframe: bool
    quick_description: str | None
    quick_tags: list[str] | None
    event_type: str | None
    excitement: float | None
    local_description: str | None
    local_tags: list[str] | None
    enriched_at: datetime | None
    edited_description: str | None
    edited_tags: list[str] | None
    edited_at: datetime | None
    reviewed_at: datetime | None
    error: str | None  # of its deep task
    warnings: list[dict[str, str]]

    @property
    def description(self) -> str | None:
        """The best description: a person's, else the deep pass's, else the quick pass's."""
        return self.edited_description or self.local_description or self.quick_description

    @property
    def tags(self) -> list[str]:
        """The best tags, in the same order."""
        for tags in (self.edited_tags, self.local_tags, self.quick_tags):
            if tags is not None:
                return tags
        return []


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """The speed of a model over its last calls. A retry counts towards the time of its frame."""

    calls: int
    seconds_per_frame: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a pass: its describe tasks by status."""

    todo: int
    doing: int
    done: int
    failed: int

    @property
    def left(self) -> int:
        return self.todo + self.doing


class NoSuchVideoError(Exception):
    """The user's input matches no video, or more than one; the message says which."""


def videos(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoRow]:
    """All videos, or those of `video_ids`, in the order they were added."""
    failed = (
        select(Task.video_id, func.count().label("failed"))
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP, Task.status == TaskStatus.FAILED)
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
        .group_by(Task.video_id)
        .subquery()
    )
    epochs = counts.epoch_summary()
    statement = (
        select(
            Video.__table__,
            func.coalesce(Tally.kept, 0).label("kept"),
            func.coalesce(Tally.described, 0).label("described"),
            func.coalesce(Tally.covered, 0).label("covered"),
            func.coalesce(failed.c.failed, 0).label("failed"),
            *(column for column in epochs.c if column.name != "video_id"),
        )
        .outerjoin(epochs, epochs.c.video_id == Video.id)
        .outerjoin(Tally, Tally.video_id == Video.id)
        .outerjoin(failed, failed.c.video_id == Video.id)
        .where(Video.id.in_(video_ids) if video_ids is not None else true())
        .order_by(Video.id)
    )
    known = select(Location.video_id, Location.path).order_by(Location.id)
    if video_ids is not None:
        known = known.where(Location.video_id.in_(video_ids))
    locations: dict[int, list[str]] = {}
    for location in connection.execute(known):
        locations.setdefault(location.video_id, []).append(location.path)
    return [_video(row, locations.get(row["id"], [])) for row in connection.execute(statement).mappings()]


def video(connection: Connection, video_id: int) -> VideoRow:
    """One video. Raises NoSuchVideoError."""
    rows = videos(connection, [video_id])
    if not rows:
        raise NoSuchVideoError(f"there is no video {video_id}: run `everyframe list` to see all videos")
    return rows[0]


def frames(
    connection: Connection, video_id: int, *, after: float | None = None, limit: int | None = None
) -> list[FrameRow]:
    """The kept frames of a video in time order, optionally only those after a timestamp, at most `limit`."""
    statement = _frames().where(Frame.video_id == video_id).order_by(Frame.timestamp)
    if after is not None:
        statement = statement.where(Frame.timestamp > after)
    if limit is not None:
        statement = statement.limit(limit)
    return _with_warnings(connection, statement)


def frame_of_index(connection: Connection, video_id: int, index: int) -> FrameRow | None:
    """The kept frame that stands for source frame `index`, None if decoding has not reached it."""
    statement = _frames().where(Frame.video_id == video_id, Frame.index <= index)
    rows = _with_warnings(connection, statement.order_by(Frame.index.desc()).limit(1))
    return rows[0] if rows and (rows[0].index or 0) + (rows[0].stands_for or 1) > index else None


def frame_at(connection: Connection, video_id: int, timestamp: float, *, is_placed: bool = False) -> FrameRow | None:
    """The kept frame shown at a timestamp: the last one at or before it, else the first one.

    `is_placed`: only among frames that decoding has reached.
    """
    candidates = _frames().where(Frame.video_id == video_id, Frame.index.is_not(None) if is_placed else true())
    before = candidates.where(Frame.timestamp <= timestamp).order_by(Frame.timestamp.desc()).limit(1)
    rows = _with_warnings(connection, before) or _with_warnings(
        connection, candidates.order_by(Frame.timestamp).limit(1)
    )
    return rows[0] if rows else None


def frame(connection: Connection, frame_id: int) -> FrameRow | None:
    """One kept frame, None if it was removed."""
    rows = _with_warnings(connection, _frames().where(Frame.id == frame_id))
    return rows[0] if rows else None


@dataclass(frozen=True, slots=True)
class FrameMark:
    """The position of a kept frame, and whether it is described."""

    video_id: int
    timestamp: float
    is_described: bool


def frame_marks(connection: Connection, video_ids: Collection[int] | None = None) -> Iterator[FrameMark]:
    """All kept frames, by video, in time order."""
    statement = select(Frame.video_id, Frame.timestamp, Frame.local_description.is_not(None).label("is_described"))
    if video_ids is not None:
        statement = statement.where(Frame.video_id.in_(video_ids))
    for row in connection.execute(statement.order_by(Frame.video_id, Frame.timestamp)):
        yield FrameMark(row.video_id, row.timestamp, bool(row.is_described))


@dataclass(frozen=True, slots=True)
class DescriptionText:
    """The deep pass's description of a frame."""

    timestamp: float
    text: str
    tags: list[str]


def described(connection: Connection, video_id: int) -> list[DescriptionText]:
    """The deep pass's descriptions of a video's frames, in time order."""
    statement = (
        select(Frame.timestamp, Frame.local_description, Frame.local_tags)
        .where(Frame.video_id == video_id, Frame.local_description.is_not(None))
        .order_by(Frame.timestamp)
    )
    return [
        DescriptionText(row.timestamp, row.local_description or "", row.local_tags or [])
        for row in connection.execute(statement)
    ]


def progress(connection: Connection, pass_: str, video_ids: Collection[int] | None = None) -> Progress:
    """The progress of a pass, for all videos or `video_ids`. The deep pass's large numbers come from stored counts."""
    is_wanted = Task.video_id.in_(video_ids) if video_ids is not None else true()
    statement = (
        select(Task.status, func.count())
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_, is_wanted)
        .group_by(Task.status)
    )
    if pass_ == DEEP:
        statement = statement.where(Task.status.in_((TaskStatus.DOING, TaskStatus.FAILED)))
    by_status = dict.fromkeys((status.value for status in TaskStatus), 0)
    by_status |= {row[0]: row[1] for row in connection.execute(statement)}
    if pass_ == DEEP:
        total = counts.total_counts(connection, video_ids)
        by_status["done"] = total.done
        by_status["todo"] = total.planned - sum(by_status[status] for status in ("doing", "done", "failed"))
    return Progress(**by_status)


def next_priority(connection: Connection, pass_: str, video_ids: Collection[int] | None = None) -> int | None:
    """The priority of the frame a pass describes next, None if no frame is waiting."""
    statement = select(func.max(Task.priority)).where(
        Task.status == TaskStatus.TODO, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_
    )
    if video_ids is not None:
        statement = statement.where(Task.video_id.in_(video_ids))
    return connection.scalar(statement)


def open_extractions(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoRow]:
    """The videos that are not fully extracted and have not failed."""
    return [row for row in videos(connection, video_ids) if row.extraction_status not in EXTRACTION_ENDED]


def speed(connection: Connection, describer: str, model: str | None) -> ModelSpeed | None:
    """The recent speed of a describer with a model (None: with any model); None before its first call.

    Model loading is not counted. The calls of an audition for one frame have the same `created_at`.
    """
    identity = (Analysis.pass_.label("pass_"), Analysis.frame_id, Analysis.created_at)
    last = (
        select(Analysis.latency_seconds, Analysis.load_seconds, Analysis.is_kept, *identity)
        .where(Analysis.describer == describer, Analysis.model == model if model is not None else true())
        .where(Analysis.pass_ != AUDIT)
        .order_by(Analysis.id.desc())
        .limit(SPEED_CALLS)
    )
    rows = connection.execute(last).all()
    if not rows:
        return None
    seconds = sum(max(0.0, row.latency_seconds - row.load_seconds) for row in rows)
    auditioned = {(row.frame_id, row.created_at) for row in rows if row.pass_ == AUDITION}
    frames = sum(row.is_kept for row in rows) + len(auditioned)
    return ModelSpeed(calls=len(rows), seconds_per_frame=seconds / max(1, frames))


def kept_share(connection: Connection, sampling: str) -> float | None:
    """The share of source frames that `sampling` has kept in this library, None if no video was extracted with it."""
    decoded = connection.scalar(
        select(func.sum(Video.frame_count)).where(
            Video.sampling == sampling, Video.extraction_status == ExtractionStatus.EXTRACTED
        )
    )
    if not decoded:
        return None
    kept = connection.scalar(
        select(func.sum(Tally.kept))
        .join(Video, Video.id == Tally.video_id)
        .where(Video.sampling == sampling, Video.extraction_status == ExtractionStatus.EXTRACTED)
    )
    return (kept or 0) / decoded


def task_state(connection: Connection, video_id: int, kind: TaskKind) -> tuple[TaskStatus, str | None] | None:
    """The status of a video's task, and its error or what it waits for; None if there is no such task."""
    own = (Task.video_id == video_id, Task.kind == kind)
    row = connection.execute(select(Task.status, Task.error).where(*own)).first()
    return None if row is None else (TaskStatus(row.status), row.error)


def failures(connection: Connection, video_ids: Collection[int] | None = None) -> list[tuple[str, int]]:
    """The errors of failed tasks, and how many tasks have each, most common first."""
    is_wanted = Task.video_id.in_(video_ids) if video_ids is not None else true()
    failed = select(Task.error, func.count()).where(Task.status == TaskStatus.FAILED, is_wanted).group_by(Task.error)
    statement = failed.order_by(func.count().desc())
    return [(error or "unknown error", count) for error, count in connection.execute(statement)]


def _video(row: Any, locations: list[str]) -> VideoRow:
    values = {**row, "locations": locations}
    values["extraction_status"] = ExtractionStatus(values["extraction_status"])
    values["enrichment_status"] = EnrichmentStatus(values["enrichment_status"])
    values |= {name: row[name] or 0 for name in ("epochs", "clock_offset")} | {"is_steady": row["is_steady"] != 0}
    return VideoRow(**values)


def _frames() -> Select[Any]:
    error = (
        select(Task.error)
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
        .where(Task.status != TaskStatus.DONE)
        .scalar_subquery()
    )
    return select(Frame.__table__, error.label("error"))


def _with_warnings(connection: Connection, statement: Select[Any]) -> list[FrameRow]:
    rows = connection.execute(statement).mappings().all()
    warnings: dict[int, list[dict[str, str]]] = {}
    for chunk in _chunks([row["id"] for row in rows]):
        found = connection.execute(
            select(Analysis.frame_id, Analysis.warnings)
            .join(Frame, Frame.id == Analysis.frame_id)
            .where(Analysis.frame_id.in_(chunk), Analysis.is_kept, has_description(Analysis))
            .order_by(Analysis.pass_ == DEEP, Analysis.id)  # the deep pass last: its text is the one shown
        )
        warnings.update({frame_id: reported for frame_id, reported in found if frame_id is not None})
    return [FrameRow(**row, warnings=warnings.get(row["id"], [])) for row in rows]


def _chunks(ids: list[int], size: int = 500) -> list[list[int]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
