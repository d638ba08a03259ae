"""Frame and task counts of each video, and the rate of descriptions: no page counts a million rows.

Triggers (see the migrations) update the table `tallies` in the statement that changes a frame or a task, so that the
counts match the rows whatever code writes them and wherever a kill or a power failure ends the transaction. PostgreSQL
does not have these triggers yet.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Subquery, and_, case, column, func, insert, select, true, update, values

from db.models import DEEP, PASSES, Analysis, Epoch, Frame, Tally, Task, TaskKind, TaskStatus, Utc, Video


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """Frames `kept`, of these `described`; source frames `covered`; deep-pass tasks `planned`, of these `done`."""

    kept: int
    described: int
    covered: int
    planned: int
    done: int

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


def stored_counts(connection: Connection, video_id: int) -> VideoCounts | None:
    """The stored counts of a video, None if there are none."""
    row = connection.execute(select(*_columns()).where(Tally.video_id == video_id)).one_or_none()
    return VideoCounts(*row) if row is not None else None


def actual_counts(connection: Connection, video_id: int) -> VideoCounts:
    """The counts of a video, counted from its rows."""
    is_described = Frame.local_description.is_not(None)
    frames = select(
        func.count(),
        func.count(Frame.local_description),
        func.coalesce(func.sum(case((is_described, Frame.stands_for))), 0),
    ).where(Frame.video_id == video_id)
    is_deep = and_(Task.video_id == video_id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
    tasks = select(func.count(), func.count(case((Task.status == TaskStatus.DONE, 1)))).where(is_deep)
    return VideoCounts(*(*connection.execute(frames).one(), *connection.execute(tasks).one()))


def recount(connection: Connection, video_id: int) -> None:
    """Replace the stored counts of a video with the counts of its rows, inside `writing(engine)`."""
    counts = actual_counts(connection, video_id)
    values = asdict(counts)
    if stored_counts(connection, video_id) is not None:
        connection.execute(update(Tally).where(Tally.video_id == video_id).values(**values))
    elif connection.scalar(select(Video.id).where(Video.id == video_id)) is not None:  # else it was removed meanwhile
        connection.execute(insert(Tally).values(video_id=video_id, **values))


def epoch_summary() -> Subquery:
    """How many epochs each video has, whether all are steady, the clock's offset in the first one, and its end."""
    return (
        select(
            Epoch.video_id,
            func.count().label("epochs"),
            func.min(case((Epoch.is_steady, 1), else_=0)).label("is_steady"),
            func.max(case((Epoch.number == 0, Epoch.clock_at - Epoch.first_at))).label("clock_offset"),
            func.max(case((Epoch.number == 1, Epoch.first_at))).label("first_epoch_end"),
        )
        .group_by(Epoch.video_id)
        .subquery()
    )


def total_counts(connection: Connection, video_ids: Collection[int] | None = None) -> VideoCounts:
    """The stored counts summed over all videos, or over `video_ids`."""
    is_wanted = Tally.video_id.in_(video_ids) if video_ids is not None else true()
    sums: list[Any] = [func.coalesce(func.sum(column), 0) for column in _columns()]
    return VideoCounts(*connection.execute(select(*sums).where(is_wanted)).one())


@dataclass(frozen=True, slots=True)
class RecentWork:
    """How many frames a run described lately, and in how many seconds."""

    frames: int
    seconds: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0


def recent_work(
    connection: Connection, run_id: int, *, since: datetime, now: datetime, seconds: float, frames: int
) -> RecentWork:
    """What a run described in the last `seconds`, but nothing before `since`.

    The time is that of its last `frames` if those took longer: a slow model describes too few in a fixed time.
    """
    is_counted = and_(Analysis.is_kept, Analysis.run_id == run_id, Analysis.pass_.in_(PASSES))
    # The time of the frame before the last `frames`: the work on them began then.
    before = select(Analysis.created_at).where(is_counted).order_by(Analysis.created_at.desc()).offset(frames).limit(1)
    start = max(since, min(now - timedelta(seconds=seconds), connection.scalar(before) or since))
    count = select(func.count()).where(is_counted, Analysis.created_at > start)
    return RecentWork(connection.execute(count).scalar_one(), max(1.0, (now - start).total_seconds()))


@dataclass(frozen=True, slots=True)
class ExtractionExtent:
    """How far a video is decoded: source frames up to the last kept one; kept frames that decoding has not reached."""

    decoded: int
    unplaced: int


def extraction_extents(connection: Connection, video_ids: Collection[int]) -> dict[int, ExtractionExtent]:
    """How far videos are decoded, judging from their kept frames. Reads the ends of an index, not all frames."""
    last = select(func.max(Frame.index)).where(Frame.video_id == Video.id).scalar_subquery()
    unplaced = (
        select(func.count()).select_from(Frame).where(Frame.video_id == Video.id, Frame.index.is_(None))
    ).scalar_subquery()
    rows = connection.execute(select(Video.id, last, unplaced).where(Video.id.in_(video_ids)))
    return {row[0]: ExtractionExtent(0 if row[1] is None else row[1] + 1, row[2]) for row in rows}


def frames_by_minute(
    connection: Connection, *, run_id: int, now: datetime, minutes: int = 360
) -> list[tuple[datetime, int]]:
    """Frames a run described in each of the last `minutes`, oldest first, zeros included; the last is that of `now`."""
    current = now.astimezone(UTC).replace(second=0, microsecond=0)
    starts = [current - timedelta(minutes=number) for number in reversed(range(minutes))]
    spans = [(start, start + timedelta(minutes=1)) for start in starts]
    minute = values(column("start", Utc()), column("until", Utc()), name="spans").data(spans).cte("minute")
    count = (
        select(func.count())
        .where(Analysis.created_at >= minute.c.start, Analysis.created_at < minute.c.until)
        .where(Analysis.is_kept, Analysis.run_id == run_id, Analysis.pass_.in_(PASSES))
        .scalar_subquery()
    )
    counts = connection.execute(select(minute.c.start, count).order_by(minute.c.start))
    return [(row[0], row[1]) for row in counts]


def _columns() -> list[Any]:
    return [getattr(Tally, field.name) for field in fields(VideoCounts)]
