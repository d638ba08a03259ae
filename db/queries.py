"""All reads, as frozen dataclasses. Each takes a connection inside its caller's `reading(engine)`."""

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
    Analysis,
    EnrichmentStatus,
    ExtractionStatus,
    Frame,
    Run,
    Tally,
    Task,
    TaskKind,
    TaskStatus,
    Video,
)

SPEED_CALLS = 20  # the last calls that speed and time left are learnt from


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video with its counts: `kept` frames, of these `described` by a model and `failed`; `covered` source frames."""

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
    kept: int
    described: int
    covered: int
    failed: int


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A kept frame, what is said of it, and the doubts about what the model said."""

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
        """The best text there is: a person's, the deep pass's, the quick pass's."""
        return self.edited_description or self.local_description or self.quick_description

    @property
    def tags(self) -> list[str]:
        """The best tags there are, in the same order."""
        for tags in (self.edited_tags, self.local_tags, self.quick_tags):
            if tags is not None:
                return tags
        return []


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """How fast a model has been here, over its last calls; a second call for one frame counts as that frame's."""

    calls: int
    seconds_per_frame: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the describing of a pass stands: counts of kept frames."""

    todo: int
    doing: int
    done: int
    failed: int

    @property
    def left(self) -> int:
        return self.todo + self.doing


class NoSuchVideoError(Exception):
    """No video, or more than one, is meant by what was typed; the text says which."""


def videos(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoRow]:
    """All videos, or those named, in the order they were added."""
    failed = (
        select(Task.video_id, func.count().label("failed"))
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP, Task.status == TaskStatus.FAILED)
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
        .group_by(Task.video_id)
        .subquery()
    )
    statement = (
        select(
            Video.__table__,
            func.coalesce(Tally.kept, 0).label("kept"),
            func.coalesce(Tally.described, 0).label("described"),
            func.coalesce(Tally.covered, 0).label("covered"),
            func.coalesce(failed.c.failed, 0).label("failed"),
        )
        .outerjoin(Tally, Tally.video_id == Video.id)
        .outerjoin(failed, failed.c.video_id == Video.id)
        .order_by(Video.id)
    )
    if video_ids is not None:
        statement = statement.where(Video.id.in_(video_ids))
    return [_video(row) for row in connection.execute(statement).mappings()]


def video(connection: Connection, video_id: int) -> VideoRow:
    """One video. Raises NoSuchVideoError."""
    rows = videos(connection, [video_id])
    if not rows:
        raise NoSuchVideoError(f"there is no video {video_id}: `everyframe list` shows what there is")
    return rows[0]


def find_video(connection: Connection, wanted: str, *, path: str | None = None) -> VideoRow:
    """The video meant by an id, a path (`path`: made absolute by the caller) or a unique part of the title.

    Raises NoSuchVideoError.
    """
    if not wanted.strip():  # an unset shell variable, say: it is a part of every title
        raise NoSuchVideoError("no video was named: `everyframe list` shows what there is")
    every = connection.execute(select(Video.id, Video.path, Video.title).order_by(Video.id)).all()
    exact = [row.id for row in every if row.path in (wanted, path) or str(row.id) == wanted]
    parts = [row for row in every if wanted.casefold() in row.title.casefold()]
    same = [row for row in parts if wanted.casefold() == row.title.casefold()]
    if exact:
        return video(connection, exact[-1])  # of several under one path the newest: the others' files were replaced
    if len(same) == 1 or len(parts) == 1:
        return video(connection, (same or parts)[0].id)
    if not parts:
        raise NoSuchVideoError(f"no video is called {wanted!r}: `everyframe list` shows what there is")
    names = ", ".join(f"{row.id} {row.title}" for row in parts[:5])
    raise NoSuchVideoError(f"{wanted!r} could be one of {len(parts)} videos ({names}): use the number")


def frames(
    connection: Connection, video_id: int, *, after: float | None = None, limit: int | None = None
) -> list[FrameRow]:
    """The kept frames of a video in the order of time, those after a timestamp, at most `limit`."""
    statement = _frames().where(Frame.video_id == video_id).order_by(Frame.timestamp)
    if after is not None:
        statement = statement.where(Frame.timestamp > after)
    if limit is not None:
        statement = statement.limit(limit)
    return _with_warnings(connection, statement)


def frame_of_index(connection: Connection, video_id: int, index: int) -> FrameRow | None:
    """The kept frame that stands for source frame `index`, None if decoding has not come so far."""
    statement = _frames().where(Frame.video_id == video_id, Frame.index <= index)
    rows = _with_warnings(connection, statement.order_by(Frame.index.desc()).limit(1))
    return rows[0] if rows and (rows[0].index or 0) + (rows[0].stands_for or 1) > index else None


def frame_at(connection: Connection, video_id: int, timestamp: float, *, is_placed: bool = False) -> FrameRow | None:
    """The kept frame shown at a moment: the last at or before it (the first, if the moment lies before all).

    `is_placed`: only of those decoding has reached.
    """
    ours = _frames().where(Frame.video_id == video_id, Frame.index.is_not(None) if is_placed else true())
    before = ours.where(Frame.timestamp <= timestamp).order_by(Frame.timestamp.desc()).limit(1)
    rows = _with_warnings(connection, before) or _with_warnings(connection, ours.order_by(Frame.timestamp).limit(1))
    return rows[0] if rows else None


def frame(connection: Connection, frame_id: int) -> FrameRow | None:
    """One kept frame, None if it is gone."""
    rows = _with_warnings(connection, _frames().where(Frame.id == frame_id))
    return rows[0] if rows else None


@dataclass(frozen=True, slots=True)
class FrameMark:
    """A kept frame's place, and whether it is described."""

    video_id: int
    timestamp: float
    is_described: bool


