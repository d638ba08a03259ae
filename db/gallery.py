"""Reads of the gallery: the kept frames of a video by keyset pagination, its timeline, scenes, tags and posters.

A page of frames takes as long at the end of a long video as at its start. Call every function inside `reading(engine)`.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from heapq import nsmallest
from itertools import chain
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.orm import aliased

from db.models import DEEP, PASSES, QUICK, Analysis, Frame, Tally, Task, TaskKind, TaskStatus, Video, has_description

POSTER_POSITION = 1 / 3  # of the duration: the start is often black, a title, or the floor
POSTER_CANDIDATES = 12  # frames from there on; the sharpest is used
DARKEST, BRIGHTEST = 40.0, 225.0  # preferred mean luma of a poster


class FrameFilter(StrEnum):
    """Which kept frames of a video to show."""

    ALL = "all"
    WAITING = "waiting"  # not yet described
    WARNINGS = "warnings"
    FAILED = "failed"
    CORRECTED = "corrected"
    REVIEWED = "reviewed"
    UNREVIEWED = "unreviewed"


@dataclass(frozen=True, slots=True)
class Card:
    """A kept frame in the gallery. `text` is the best description; `source` is person, deep or quick."""

    id: int
    video_id: int
    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    text: str | None
    source: str | None
    has_warnings: bool
    error: str | None  # of its failed deep task
    is_reviewed: bool


@dataclass(frozen=True, slots=True)
class LatestCard(Card):
    """A recently described frame, with the title of its video."""

    title: str


@dataclass(frozen=True, slots=True)
class TimelineBucket:
    """A part of a video from `start` up to `end` (seconds), with counts of kept frames."""

    start: float
    end: float
    kept: int
    described: int
    failed: int
    excitement: float | None  # maximum, 0 to 10


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene: the timestamps of its first and last kept frame (seconds), and its number of kept frames."""

    number: int
    start: float
    end: float
    kept: int


@dataclass(frozen=True, slots=True)
class CallRow:
    """A model call about a frame; units as in `db.models.Analysis`."""

    id: int
    created_at: datetime
    pass_: str
    describer: str
    model: str
    host: str
    prompt_version: str
    latency_seconds: float
    load_seconds: float
    prompt_tokens: int | None
    output_tokens: int | None
    cost_usd: float
    warnings: list[dict[str, str]]
    is_kept: bool
    raw_reply: str | None


def cards(
    connection: Connection,
    video_id: int,
    *,
    show: FrameFilter = FrameFilter.ALL,
    tag: str | None = None,
    after: float | None = None,
    before: float | None = None,
    limit: int = 24,
) -> list[Card]:
    """A page of a video's frames in time order: the first ones after a timestamp, or the last ones before it."""
    statement = _cards().where(*_wanted(video_id, show, tag))
    if after is not None:
        statement = statement.where(Frame.timestamp > after)
    if before is not None:
        statement = statement.where(Frame.timestamp < before)
    is_backward = before is not None and after is None
    statement = statement.order_by(Frame.timestamp.desc() if is_backward else Frame.timestamp).limit(limit)
    found = [Card(**_card(row)) for row in connection.execute(statement).mappings()]
    return found[::-1] if is_backward else found


def count(connection: Connection, video_id: int, *, show: FrameFilter = FrameFilter.ALL, tag: str | None = None) -> int:
    """How many frames of a video match. Common filters without a tag are answered from the stored counts."""

    def matching(show: FrameFilter) -> int:
        statement = select(func.count()).select_from(Frame).where(*_wanted(video_id, show, tag))
        return connection.execute(statement).scalar_one()

    if tag is not None or show not in (FrameFilter.ALL, FrameFilter.UNREVIEWED):
        return matching(show)
    kept = connection.scalar(select(Tally.kept).where(Tally.video_id == video_id)) or 0
    return kept if show is FrameFilter.ALL else kept - matching(FrameFilter.REVIEWED)


def neighbours(
    connection: Connection,
    video_id: int,
    timestamp: float,
    *,
    show: FrameFilter = FrameFilter.ALL,
    tag: str | None = None,
) -> tuple[int | None, int | None]:
    """The ids of the matching frames before and after a timestamp; None where there is none."""
    wanted = select(Frame.id).where(*_wanted(video_id, show, tag)).limit(1)
    before = wanted.where(Frame.timestamp < timestamp).order_by(Frame.timestamp.desc())
    after = wanted.where(Frame.timestamp > timestamp).order_by(Frame.timestamp)
    return connection.scalar(before), connection.scalar(after)


