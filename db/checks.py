"""Reads of `verify`, `audit` and the audition: stored rows as they are, page by page, so that memory stays flat.

Also what `verify --mend` writes: discarded descriptions, corrected positions, and extractions that are queued again.

Every function runs in its caller's transaction; one page is one consistent snapshot. A frame is *placed* once decoding
has reached it, so that its index is known.
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, true, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import aliased

from db import queue, search, store
from db.errors import sqlite_code
from db.models import (
    DEEP,
    QUICK,
    Analysis,
    Checkpoint,
    ExtractionStatus,
    Frame,
    Task,
    TaskKind,
    TaskStatus,
    Video,
    has_description,
)
from db.search import SearchDocument

PAGE_ROWS = 500
FIRST_PLACE = (-1, 0)


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """The position and the image of a kept frame; units as in `db.models.Frame`."""

    id: int
    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    motion: float | None
    image_path: str
    dhash: str | None = None


@dataclass(frozen=True, slots=True)
class SourceCall:
    """The call that produced a description."""

    describer: str
    model: str
    model_digest: str
    prompt_version: str
    raw_reply: str | None


@dataclass(frozen=True, slots=True)
class DescribedFrame:
    """The descriptions of a kept frame, with the state of its tasks, calls and search document."""

    id: int
    index: int | None
    timestamp: float
    local_description: str | None
    local_tags: list[str] | None
    quick_description: str | None
    is_edited: bool
    deep_status: str | None  # of its describe task for the pass; None: no task
    quick_status: str | None
    source: int | None  # of its search document; None: no document
    deep: SourceCall | None  # the last kept call of the pass
    quick: SourceCall | None


def placed_frames(
    connection: Connection, video_id: int, after: tuple[int, int] = FIRST_PLACE, *, limit: int = PAGE_ROWS
) -> list[StoredFrame]:
    """The next placed frames of a video by index; `after`: the (index, id) of the last frame of the previous page."""
    index, frame_id = after
    beyond = (Frame.index > index) | ((Frame.index == index) & (Frame.id > frame_id))
    statement = _stored_frames().where(Frame.video_id == video_id, Frame.index.is_not(None), beyond)
    return [StoredFrame(*row) for row in connection.execute(statement.order_by(Frame.index, Frame.id).limit(limit))]


def unplaced_frames(connection: Connection, video_id: int) -> list[StoredFrame]:
    """The frames of a video that decoding has not reached, in time order: at most some dozens, from the skim."""
    statement = _stored_frames().where(Frame.video_id == video_id, Frame.index.is_(None)).order_by(Frame.timestamp)
    return [StoredFrame(*row) for row in connection.execute(statement)]


def described_frames(
    connection: Connection, video_id: int, after_id: int = 0, *, limit: int = PAGE_ROWS
) -> list[DescribedFrame]:
    """The next frames of a video by id, with their tasks, calls and search documents."""
    found = connection.execute(
        select(
            Frame.id,
            Frame.index,
            Frame.timestamp,
            Frame.local_description,
            Frame.local_tags,
            Frame.quick_description,
            Frame.edited_at.is_not(None).label("is_edited"),
            _status(DEEP).label("deep_status"),
            _status(QUICK).label("quick_status"),
            SearchDocument.source,
        )
        .join_from(Frame, SearchDocument, isouter=True)
        .where(Frame.video_id == video_id, Frame.id > after_id)
        .order_by(Frame.id)
        .limit(limit)
    )
    rows = found.mappings().all()
    calls = source_calls(connection, [row["id"] for row in rows])
    return [
        DescribedFrame(**row, deep=calls.get((row["id"], DEEP)), quick=calls.get((row["id"], QUICK))) for row in rows
    ]


def source_calls(connection: Connection, frame_ids: Sequence[int]) -> dict[tuple[int, str], SourceCall]:
    """By frame and pass, the last call whose reply was kept and whose description was not discarded since."""
    found = connection.execute(
        select(Analysis.__table__)
        .join(Frame, Frame.id == Analysis.frame_id)
        .where(Analysis.frame_id.in_(frame_ids), Analysis.is_kept, has_description(Analysis))
        .order_by(Analysis.id)
    )
    names = [field.name for field in fields(SourceCall)]
    return {
        (row["frame_id"], row["pass"]): SourceCall(**{name: row[name] for name in names}) for row in found.mappings()
    }


def extraction_task_status(connection: Connection, video_id: int) -> str | None:
    """The status of a video's extraction task, None if there is none."""
    statement = select(Task.status).where(Task.video_id == video_id, Task.kind == TaskKind.EXTRACT)
    return connection.scalar(statement.order_by(Task.id.desc()).limit(1))


@dataclass(frozen=True, slots=True)
class DiscardedFrames:
    """Frames whose description was discarded and not replaced yet: by the deep pass, and by a paid quick pass."""

    deep: int
    quick: int


def discarded_frames(connection: Connection, video_ids: Collection[int] | None = None) -> DiscardedFrames:
    """Count the frames whose description was discarded, in all videos or in `video_ids`: their calls are still there.

    A quick description counts if it was paid for and its frame is still a key frame. One without costs is measured
    again by its task.
    """
    is_wanted = Frame.video_id.in_(video_ids) if video_ids is not None else true()
    call = (Analysis.frame_id == Frame.id, Analysis.is_kept)
    is_waiting = exists().where(
        Task.frame_id == Frame.id,
        Task.kind == TaskKind.DESCRIBE,
        Task.pass_ == DEEP,
        Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)),
    )
    deep = select(func.count()).where(
        is_wanted, Frame.local_description.is_(None), is_waiting, exists().where(*call, Analysis.pass_ == DEEP)
    )
    quick = select(func.count()).where(
        is_wanted,
        Frame.is_keyframe,
        Frame.quick_description.is_(None),
        exists().where(*call, Analysis.pass_ == QUICK, Analysis.cost_usd > 0),
    )
    return DiscardedFrames(connection.scalar(deep) or 0, connection.scalar(quick) or 0)


