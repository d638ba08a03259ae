"""Forecasts: how many frames will be kept, how long describing them takes, how far a run gets, how much disk is needed.

Speed is measured from the latest calls in `analyses`; before the first call it is None. A run plan counts calls: as
many as the model has lately made in the given time. One call in four may fill a gap between unlike neighbours, so only
the other three count towards the coverage order (`enrich.schedule.coverage`). With working hours, a forecast includes
the time until they begin.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

import numpy as np
from sqlalchemy import Connection

from db import files, queries
from db.models import EXTRACTION_ENDED, ExtractionStatus
from db.queries import ModelSpeed
from enrich.clock import Hours, parse_hours
from enrich.schedule.coverage import COVERAGE_CALLS_PER_GAP_FILL, CoverageOrder
from enrich.settings import Settings
from enrich.video.sampling import Sampling, SamplingKind, parse_sampling

# Until a library has extracted videos to measure. From the eight public sample videos (bench/kept.py).
DEFAULT_KEPT_SHARE = 0.12
DEFAULT_SCENE_SECONDS = 6.0
BYTES_PER_PIXEL = 0.1  # of a JPEG at quality 85
# Size of JPEGs of other qualities, relative to quality 85, on the same videos.
JPEG_SIZE_FACTORS = {30: 0.46, 50: 0.57, 70: 0.72, 80: 0.87, 85: 1.0, 90: 1.23, 95: 1.75, 100: 3.3}
MEASURED_IMAGES = 200
MIN_GAP_SECONDS = 0.01
BISECTION_STEPS = 60  # of halving: exact to the last bit
ALWAYS = Hours()


@dataclass(frozen=True, slots=True)
class Estimate:
    """Frames, time and disk space that describing some footage takes."""

    source_frames: int
    kept_frames: int
    is_measured: bool  # the share of kept frames comes from this library, not from the default
    seconds: float | None  # of work; None if the model's speed has not been measured
    elapsed_seconds: float | None  # until it is done, with the pauses between working hours; None if unknown
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Footage:
    """The properties of a video that an estimate needs."""

    duration: float | None  # seconds
    source_frames: int | None
    width: int
    height: int


def estimate(
    connection: Connection, settings: Settings, footage: Iterable[Footage], sampling: Sampling, *, now: datetime
) -> Estimate:
    """Estimate what describing `footage` takes from `now` with the configured describer, model and working hours."""
    footage = list(footage)
    share = queries.kept_share(connection, str(sampling))
    source = sum(video.source_frames or 0 for video in footage)
    kept = sum(_kept(video, sampling, share) for video in footage)
    size = _mean_image_bytes(connection, settings)
    disk = sum(_kept(video, sampling, share) * (size or _default_image_bytes(video, settings)) for video in footage)
    seconds = seconds_for(kept, measured_speed(connection, settings), settings)
    return Estimate(
        source_frames=source,
        kept_frames=kept,
        is_measured=share is not None or sampling.kind in (SamplingKind.EXACT, SamplingKind.EVERY),
        seconds=seconds,
        elapsed_seconds=elapsed_seconds(seconds, parse_hours(settings.hours), now=now),
        disk_bytes=round(disk),
    )


def expected_frames(connection: Connection, footage: Footage, sampling: str) -> int:
    """How many frames of a video will be kept, judging from this library."""
    return _kept(footage, parse_sampling(sampling), queries.kept_share(connection, sampling))


def measured_speed(connection: Connection, settings: Settings) -> ModelSpeed | None:
    """The recent speed of the configured describer and model; None before their first call."""
    return queries.speed(connection, settings.describer, settings.model if settings.describer == "ollama" else None)


def seconds_for(frames: int, speed: ModelSpeed | None, settings: Settings) -> float | None:
    """How long describing takes at a speed, with the configured concurrency on all hosts; None if not measured.

    Latencies are measured at the same concurrency: a host that processes calls one by one has higher latencies.
    """
    if speed is None:
        return None
    concurrency = settings.concurrency * (len(settings.ollama_hosts) if settings.describer == "ollama" else 1)
    return frames * speed.seconds_per_frame / concurrency


def elapsed_seconds(work_seconds: float | None, hours: Hours, *, now: datetime) -> float | None:
    """How long it takes from `now` until `work_seconds` of work are done, with the pauses between working hours.

    None if the work is unknown, or not done within `enrich.clock.FORECAST_DAYS`.
    """
    end = hours.end_of_work(now, work_seconds) if work_seconds is not None else None
    return None if end is None else (end - now).total_seconds()


def _kept(video: Footage, sampling: Sampling, share: float | None) -> int:
    source = video.source_frames or 0
    match sampling.kind:
        case SamplingKind.EXACT:
            return source
        case SamplingKind.EVERY:
            return min(source, int((video.duration or 0.0) / sampling.period) + 1)
        case SamplingKind.DISTINCT:
            return round(source * (DEFAULT_KEPT_SHARE if share is None else share))
        case SamplingKind.SCENES:
            if share is None:
                return min(source, int((video.duration or 0.0) / DEFAULT_SCENE_SECONDS) + 1)
            return round(source * share)


def _mean_image_bytes(connection: Connection, settings: Settings) -> float | None:
    sizes = []
    for name in files.newest_image_paths(connection, limit=MEASURED_IMAGES):
        path = settings.frames_folder / name
        if path.exists():
            sizes.append(path.stat().st_size)
    return sum(sizes) / len(sizes) if sizes else None


def _default_image_bytes(video: Footage, settings: Settings) -> float:
    scale = min(1.0, settings.stored_edge / max(video.width, video.height, 1))
    factor = float(np.interp(settings.jpeg_quality, list(JPEG_SIZE_FACTORS), list(JPEG_SIZE_FACTORS.values())))
    return video.width * video.height * scale**2 * BYTES_PER_PIXEL * factor


@dataclass(frozen=True, slots=True)
class VideoState:
    """The progress of one video, for a run plan."""

    duration: float | None  # seconds
    kept: int  # kept frames, expected ones included
    described: int  # or failed


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How far a run of limited time gets."""

    seconds: float  # from now to the end of the available time
    calls: int  # that fit into it
    left: int  # frames to describe in all
    gap: float | None  # largest gap in seconds at the end; None if every frame is described by then
    total_seconds: float | None  # from now until all frames are described; None if that takes too long to forecast
    hours: str = ""  # the working hours the plan keeps; empty if the run works at any time