def timeline(connection: Connection, video_id: int, *, buckets: int = 240) -> list[TimelineBucket]:
    """A video in equal parts, empty ones included; no parts if its duration is unknown and no frame is kept."""
    last = select(func.max(Frame.timestamp)).where(Frame.video_id == video_id).scalar_subquery()
    row = connection.execute(select(Video.duration, last.label("last")).where(Video.id == video_id)).one_or_none()
    length = max(row.duration or 0.0, row.last or 0.0) if row is not None else 0.0
    if not length:
        return []
    width = length / buckets
    is_last = Frame.timestamp >= (buckets - 1) * width  # includes a frame at the very end
    bucket = case((is_last, buckets - 1), else_=cast(Frame.timestamp / width, Integer)).label("bucket")

    def by_bucket(value: ColumnElement[Any], *wanted: ColumnElement[bool]) -> dict[int, Any]:
        statement = select(bucket, value).where(Frame.video_id == video_id, *wanted).group_by("bucket")
        return {row[0]: row[1] for row in connection.execute(statement)}

    # Each is answered from an index alone, without reading the rows.
    kept = by_bucket(func.count())
    waiting = by_bucket(func.count(), Frame.local_description.is_(None))
    failed = by_bucket(func.count(), Frame.id.in_(_failed(video_id)))
    excitement = by_bucket(func.max(Frame.excitement), Frame.excitement.is_not(None))
    return [
        TimelineBucket(
            start=number * width,
            end=(number + 1) * width,
            kept=kept.get(number, 0),
            described=kept.get(number, 0) - waiting.get(number, 0),
            failed=failed.get(number, 0),
            excitement=excitement.get(number),
        )
        for number in range(buckets)
    ]


def scenes(connection: Connection, video_id: int) -> list[Scene]:
    """The scenes of a video in order, as far as it is decoded."""
    statement = (
        select(Frame.scene, func.min(Frame.timestamp), func.max(Frame.timestamp), func.count())
        .where(Frame.video_id == video_id, Frame.scene.is_not(None))
        .group_by(Frame.scene)
        .order_by(Frame.scene)
    )
    return [Scene(row[0] or 0, row[1], row[2], row[3]) for row in connection.execute(statement)]


def tags(connection: Connection, video_id: int, *, limit: int = 40) -> list[tuple[str, int]]:
    """The most common tags of a video's frames, and how many frames have each."""
    as_json = cast(_best_tags(), Text)
    statement = select(func.aggregate_strings(as_json, ",")).where(Frame.video_id == video_id, as_json.is_not(None))
    lists = json.loads(f"[{connection.scalar(statement) or ''}]")  # one string is ten times faster than row by row
    counts = Counter(chain.from_iterable(map(set, lists)))
    return nsmallest(limit, counts.items(), key=lambda entry: (-entry[1], entry[0]))


def calls(connection: Connection, frame_id: int) -> list[CallRow]:
    """All model calls about a frame, newest first."""
    names = [name for name in CallRow.__dataclass_fields__ if name != "pass_"]
    columns = [Analysis.pass_.label("pass_"), *(getattr(Analysis, name) for name in names)]
    statement = select(*columns).where(Analysis.frame_id == frame_id).order_by(Analysis.id.desc())
    return [CallRow(**row) for row in connection.execute(statement).mappings()]


def latest(connection: Connection, *, limit: int = 6) -> list[LatestCard]:
    """The frames of the library that were described last, newest first."""
    statement = (
        _cards()
        .add_columns(Video.title)
        .join(Video, Video.id == Frame.video_id)
        .where(Frame.enriched_at.is_not(None))
        .order_by(Frame.enriched_at.desc(), Frame.id.desc())
        .limit(limit)
    )
    return [LatestCard(**_card(row)) for row in connection.execute(statement).mappings()]


