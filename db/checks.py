"""What `verify` and `audit` read: rows as they are, page by page, so that memory stays flat; and what `audit` books.

Each takes part in its caller's transaction; one page is one consistent view.

What is read to have frames described for comparing: one frame of many, and what others are described by.

Each takes a connection inside its caller's `reading(engine)`.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, insert, select
from sqlalchemy.exc import DatabaseError

from db.models import AUDIT, DEEP, QUICK, Analysis, Frame, SearchDocument, Task, TaskKind, Video
from db.store import NewAnalysis

PAGE_ROWS = 500
FIRST_PLACE = (-1, 0)


@dataclass(frozen=True, slots=True)
class PlacedFrame:
    """Where a kept frame stands in its video; units as in `db.models.Frame`."""

    id: int
    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    motion: float | None
    image_path: str


@dataclass(frozen=True, slots=True)
class SourceCall:
    """The call a description came from."""

    describer: str
    model: str
    model_digest: str
    prompt_version: str
    raw_reply: str | None


@dataclass(frozen=True, slots=True)
class DescribedFrame:
    """What is said of a kept frame, and what there is beside it."""

    id: int
    index: int | None
    timestamp: float
    local_description: str | None
    local_tags: list[str] | None
    quick_description: str | None
    is_edited: bool
    deep_status: str | None  # of its describe tasks; None: there is none
    quick_status: str | None
    source: int | None  # of its search document; None: there is none
    deep: SourceCall | None  # the last call that was kept
    quick: SourceCall | None


def placed(
    connection: Connection, video_id: int, after: tuple[int, int] = FIRST_PLACE, *, limit: int = PAGE_ROWS
) -> list[PlacedFrame]:
    """The next frames of a video that have an index, in its order; `after` is the (index, id) of the last one."""
    index, frame_id = after
    beyond = (Frame.index > index) | ((Frame.index == index) & (Frame.id > frame_id))
    statement = _placed().where(Frame.video_id == video_id, Frame.index.is_not(None), beyond)
    return [PlacedFrame(*row) for row in connection.execute(statement.order_by(Frame.index, Frame.id).limit(limit))]


def unplaced(connection: Connection, video_id: int) -> list[PlacedFrame]:
    """The frames of a video that decoding has not reached yet: some dozens at the most, those of the first look."""
    statement = _placed().where(Frame.video_id == video_id, Frame.index.is_(None)).order_by(Frame.timestamp)
    return [PlacedFrame(*row) for row in connection.execute(statement)]


def described_frames(
    connection: Connection, video_id: int, after_id: int = 0, *, limit: int = PAGE_ROWS
) -> list[DescribedFrame]:
    """The next frames of a video by id, with all that belongs to what is said of them."""
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
    said = source_calls(connection, [row["id"] for row in rows])
    return [DescribedFrame(**row, deep=said.get((row["id"], DEEP)), quick=said.get((row["id"], QUICK))) for row in rows]


def source_calls(connection: Connection, frame_ids: Sequence[int]) -> dict[tuple[int, str], SourceCall]:
    """By frame and pass, the last calls whose replies were kept."""
    found = connection.execute(
        select(Analysis.__table__).where(Analysis.frame_id.in_(frame_ids), Analysis.is_kept).order_by(Analysis.id)
    )
    names = [field.name for field in fields(SourceCall)]
    return {
        (row["frame_id"], row["pass"]): SourceCall(**{name: row[name] for name in names}) for row in found.mappings()
    }


def save_audit(connection: Connection, frame_id: int, analyses: Sequence[NewAnalysis], *, now: datetime) -> None:
    """Book the calls of a comparison with a kept frame; nothing else changes."""
    rows = [{**asdict(call), "created_at": now, "frame_id": frame_id, "pass": AUDIT} for call in analyses]
    connection.execute(insert(Analysis), rows)


def uses_image(connection: Connection, video_id: int, image_path: str) -> bool:
    """Whether a frame of the video names this picture as its own."""
    return bool(connection.scalar(select(exists().where(Frame.video_id == video_id, Frame.image_path == image_path))))


def image_names(connection: Connection, video_id: int, start: float, end: float) -> set[str]:
    """The pictures of a video's frames from `start` up to `end` (seconds)."""
    within = (Frame.video_id == video_id, Frame.timestamp >= start, Frame.timestamp < end)
    return set(connection.scalars(select(Frame.image_path).where(*within)))


def extract_status(connection: Connection, video_id: int) -> str | None:
    """The state of a video's extraction task, None if there is none."""
    statement = select(Task.status).where(Task.video_id == video_id, Task.kind == TaskKind.EXTRACT)
    return connection.scalar(statement.order_by(Task.id.desc()).limit(1))


def fingerprints(connection: Connection) -> Collection[str]:
    """The fingerprints of all videos."""
    return list(connection.scalars(select(Video.fingerprint)))


def dangling_rows(connection: Connection) -> list[tuple[str, int]]:
    """Tables with rows that refer to what is not there, and how many (SQLite; PostgreSQL does not let them in)."""
    if connection.dialect.name != "sqlite":
        return []
    counts: dict[str, int] = {}
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        counts[row[0]] = counts.get(row[0], 0) + 1
    return sorted(counts.items())


def is_index_true(connection: Connection) -> bool:
    """Whether the full-text index holds the search documents word for word (SQLite: inside `writing(engine)`)."""
    if connection.dialect.name != "sqlite":
        return True
    try:
        connection.exec_driver_sql("INSERT INTO search_index(search_index, rank) VALUES ('integrity-check', 1)")
    except DatabaseError as error:
        if "malformed" not in str(error.orig):
            raise
        return False
    return True


def _placed() -> Any:
    return select(Frame.id, Frame.index, Frame.timestamp, Frame.stands_for, Frame.scene, Frame.motion, Frame.image_path)


def _status(pass_: str) -> Any:
    return (
        select(Task.status)
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_)
        .scalar_subquery()
    )


def nth_frame_id(connection: Connection, video_id: int, number: int) -> int | None:
    """The kept frame of this number in the order of time, from 0, by its id; None if there are not so many."""
    ours = select(Frame.id).where(Frame.video_id == video_id).order_by(Frame.timestamp)
    return connection.scalar(ours.offset(number).limit(1))


def frames_with_text(connection: Connection, video_id: int, text: str) -> list[tuple[int, str]]:
    """The kept frames of a video that are described by this very text: their ids and difference hashes."""
    alike = select(Frame.id, Frame.dhash).where(Frame.video_id == video_id, Frame.local_description == text)
    return [(row.id, row.dhash or "0") for row in connection.execute(alike)]
