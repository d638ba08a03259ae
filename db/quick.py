"""The quick pass in the database: what its key frames are chosen from, what was asked already, and what came of it.

What a person wrote is never overwritten, and no measurement takes the place of a model's words. Every function takes
part in its caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from db import search
from db.models import QUICK, Analysis, Frame
from db.search import WRITTEN_QUICK
from db.store import NewAnalysis


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """A kept frame with the signals that key frames are chosen by; units as in `db.models.Frame`."""

    id: int
    timestamp: float
    scene: int | None
    sharpness: float | None
    brightness: float | None
    dhash: str | None


@dataclass(frozen=True, slots=True)
class NewQuickDescription:
    """What a quick look says of one frame; `search_…` is what the search may find of it."""

    text: str
    tags: tuple[str, ...]
    event_type: str | None  # None: whoever looked cannot know
    excitement: float | None  # 0 to 10
    search_text: str
    search_tags: tuple[str, ...]


def candidates(connection: Connection, video_id: int) -> list[CandidateRow]:
    """The kept frames of a video in the order of time."""
    statement = select(Frame.id, Frame.timestamp, Frame.scene, Frame.sharpness, Frame.brightness, Frame.dhash)
    rows = connection.execute(statement.where(Frame.video_id == video_id).order_by(Frame.timestamp))
    return [CandidateRow(*row) for row in rows]


def set_key_frames(connection: Connection, video_id: int, frame_ids: Collection[int]) -> None:
    """Make these frames of a video its key frames, and no others."""
    ours = update(Frame).where(Frame.video_id == video_id)
    connection.execute(ours.where(Frame.is_keyframe, Frame.id.not_in(frame_ids)).values(is_keyframe=False))
    connection.execute(ours.where(Frame.id.in_(frame_ids)).values(is_keyframe=True))


def answered_frame_ids(
    connection: Connection, frame_ids: Collection[int], *, describer: str, model: str, prompt_version: str
) -> dict[int, bool]:
    """Which frames were asked about already in this very way, and whether an answer came of it.

    Calls that were refused without an answer and without a price do not count: nothing was had, nothing was paid.
    """
    counts = or_(Analysis.is_kept, Analysis.cost_usd > 0)
    statement = (
        select(Analysis.frame_id, func.max(Analysis.is_kept))
        .where(Analysis.frame_id.in_(frame_ids), Analysis.pass_ == QUICK, Analysis.describer == describer)
        .where(Analysis.model == model, Analysis.prompt_version == prompt_version, counts)
        .group_by(Analysis.frame_id)
    )
    return {row[0]: bool(row[1]) for row in connection.execute(statement) if row[0] is not None}


def save_quick_description(
    connection: Connection, frame_id: int, look: NewQuickDescription, analyses: Sequence[NewAnalysis], *, now: datetime
) -> bool:
    """Save what was said of a frame, its calls and its place in the search; whether the frame is still there.

    Where nobody could say what kind of event it is, it was only measured, and a model's words stay.
    """
    ours = update(Frame).where(Frame.id == frame_id)
    if look.event_type is None:
        ours = ours.where(Frame.event_type.is_(None))
    values: dict[str, Any] = {"quick_description": look.text, "quick_tags": list(look.tags)}
    values |= {"event_type": look.event_type, "excitement": look.excitement}
    is_saved = bool(connection.execute(ours.values(**values)).rowcount)
    has_frame = is_saved or is_there(connection, frame_id)
    if has_frame:
        record_quick_calls(connection, frame_id, analyses, now=now, is_kept=is_saved)
    if is_saved:
        search.write_model_text(
            connection,
            frame_id,
            source=WRITTEN_QUICK,
            text=look.search_text,
            tags=" ".join(look.search_tags),
            is_lasting=look.event_type is not None,
        )
    return has_frame


def record_quick_calls(
    connection: Connection,
    frame_id: int | None,
    analyses: Sequence[NewAnalysis],
    *,
    now: datetime,
    is_kept: bool = False,
) -> None:
    """Book calls about a frame (None: it is gone, and was paid for all the same)."""
    common: dict[str, Any] = {"created_at": now, "frame_id": frame_id, "pass": QUICK}
    rows = [{**asdict(call), **common} | ({} if is_kept else {"is_kept": False}) for call in analyses]
    if rows:
        connection.execute(insert(Analysis), rows)


def event_of(connection: Connection, *, video_id: int, frame_id: int) -> str | None:
    """The kind of event the quick pass saw in a frame, or in the nearest key frame of its scene; None without one."""
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
    """The key frames of a video, in the order of time."""
    ours = select(Frame.id).where(Frame.video_id == video_id, Frame.is_keyframe)
    return list(connection.scalars(ours.order_by(Frame.timestamp)))


def is_there(connection: Connection, frame_id: int) -> bool:
    """Whether a frame is still in the library."""
    return connection.scalar(select(Frame.id).where(Frame.id == frame_id)) is not None


def spent_on(connection: Connection, frame_ids: Collection[int], *, since: datetime) -> float:
    """US dollars booked for looks at these frames from a moment on."""
    total = select(func.coalesce(func.sum(Analysis.cost_usd), 0.0))
    ours = (Analysis.frame_id.in_(frame_ids), Analysis.pass_ == QUICK, Analysis.created_at >= since)
    return float(connection.execute(total.where(*ours)).scalar_one())
