"""What the passes have cost: per film, by model, and in a stretch of time. From sums, never by adding up all calls.

Each takes a connection inside its caller's `reading(engine)`.

What each film's calls have taken in all, kept true by a trigger: whoever asks for costs adds up no million calls.

The trigger belongs to the statement that books a call, so that the sums are as true as `analyses`, whoever writes them
and wherever a kill or a power cut ends the transaction. What a removed film has cost stays, without the film.
`busy_seconds` is time on the clock: calls at the same time count once, never more than it was, so that electricity is
not counted twice. PostgreSQL will have the same trigger in its own words.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from db.models import DEEP, QUICK, Analysis, Expense, Frame, Tally, Video


@dataclass(frozen=True, slots=True)
class PassCost:
    """What a pass took: `frames` it describes now, calls for them, seconds on the clock, tokens, US dollars."""

    frames: int = 0
    calls: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "PassCost") -> "PassCost":
        return PassCost(
            self.frames + other.frames,
            self.calls + other.calls,
            self.seconds + other.seconds,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
        )


@dataclass(frozen=True, slots=True)
class VideoCost:
    """One film, its frames, and what both passes took for it."""

    video_id: int
    title: str
    width: int
    height: int
    kept: int
    quick: PassCost
    deep: PassCost


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one model took for a pass, in films that are still there and in those that are not."""

    pass_: str
    describer: str
    model: str
    kept: int  # replies that became a description
    calls: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    usd: float
    removed_usd: float  # of it, for films that were removed since


def video_costs(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoCost]:
    """All films, or those named, in the order they were added."""
    sums = (
        select(
            Expense.video_id,
            Expense.pass_,
            func.sum(Expense.calls).label("calls"),
            func.sum(Expense.busy_seconds).label("seconds"),
            func.sum(Expense.prompt_tokens).label("prompt_tokens"),
            func.sum(Expense.output_tokens).label("output_tokens"),
            func.sum(Expense.cost_usd).label("usd"),
        )
        .where(Expense.pass_.in_((QUICK, DEEP)), _among(Expense.video_id, video_ids))
        .group_by(Expense.video_id, Expense.pass_)
    )
    spent = {(row[0], row[1]): PassCost(0, *row[2:]) for row in connection.execute(sums)}
    looked_at = _quick_frames(connection, video_ids)
    films = (
        select(Video.id, Video.title, Video.width, Video.height, Tally.kept, Tally.described)
        .join(Tally, Tally.video_id == Video.id)
        .where(_among(Video.id, video_ids))
        .order_by(Video.id)
    )
    return [
        VideoCost(
            video_id=row.id,
            title=row.title,
            width=row.width,
            height=row.height,
            kept=row.kept,
            quick=PassCost(frames=looked_at.get(row.id, 0)) + spent.get((row.id, QUICK), PassCost()),
            deep=PassCost(frames=row.described) + spent.get((row.id, DEEP), PassCost()),
        )
        for row in connection.execute(films)
    ]


def model_costs(connection: Connection) -> list[ModelCost]:
    """What each model took for each pass, the dearest first."""
    total = func.sum(Expense.cost_usd)
    removed = func.coalesce(func.sum(Expense.cost_usd).filter(Expense.video_id.is_(None)), 0.0)
    statement = (
        select(
            Expense.pass_,
            Expense.describer,
            Expense.model,
            func.sum(Expense.kept),
            func.sum(Expense.calls),
            func.sum(Expense.busy_seconds),
            func.sum(Expense.prompt_tokens),
            func.sum(Expense.output_tokens),
            total,
            removed,
        )
        .group_by(Expense.pass_, Expense.describer, Expense.model)
        .order_by(total.desc(), Expense.pass_, Expense.describer, Expense.model)
    )
    rows: Any = connection.execute(statement)  # more columns than its types can say
    return [ModelCost(*row) for row in rows]


def spent_between(connection: Connection, start: datetime, end: datetime) -> float:
    """US dollars paid from a moment to another, for whatever, also for films that were removed since."""
    is_paid = and_(Analysis.cost_usd > 0, Analysis.created_at >= start, Analysis.created_at < end)
    return float(
        connection.execute(select(func.coalesce(func.sum(Analysis.cost_usd), 0.0)).where(is_paid)).scalar_one()
    )


def _quick_frames(connection: Connection, video_ids: Collection[int] | None) -> dict[int, int]:
    """How many frames of each film the quick pass has rated: an index of few rows."""
    statement = (
        select(Frame.video_id, func.count())
        .where(Frame.excitement.is_not(None), _among(Frame.video_id, video_ids))
        .group_by(Frame.video_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _among(column: Any, video_ids: Collection[int] | None) -> ColumnElement[bool]:
    """Rows of any film, or of those named."""
    found: ColumnElement[bool] = column.is_not(None) if video_ids is None else column.in_(video_ids)
    return found
