"""The plan of a night: how fine the library is covered when the time is over, and when all of it is done.

What is planned are calls: as many as the model has lately made in such a time. One in four may fill a gap between
unlike neighbours, so only the others are counted on for the even order (`enrich.schedule.coverage`).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

from sqlalchemy import Connection

from db import queries
from db.models import ExtractionStatus
from enrich.schedule.coverage import Even
from enrich.schedule.forecast import Footage, expected_frames, measured_speed, seconds_for
from enrich.settings import Settings
from enrich.work.filling import EVEN_CALLS

FINEST_SECONDS = 0.01
STEPS = 60  # of halving: exact to the last bit
DECODED = (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)  # no more frames will be found


@dataclass(frozen=True, slots=True)
class Film:
    """What a plan needs of a video: its length in seconds, its kept frames in the end, and how many are described."""

    duration: float | None
    kept: int
    described: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be reached. `gap`: seconds between pictures when the time is over, None if every frame is described."""

    seconds: float  # the time there is
    calls: int  # that fit into it
    left: int  # frames to describe in all
    gap: float | None
    all_seconds: float  # how long all of it takes


def plan(
    connection: Connection, settings: Settings, video_ids: Collection[int] | None, *, seconds: float
) -> Plan | None:
    """What `seconds` of describing will reach with the settings' model; None before its speed has been measured."""
    speed = measured_speed(connection, settings)
    known = list(films(connection, video_ids))
    left = sum(max(0, film.kept - film.described) for film in known)
    whole = seconds_for(left, speed, settings)
    if whole is None:
        return None
    calls = int(left if whole <= seconds else left * seconds / whole)
    return Plan(seconds, calls, left, None if calls >= left else reachable_gap(known, calls), whole)


def reachable_gap(films: Collection[Film], calls: int) -> float:
    """The largest gap in seconds that is left in any film after so many calls."""
    even_calls = calls * EVEN_CALLS // (EVEN_CALLS + 1)

    def needed(gap: float) -> int:
        return sum(max(0, min(film.kept, Even(film.duration).count(gap)) - film.described) for film in films)

    fine, coarse = FINEST_SECONDS, max((Even(film.duration).length for film in films), default=FINEST_SECONDS)
    for _ in range(STEPS):
        middle = (fine + coarse) / 2
        if needed(middle) <= even_calls:
            coarse = middle
        else:
            fine = middle
    return coarse


def reached_gap(connection: Connection, video_ids: Collection[int] | None = None) -> float | None:
    """The longest time, in seconds, without a described picture though there is one to describe; None if all are.

    Of a film that is not decoded to its end, any time may hold one.
    """
    gaps: list[float] = []
    videos = {video.id: video for video in queries.videos(connection, video_ids)}
    for video_id, marks in groupby(queries.marks(connection, video_ids), key=lambda mark: mark.video_id):
        video = videos.pop(video_id)
        gaps += _open_gaps(marks, end=video.duration, is_decoded=video.extraction_status in DECODED)
    gaps += [Even(video.duration).length for video in videos.values() if video.extraction_status not in DECODED]
    return max(gaps, default=None)


def _open_gaps(marks: Iterable[queries.Mark], *, end: float | None, is_decoded: bool) -> list[float]:
    times, waiting = [0.0], [0]
    for mark in marks:
        if mark.is_described:
            times.append(mark.timestamp)
            waiting.append(0)
        else:
            waiting[-1] += 1
    times.append(max(times[-1], end or 0.0))
    gaps = zip(pairwise(times), waiting, strict=True)
    return [after - before for (before, after), count in gaps if count or not is_decoded]


def films(connection: Connection, video_ids: Collection[int] | None) -> Iterable[Film]:
    """The library's videos, or those named, but for those that cannot be decoded."""
    for video in queries.videos(connection, video_ids):
        if video.extraction_status is ExtractionStatus.EXTRACTED:
            kept = video.kept
        elif video.extraction_status is ExtractionStatus.FAILED:
            continue
        else:
            footage = Footage(video.duration, video.frame_count, video.width, video.height)
            kept = max(video.kept, expected_frames(connection, footage, video.sampling))
        yield Film(video.duration, kept, min(kept, video.described + video.failed))
