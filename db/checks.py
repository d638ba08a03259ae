"""Reads of `verify`, `audit` and the audition: stored rows as they are, page by page, so that memory stays flat.

Every function runs in its caller's transaction; one page is one consistent snapshot. A frame is *placed* once decoding
has reached it, so that its index is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError

from db.models import DEEP, QUICK, Analysis, Frame, SearchDocument, Task, TaskKind

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
    """By frame and pass, the last call whose reply was kept."""
    found = connection.execute(
        select(Analysis.__table__).where(Analysis.frame_id.in_(frame_ids), Analysis.is_kept).order_by(Analysis.id)
    )
    names = [field.name for field in fields(SourceCall)]
    return {
        (row["frame_id"], row["pass"]): SourceCall(**{name: row[name] for name in names}) for row in found.mappings()
    }


def extraction_task_status(connection: Connection, video_id: int) -> str | None:
    """The status of a video's extraction task, None if there is none."""
    statement = select(Task.status).where(Task.video_id == video_id, Task.kind == TaskKind.EXTRACT)
    return connection.scalar(statement.order_by(Task.id.desc()).limit(1))


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
        if "malformed" not in str(error.orig):
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
    return select(Frame.id, Frame.index, Frame.timestamp, Frame.stands_for, Frame.scene, Frame.motion, Frame.image_path)


def _status(pass_: str) -> Any:
    return (
        select(Task.status)
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_)
        .scalar_subquery()
    )