def discard_descriptions(connection: Connection, frame_id: int, *, host: str, now: datetime) -> list[queue.ClaimedTask]:
    """Discard what models said about a frame, because its image was a wrong one.

    A person's text and the calls stay; an approval goes with the text it was given for. The frame's describe tasks are
    queued again, and returned claimed, also from a worker that is describing the wrong image: release them once the
    image is right. A quick pass of Claude has no task, so nothing is paid for again unless a person asks for it.
    """
    frame = connection.execute(
        select(Frame.video_id, Frame.local_description, Frame.edited_description).where(Frame.id == frame_id)
    ).one_or_none()
    if frame is None:  # it was removed
        return []
    quick = ("quick_description", "quick_tags", "event_type", "excitement")
    values: dict[str, Any] = dict.fromkeys((*quick, "local_description", "local_tags", "enriched_at"))
    if frame.edited_description is None:
        values["reviewed_at"] = None
    connection.execute(update(Frame).where(Frame.id == frame_id).values(**values))
    search.discard_model_text(connection, frame_id)
    own = (Task.frame_id == frame_id, Task.kind == TaskKind.DESCRIBE)
    passes = set(connection.scalars(select(Task.pass_).where(*own)))
    if frame.local_description is not None:
        passes.add(DEEP)
    claimed = [
        queue.take_over(connection, video_id=frame.video_id, frame_id=frame_id, pass_=pass_, host=host, now=now)
        for pass_ in sorted(passes)
    ]
    connection.execute(update(Task).where(*own).values(attempts=0, crashes=0))
    store.refresh_enrichment(connection, frame.video_id)
    return claimed


def move_frame(connection: Connection, frame_id: int, *, timestamp: float, image_path: str) -> bool:
    """Correct the timestamp and the image of a frame. False: another frame of the video has that timestamp."""
    frame = aliased(Frame)
    own_video = select(frame.video_id).where(frame.id == frame_id).scalar_subquery()
    is_taken = select(Frame.id).where(Frame.video_id == own_video, Frame.timestamp == timestamp, Frame.id != frame_id)
    if connection.execute(is_taken).first() is not None:
        return False
    moved = update(Frame).where(Frame.id == frame_id).values(timestamp=timestamp, image_path=image_path)
    connection.execute(moved)
    return True


def queue_extraction(connection: Connection, video_id: int) -> bool:
    """Queue the extraction of a video again, from its first frame. False: the video was removed.

    Its frames, descriptions and calls stay: extraction corrects the position of every frame it keeps, and what it
    stands for. A worker that is extracting the video at the moment loses its claim.
    """
    if connection.scalar(select(Video.id).where(Video.id == video_id)) is None:
        return False
    connection.execute(update(Checkpoint).where(Checkpoint.video_id == video_id).values(index=None, state=None))
    first = dict.fromkeys(("run_id", "host", "lease_token", "lease_until", "not_before", "error"))
    values: dict[str, Any] = {**first, "status": TaskStatus.TODO, "attempts": 0, "crashes": 0}
    is_task = (Task.video_id == video_id, Task.kind == TaskKind.EXTRACT)
    if connection.scalar(select(func.count()).where(*is_task)):
        connection.execute(update(Task).where(*is_task).values(**values))
    else:
        connection.execute(insert(Task).values(kind=TaskKind.EXTRACT, video_id=video_id))
    connection.execute(
        update(Video).where(Video.id == video_id).values(extraction_status=ExtractionStatus.PENDING, error=None)
    )
    store.refresh_enrichment(connection, video_id)
    return True


def dangling_rows(connection: Connection) -> list[tuple[str, int]]:
    """Tables with broken foreign keys, and how many rows each (SQLite only: PostgreSQL rejects them)."""
    if connection.dialect.name != "sqlite":
        return []
    counts: dict[str, int] = {}
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        counts[row[0]] = counts.get(row[0], 0) + 1
    return sorted(counts.items())


def is_search_index_consistent(connection: Connection) -> bool:
    """Whether the full-text index matches the search documents (on SQLite inside `writing(engine)`)."""
    if connection.dialect.name != "sqlite":
        return True
    try:
        connection.exec_driver_sql("INSERT INTO search_index(search_index, rank) VALUES ('integrity-check', 1)")
    except DatabaseError as error:
        if sqlite_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
        return False
    return True


def nth_frame_id(connection: Connection, video_id: int, number: int) -> int | None:
    """The id of kept frame `number` in time order, from 0; None if there are fewer."""
    frames = select(Frame.id).where(Frame.video_id == video_id).order_by(Frame.timestamp)
    return connection.scalar(frames.offset(number).limit(1))


def frames_with_text(connection: Connection, video_id: int, text: str) -> list[tuple[int, str]]:
    """The kept frames of a video with exactly this description: their ids and difference hashes."""
    same_text = select(Frame.id, Frame.dhash).where(Frame.video_id == video_id, Frame.local_description == text)
    return [(row.id, row.dhash or "0") for row in connection.execute(same_text)]


def _stored_frames() -> Any:
    place = (Frame.id, Frame.index, Frame.timestamp, Frame.stands_for, Frame.scene)
    return select(*place, Frame.motion, Frame.image_path, Frame.dhash)


def _status(pass_: str) -> Any:
    return (
        select(Task.status)
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_)
        .scalar_subquery()
    )