def plan_run(
    connection: Connection,
    settings: Settings,
    video_ids: Collection[int] | None,
    *,
    seconds: float,
    now: datetime,
    hours: Hours = ALWAYS,
) -> RunPlan | None:
    """Plan a run from `now` on for `seconds` with the configured model; None before its speed has been measured.

    `hours`: the working hours the run keeps.
    """
    speed = measured_speed(connection, settings)
    known = list(video_states(connection, video_ids))
    left = sum(max(0, video.kept - video.described) for video in known)
    work = seconds_for(left, speed, settings)
    if work is None:
        return None
    available = math.inf if math.isinf(seconds) else hours.seconds_between(now, now + timedelta(seconds=seconds))
    calls = int(left if work <= available else left * available / work)
    gap = None if calls >= left else reachable_gap(known, calls)
    total = elapsed_seconds(work, hours, now=now)
    return RunPlan(seconds, calls, left, gap, total, str(hours) if hours.is_limited else "")


def reachable_gap(videos: Collection[VideoState], calls: int) -> float:
    """The largest gap in seconds that remains in any video after `calls` calls. Found by bisection."""
    coverage_calls = calls * COVERAGE_CALLS_PER_GAP_FILL // (COVERAGE_CALLS_PER_GAP_FILL + 1)

    def needed(gap: float) -> int:
        return sum(
            max(0, min(video.kept, CoverageOrder(video.duration).count(gap)) - video.described) for video in videos
        )

    fine, coarse = (
        MIN_GAP_SECONDS,
        max((CoverageOrder(video.duration).length for video in videos), default=MIN_GAP_SECONDS),
    )
    for _ in range(BISECTION_STEPS):
        middle = (fine + coarse) / 2
        if needed(middle) <= coverage_calls:
            coarse = middle
        else:
            fine = middle
    return coarse


def current_gap(connection: Connection, video_ids: Collection[int] | None = None) -> float | None:
    """The longest time in seconds without a described frame, where frames remain to be described; None if none do.

    In a video that is not fully extracted, frames may remain at any time.
    """
    gaps: list[float] = []
    videos = {video.id: video for video in queries.videos(connection, video_ids)}
    for video_id, marks in groupby(queries.frame_marks(connection, video_ids), key=lambda mark: mark.video_id):
        video = videos.pop(video_id)
        gaps += _open_gaps(marks, end=video.duration, is_extracted=video.extraction_status in EXTRACTION_ENDED)
    gaps += [
        CoverageOrder(video.duration).length
        for video in videos.values()
        if video.extraction_status not in EXTRACTION_ENDED
    ]
    return max(gaps, default=None)


def _open_gaps(marks: Iterable[queries.FrameMark], *, end: float | None, is_extracted: bool) -> list[float]:
    times, waiting = [0.0], [0]
    for mark in marks:
        if mark.is_described:
            times.append(mark.timestamp)
            waiting.append(0)
        else:
            waiting[-1] += 1
    times.append(max(times[-1], end or 0.0))
    gaps = zip(pairwise(times), waiting, strict=True)
    return [after - before for (before, after), count in gaps if count or not is_extracted]


def video_states(connection: Connection, video_ids: Collection[int] | None) -> Iterable[VideoState]:
    """The states of the library's videos, or those given; without videos whose extraction failed."""
    for video in queries.videos(connection, video_ids):
        if video.extraction_status is ExtractionStatus.EXTRACTED:
            kept = video.kept
        elif video.extraction_status is ExtractionStatus.FAILED:
            continue
        else:
            footage = Footage(video.duration, video.frame_count, video.width, video.height)
            kept = max(video.kept, expected_frames(connection, footage, video.sampling))
        yield VideoState(video.duration, kept, min(kept, video.described + video.failed))
