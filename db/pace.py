"""How fast frames are being described: now, whoever does it, and over a run."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Integer, cast, extract, func, select

from db.models import Analysis
from db.store import DEEP, QUICK

PASSES = (QUICK, DEEP)  # all else only compares


def described_lately(connection: Connection, *, now: datetime, seconds: float) -> float:
    """How many frames a second were described in the last so many seconds."""
    since = now - timedelta(seconds=seconds)
    statement = select(func.count()).where(Analysis.created_at > since, Analysis.is_kept, Analysis.pass_.in_(PASSES))
    return connection.execute(statement).scalar_one() / seconds


def described_by_minute(
    connection: Connection, *, run_id: int, now: datetime, minutes: int = 360
) -> list[tuple[datetime, int]]:
    """How many frames a run described in each of the last so many minutes, the one of `now` last; zeros too."""
    last = now.astimezone(UTC).replace(second=0, microsecond=0)
    first = last - timedelta(minutes=minutes - 1)
    minute = (cast(extract("epoch", Analysis.created_at), Integer) / 60).label("minute")
    statement = (
        select(minute, func.count())
        .where(Analysis.created_at >= first, Analysis.created_at < last + timedelta(minutes=1))
        .where(Analysis.is_kept, Analysis.run_id == run_id, Analysis.pass_.in_(PASSES))
        .group_by("minute")
    )
    counts = Counter({int(number): count for number, count in connection.execute(statement)})
    moments = [first + timedelta(minutes=number) for number in range(minutes)]
    return [(moment, counts[int(moment.timestamp()) // 60]) for moment in moments]