def frame_marks(connection: Connection, video_ids: Collection[int] | None = None) -> Iterator[FrameMark]:
    """All kept frames, video after video, in the order of time."""
    statement = select(Frame.video_id, Frame.timestamp, Frame.local_description.is_not(None).label("is_described"))
    if video_ids is not None:
        statement = statement.where(Frame.video_id.in_(video_ids))
    for row in connection.execute(statement.order_by(Frame.video_id, Frame.timestamp)):
        yield FrameMark(row.video_id, row.timestamp, bool(row.is_described))


@dataclass(frozen=True, slots=True)
class DescriptionText:
    """What a model said of a frame."""

    timestamp: float
    text: str
    tags: list[str]


def described(connection: Connection, video_id: int) -> list[DescriptionText]:
    """What the deep pass has said of a video's frames, in the order of time."""
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
    """Where a pass stands, for all videos or those named. The deep pass's many are read from the tallies."""
    wanted = Task.video_id.in_(video_ids) if video_ids is not None else true()
    statement = (
        select(Task.status, func.count())
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_, wanted)
        .group_by(Task.status)
    )
    if pass_ == DEEP:
        statement = statement.where(Task.status.in_((TaskStatus.DOING, TaskStatus.FAILED)))
    by_status = dict.fromkeys((status.value for status in TaskStatus), 0)
    by_status |= {row[0]: row[1] for row in connection.execute(statement)}
    if pass_ == DEEP:
        tally = counts.totals(connection, video_ids)
        by_status["done"] = tally.done
        by_status["todo"] = tally.planned - sum(by_status[status] for status in ("doing", "done", "failed"))
    return Progress(**by_status)


def next_priority(connection: Connection, pass_: str, video_ids: Collection[int] | None = None) -> int | None:
    """The priority of the frame a pass describes next, None if none waits."""
    statement = select(func.max(Task.priority)).where(
        Task.status == TaskStatus.TODO, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_
    )
    if video_ids is not None:
        statement = statement.where(Task.video_id.in_(video_ids))
    return connection.scalar(statement)


def open_extractions(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoRow]:
    """The videos that are not decoded to their end yet, and can be."""
    return [
        row
        for row in videos(connection, video_ids)
        if row.extraction_status not in (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)
    ]


def speed(connection: Connection, describer: str, model: str | None) -> ModelSpeed | None:
    """How fast a describer has been here lately with a model (None: with any), None before its first call.

    Loading the model is not counted. A frame's calls in an audition are booked at one moment.
    """
    booked = (Analysis.pass_.label("pass_"), Analysis.frame_id, Analysis.created_at)
    last = (
        select(Analysis.latency_seconds, Analysis.load_seconds, Analysis.is_kept, *booked)
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
    """The share of source frames that `sampling` has kept in this library, None if nothing was extracted with it."""
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


def image_paths(connection: Connection, *, limit: int, video_id: int | None = None) -> list[str]:
    """The newest kept pictures, as paths relative to the frames folder."""
    statement = select(Frame.image_path).order_by(Frame.id.desc()).limit(limit)
    if video_id is not None:
        statement = statement.where(Frame.video_id == video_id)
    return list(connection.scalars(statement))


def failures(connection: Connection, video_ids: Collection[int] | None = None) -> list[tuple[str, int]]:
    """Why tasks have failed for good, and how many of each, the commonest first."""
    statement = (
        select(Task.error, func.count())
        .where(Task.status == TaskStatus.FAILED)
        .group_by(Task.error)
        .order_by(func.count().desc())
    )
    if video_ids is not None:
        statement = statement.where(Task.video_id.in_(video_ids))
    return [(error or "no reason was noted", count) for error, count in connection.execute(statement)]


def run_state(connection: Connection, run_id: int) -> tuple[str, str | None]:
    """A run's state and its reason."""
    row = connection.execute(select(Run.state, Run.reason).where(Run.id == run_id)).one()
    return row.state, row.reason


def _video(row: Any) -> VideoRow:
    values = dict(row)
    values["extraction_status"] = ExtractionStatus(values["extraction_status"])
    values["enrichment_status"] = EnrichmentStatus(values["enrichment_status"])
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
            .where(Analysis.frame_id.in_(chunk), Analysis.is_kept)
            .order_by(Analysis.pass_ == DEEP, Analysis.id)  # the deep call's last: its text is the one shown
        )
        warnings.update({frame_id: said for frame_id, said in found if frame_id is not None})
    return [FrameRow(**row, warnings=warnings.get(row["id"], [])) for row in rows]


def _chunks(ids: list[int], size: int = 500) -> list[list[int]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
