"""Counts of each video's frames, kept true by triggers: nothing a page shows counts a million rows.

A trigger belongs to the statement that fires it, so that a tally is as true as the rows are, whoever writes them and
wherever a kill or a power cut ends the transaction. PostgreSQL will have the same triggers in its own words.

How fast frames are being described: now, whoever does it, and over a run.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, column, func, insert, select, true, update, values

from db.models import DEEP, QUICK, Analysis, Frame, Tally, Task, TaskKind, TaskStatus, Utc, Video

PASSES = (QUICK, DEEP)  # all else only compares


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """A video's tally: frames `kept`, of these `described`; source frames `covered`; deep tasks `planned`, `done`."""

    kept: int
    described: int
    covered: int
    planned: int
    done: int

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


def stored_counts(connection: Connection, video_id: int) -> VideoCounts | None:
    """What a video's tally says, None if it has none."""
    row = connection.execute(select(*_columns()).where(Tally.video_id == video_id)).one_or_none()
    return VideoCounts(*row) if row is not None else None


def counted_rows(connection: Connection, video_id: int) -> VideoCounts:
    """What its rows say: all of them are counted."""
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
    """Make a video's tally anew from its rows, inside `writing(engine)`."""
    counts = counted_rows(connection, video_id)
    values = asdict(counts)
    if stored_counts(connection, video_id) is not None:
        connection.execute(update(Tally).where(Tally.video_id == video_id).values(**values))
    elif connection.scalar(select(Video.id).where(Video.id == video_id)) is not None:  # else it was just removed
        connection.execute(insert(Tally).values(video_id=video_id, **values))


def totals(connection: Connection, video_ids: Collection[int] | None = None) -> VideoCounts:
    """The sums over all videos, or those named."""
    wanted = Tally.video_id.in_(video_ids) if video_ids is not None else true()
    sums: list[Any] = [func.coalesce(func.sum(column), 0) for column in _columns()]
    return VideoCounts(*connection.execute(select(*sums).where(wanted)).one())


def _columns() -> list[Any]:
    return [getattr(Tally, field.name) for field in fields(VideoCounts)]


def described_recently(connection: Connection, *, now: datetime, seconds: float) -> float:
    """How many frames a second were described in the last so many seconds."""
    since = now - timedelta(seconds=seconds)
    statement = select(func.count()).where(Analysis.created_at > since, Analysis.is_kept, Analysis.pass_.in_(PASSES))
    return connection.execute(statement).scalar_one() / seconds


def described_by_minute(
    connection: Connection, *, run_id: int, now: datetime, minutes: int = 360
) -> list[tuple[datetime, int]]:
    """How many frames a run described in each of the last so many minutes, the one of `now` last; zeros too."""
    last = now.astimezone(UTC).replace(second=0, microsecond=0)
    moments = [last - timedelta(minutes=number) for number in reversed(range(minutes))]
    stretches = [(moment, moment + timedelta(minutes=1)) for moment in moments]
    asked = values(column("start", Utc()), column("until", Utc()), name="asked").data(stretches).cte("minute")
    count = (
        select(func.count())
        .where(Analysis.created_at >= asked.c.start, Analysis.created_at < asked.c.until)
        .where(Analysis.is_kept, Analysis.run_id == run_id, Analysis.pass_.in_(PASSES))
        .scalar_subquery()
    )
    counts = connection.execute(select(asked.c.start, count).order_by(asked.c.start))
    return [(row[0], row[1]) for row in counts]
