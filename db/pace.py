"""How fast frames are being described: now, whoever does it, and over a run."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, column, func, select, values

from db.models import Analysis, Utc
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
