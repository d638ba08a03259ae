"""How fast frames are being described, whoever does it."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from db.models import Analysis
from db.store import AUDIT

MOST_CALLS = 3000  # looked at: the newest


def described_lately(connection: Connection, *, now: datetime, seconds: float) -> float:
    """How many frames a second were described in the last so many seconds."""
    newest = (
        select(Analysis.created_at)
        .where(Analysis.is_kept, Analysis.pass_ != AUDIT)
        .order_by(Analysis.id.desc())
        .limit(MOST_CALLS)
    )
    moments = [moment for moment in connection.scalars(newest) if moment > now - timedelta(seconds=seconds)]
    if len(moments) == MOST_CALLS:
        seconds = max(1.0, (now - moments[-1]).total_seconds())
    return len(moments) / seconds
