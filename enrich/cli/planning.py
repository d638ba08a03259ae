"""What a plan says: how fine the library is covered by when, and when all of it is done."""

import math
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from db.engine import reading
from enrich.wording import moment, span
from enrich.work.plan import plan, reached_gap

if TYPE_CHECKING:
    from enrich.library.library import Library
    from enrich.work.plan import Plan

COARSE_SECONDS = 10  # from here on tenths say nothing
ROUNDING = 1e-6


def planned(library: "Library", video_ids: Collection[int] | None, *, seconds: float) -> str | None:
    """What so many seconds will reach; None as long as the model's speed is not known."""
    with reading(library.engine) as connection:
        found = plan(connection, library.settings, video_ids, seconds=seconds)
    return plan_text(found, datetime.now().astimezone()) if found is not None and found.left else None


def plan_text(found: "Plan", now: datetime) -> str:
    """A plan in words: 1 picture every 6 s by 07:00, all 12,345 frames by Thursday 14:00."""
    whole = f"all {found.left:,} frames by {moment(found.all_seconds, now)}"
    if found.gap is None:
        return whole
    return f"1 picture every {gap_text(found.gap)} by {moment(found.seconds, now)}, {whole}"


def reached(library: "Library", video_ids: Collection[int] | None) -> str | None:
    """How fine the videos are covered now, in words; None if every frame is described."""
    with reading(library.engine) as connection:
        gap = reached_gap(connection, video_ids)
    return None if gap is None else f"1 picture at least every {gap_text(gap)}"


def gap_text(seconds: float) -> str:
    """The length of a gap, rounded up: 2.4 s, 1 min 20 s."""
    if seconds >= COARSE_SECONDS:
        return span(math.ceil(seconds))
    return f"{math.ceil(seconds * 10 - ROUNDING) / 10:g} s"
