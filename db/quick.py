"""The quick pass: candidates for its key frames, its results, and which frames were already answered.

A measurement without a model never replaces a model's text, and neither replaces a person's. Every function runs in its
caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Text, case, cast, func, select, update

from db import search, store
from db.models import QUICK, Analysis, Frame
from db.reservations import UNCERTAIN, Describing
from db.search import SOURCE_QUICK


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A kept frame with the signals used to select key frames; units as in `db.models.Frame`."""

    id: int
    timestamp: float
    scene: int | None
    sharpness: float | None
    brightness: float | None
    dhash: str | None


@dataclass(frozen=True, slots=True)
class NewQuickDescription:
    """The quick pass's description of a frame; `search_…` is its searchable form."""

    text: str
    tags: tuple[str, ...]
    event_type: str | None  # None: measured without a model
    excitement: float | None  # 0 to 10
    search_text: str
    search_tags: tuple[str, ...]


def candidates(connection: Connection, video_id: int) -> list[CandidateRow]:
    """The kept frames of a video in time order."""
    statement = select(Frame.id, Frame.timestamp, Frame.scene, Frame.sharpness, Frame.brightness, Frame.dhash)
    rows = connection.execute(statement.where(Frame.video_id == video_id).order_by(Frame.timestamp))
    return [CandidateRow(*row) for row in rows]


def set_key_frames(connection: Connection, video_id: int, frame_ids: Collection[int]) -> None:
    """Make exactly these frames of a video its key frames."""
    frames = update(Frame).where(Frame.video_id == video_id)
    connection.execute(frames.where(Frame.is_keyframe, Frame.id.not_in(frame_ids)).values(is_keyframe=False))
    connection.execute(frames.where(Frame.id.in_(frame_ids)).values(is_keyframe=True))


class Sent(StrEnum):
    """What became of a frame that was sent."""

    ANSWERED = "answered"
    UNANSWERED = "unanswered"  # the reply said nothing about it
    UNCERTAIN = "uncertain"  # no reply arrived, and it may have been paid for all the same


def sent_frames(connection: Connection, frame_ids: Collection[int], what: Describing) -> dict[int, Sent]:
    """The frames already sent to this describer, model and prompt version, and what became of them.

    Calls that failed at no cost do not count: such a frame may be sent again. Neither do replies whose description was
    discarded, because the image was a wrong one.
    """
    is_counted = case((Analysis.is_kept, Frame.quick_description.is_not(None)), else_=Analysis.cost_usd > 0)
    is_certain = cast(Analysis.warnings, Text).not_like(f"%{UNCERTAIN}%")
    statement = (
        select(
            Analysis.frame_id,
            func.max(case((Analysis.is_kept, 1), else_=0)).label("is_answered"),
            func.max(case((is_certain, 1), else_=0)).label("is_certain"),
        )
        .join(Frame, Frame.id == Analysis.frame_id)
        .where(Analysis.frame_id.in_(frame_ids), Analysis.pass_ == QUICK, Analysis.describer == what.describer)
        .where(Analysis.model == what.model, Analysis.prompt_version == what.prompt_version, is_counted)
        .group_by(Analysis.frame_id)
    )
    return {
        row.frame_id: Sent.ANSWERED if row.is_answered else Sent.UNANSWERED if row.is_certain else Sent.UNCERTAIN
        for row in connection.execute(statement)
        if row.frame_id is not None
    }


def save_quick_description(
    connection: Connection,
    frame_id: int,
    description: NewQuickDescription,
    analyses: Sequence[store.NewAnalysis],
    *,
    now: datetime,
) -> None:
    """Save a quick description with its calls and its search text; of a removed frame only the calls.

    Without an event type it was measured without a model, and does not replace a model's description.
    """
    changed = update(Frame).where(Frame.id == frame_id)
    if description.event_type is None:
        changed = changed.where(Frame.event_type.is_(None))
    values: dict[str, Any] = {"quick_description": description.text, "quick_tags": list(description.tags)}
    values |= {"event_type": description.event_type, "excitement": description.excitement}
    is_saved = bool(connection.execute(changed.values(**values)).rowcount)
    store.record_calls(connection, frame_id, analyses, pass_=QUICK, now=now, is_kept=is_saved)
    if is_saved:
        search.write_model_text(
            connection,
            frame_id,
            source=SOURCE_QUICK,
            text=description.search_text,
            tags=" ".join(description.search_tags),
            is_lasting=description.event_type is not None,
        )


def event_of(connection: Connection, *, video_id: int, frame_id: int) -> str | None:
    """The event type of a frame, or of the nearest key frame of its scene; None if there is none."""
    frame = connection.execute(
        select(Frame.event_type, Frame.scene, Frame.timestamp).where(Frame.id == frame_id)
    ).one_or_none()
    if frame is None or frame.event_type is not None or frame.scene is None:
        return None if frame is None else frame.event_type
    nearest = (
        select(Frame.event_type)
        .where(Frame.video_id == video_id, Frame.excitement.is_not(None), Frame.event_type.is_not(None))
        .where(Frame.scene == frame.scene)
        .order_by(func.abs(Frame.timestamp - frame.timestamp), Frame.id)
        .limit(1)
    )
    return connection.scalar(nearest)


def key_frame_ids(connection: Connection, video_id: int) -> list[int]:
    """The ids of a video's key frames in time order."""
    key_frames = select(Frame.id).where(Frame.video_id == video_id, Frame.is_keyframe)
    return list(connection.scalars(key_frames.order_by(Frame.timestamp)))


def quick_cost_usd(connection: Connection, frame_ids: Collection[int], *, after_call: int) -> float:
    """The cost of the quick pass of these frames that was recorded after this call, in US dollars."""
    total = select(func.coalesce(func.sum(Analysis.cost_usd), 0.0))
    wanted = (Analysis.frame_id.in_(frame_ids), Analysis.pass_ == QUICK, Analysis.id > after_call)
    return float(connection.execute(total.where(*wanted)).scalar_one())