def poster(connection: Connection, video_ids: Collection[int]) -> dict[int, int]:
    """By video, the id of its poster frame: near a third of it, not too dark or bright, sharp. None without frames."""
    is_bad_light = case((Frame.brightness.between(DARKEST, BRIGHTEST), 0), else_=1)
    position = func.coalesce(Video.duration, 0.0) * POSTER_POSITION
    frames = select(Frame.id, Frame.sharpness, is_bad_light.label("is_bad_light")).where(Frame.video_id == Video.id)
    choices = [
        frames.where(Frame.timestamp >= position).order_by(Frame.timestamp),
        frames.where(Frame.timestamp < position).order_by(Frame.timestamp.desc()),  # not decoded that far yet
    ]
    best = []
    for choice in choices:
        found = choice.limit(POSTER_CANDIDATES).correlate(Video).subquery()
        ranked = select(found.c.id).order_by(found.c.is_bad_light, found.c.sharpness.desc())
        best.append(ranked.limit(1).scalar_subquery())
    statement = select(Video.id, func.coalesce(*best)).where(Video.id.in_(video_ids))
    return {video_id: frame_id for video_id, frame_id in connection.execute(statement) if frame_id is not None}


def _cards() -> Any:
    error = (
        select(Task.error)
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
        .where(Task.status == TaskStatus.FAILED)
        .scalar_subquery()
    )
    return select(
        Frame.id,
        Frame.video_id,
        Frame.index,
        Frame.timestamp,
        Frame.stands_for,
        Frame.scene,
        Frame.edited_description,
        Frame.local_description,
        Frame.quick_description,
        _has_warnings().label("has_warnings"),
        error.label("error"),
        Frame.reviewed_at.is_not(None).label("is_reviewed"),
    )


def _card(row: Any) -> dict[str, Any]:
    values = dict(row)
    texts = {
        "person": values.pop("edited_description"),
        "deep": values.pop("local_description"),
        "quick": values.pop("quick_description"),
    }
    source = next((source for source, text in texts.items() if text), None)
    values |= {"source": source, "text": texts[source] if source is not None else None}
    return values | {name: bool(values[name]) for name in ("has_warnings", "is_reviewed")}


def _wanted(video_id: int, show: FrameFilter, tag: str | None) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [Frame.video_id == video_id, _shown(show, video_id)]
    if tag is not None:
        # As a JSON string with its quotes: no other tag contains that.
        wanted.append(cast(_best_tags(), Text).contains(json.dumps(tag), autoescape=True))
    return wanted


def _shown(show: FrameFilter, video_id: int) -> ColumnElement[bool]:  # noqa: PLR0911  # one return per filter
    match show:
        case FrameFilter.ALL:
            return true()
        case FrameFilter.WAITING:
            return and_(Frame.local_description.is_(None), Frame.id.not_in(_failed(video_id)))
        case FrameFilter.WARNINGS:
            return _has_warnings()
        case FrameFilter.FAILED:
            return Frame.id.in_(_failed(video_id))
        case FrameFilter.CORRECTED:
            return Frame.edited_at.is_not(None)
        case FrameFilter.REVIEWED:
            return Frame.reviewed_at.is_not(None)
        case FrameFilter.UNREVIEWED:
            return Frame.reviewed_at.is_(None)
        case _:
            assert_never(show)


def _failed(video_id: int) -> Select[int | None]:
    """The frames of a video whose deep task has failed: a small set."""
    return select(Task.frame_id).where(
        Task.video_id == video_id,
        Task.status == TaskStatus.FAILED,
        Task.kind == TaskKind.DESCRIBE,
        Task.pass_ == DEEP,
        Task.frame_id.is_not(None),
    )


def _has_warnings() -> ColumnElement[bool]:
    """Whether the call whose text is shown has warnings: the last kept one of the deep pass, else of the quick pass."""
    call, later = aliased(Analysis), aliased(Analysis)
    is_kept = (later.frame_id == call.frame_id, later.is_kept, later.pass_.in_(PASSES), has_description(later))
    is_better = or_(and_(later.pass_ == call.pass_, later.id > call.id), and_(later.pass_ == DEEP, call.pass_ == QUICK))
    return exists().where(
        call.frame_id == Frame.id,
        call.is_kept,
        cast(call.warnings, Text) != literal_column("'[]'"),  # literally as in the index ix_analyses_doubtful
        call.pass_.in_(PASSES),
        has_description(call),
        ~exists().where(*is_kept, is_better).correlate(call, Frame),
    )


def _best_tags() -> ColumnElement[Any]:
    return func.coalesce(Frame.edited_tags, Frame.local_tags, Frame.quick_tags)
