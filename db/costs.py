"""Costs of the passes, by video, by model and by period, read from sums instead of by adding up all calls.

The trigger `analyses_booked` (see the migrations) adds every row of `analyses` to `expenses` in the same statement, so
that the sums match the calls whatever code writes them and wherever a kill or a power failure ends the transaction. The
costs of a removed video stay, without the video. Seconds are wall clock: concurrent calls count once, so that
electricity is not counted twice. PostgreSQL does not have this trigger yet. Call every function inside
`reading(engine)`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from db.models import DEEP, PASSES, QUICK, Analysis, Expense, Frame, Tally, Video


@dataclass(frozen=True, slots=True)
class PassCost:
    """The costs of a pass: frames with a description now, calls, wall-clock seconds, tokens, US dollars."""

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
    """A video, its kept frames, and the costs of both passes."""

    video_id: int
    title: str
    width: int
    height: int
    kept: int
    quick: PassCost
    deep: PassCost


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The costs of a model for one pass, including removed videos."""

    pass_: str
    describer: str
    model: str
    kept: int  # calls whose reply became a description
    calls: int
    seconds: float
    prompt_tokens: int
    output_tokens: int
    usd: float
    removed_usd: float  # part of `usd` for videos that were removed


def video_costs(connection: Connection, video_ids: Collection[int] | None = None) -> list[VideoCost]:
    """The costs of all videos, or of `video_ids`, in the order they were added."""
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
        .where(Expense.pass_.in_(PASSES), _among(Expense.video_id, video_ids))
        .group_by(Expense.video_id, Expense.pass_)
    )
    costs = {(row[0], row[1]): PassCost(0, *row[2:]) for row in connection.execute(sums)}
    quick_frames = _quick_frames(connection, video_ids)
    videos = (
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
            quick=PassCost(frames=quick_frames.get(row.id, 0)) + costs.get((row.id, QUICK), PassCost()),
            deep=PassCost(frames=row.described) + costs.get((row.id, DEEP), PassCost()),
        )
        for row in connection.execute(videos)
    ]


def model_costs(connection: Connection) -> list[ModelCost]:
    """The costs of each model by pass, the most expensive first."""
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
    rows: Any = connection.execute(statement)  # more columns than the type hints of select cover
    return [ModelCost(*row) for row in rows]


def spent_since(connection: Connection, start: datetime) -> float:
    """US dollars paid for calls sent at `start` or later, also for removed videos.

    There is no end: after the clock was set back, what was paid in its future counts as well.
    """
    is_paid = and_(Analysis.cost_usd > 0, Analysis.created_at >= start)
    return float(
        connection.execute(select(func.coalesce(func.sum(Analysis.cost_usd), 0.0)).where(is_paid)).scalar_one()
    )


def _quick_frames(connection: Connection, video_ids: Collection[int] | None) -> dict[int, int]:
    """By video, how many frames the quick pass has rated. Read from a small partial index."""
    statement = (
        select(Frame.video_id, func.count())
        .where(Frame.excitement.is_not(None), _among(Frame.video_id, video_ids))
        .group_by(Frame.video_id)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _among(column: Any, video_ids: Collection[int] | None) -> ColumnElement[bool]:
    """Rows of any video, or of `video_ids`."""
    condition: ColumnElement[bool] = column.is_not(None) if video_ids is None else column.in_(video_ids)
    return condition
