"""Estimates: how many frames will be kept, how long describing them takes here, how much disk the pictures need.

Time is learnt from the last calls in `analyses`: before the first one it is None, "not measured".

The plan of a night: how fine the library is covered when the time is over, and when all of it is done.

What is planned are calls: as many as the model has lately made in such a time. One in four may fill a gap between
unlike neighbours, so only the others are counted on for the even order (`enrich.schedule.coverage`).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from sqlalchemy import Connection

from db import files, queries
from db.models import ExtractionStatus
from db.queries import ModelSpeed
from enrich.schedule.coverage import COVERAGE_CALLS_PER_FILL, CoverageOrder
from enrich.settings import Settings
from enrich.video.sampling import Sampling, SamplingKind, parse_sampling

# Shares of source frames kept, measured over the eight public sample videos with bench/kept.py; only until a library
# has videos of its own to learn from.
FIRST_GUESS_KEPT_SHARE = 0.12
FIRST_GUESS_SCENE_SECONDS = 6.0
BYTES_PER_PIXEL = 0.1  # of a JPEG at quality 85
# How much larger JPEGs of other qualities are, on the same videos.
SIZE_OF_QUALITY = {30: 0.46, 50: 0.57, 70: 0.72, 80: 0.87, 85: 1.0, 90: 1.23, 95: 1.75, 100: 3.3}
PICTURES_MEASURED = 200
FINEST_SECONDS = 0.01
STEPS = 60  # of halving: exact to the last bit
DECODED = (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)  # no more frames will be found


@dataclass(frozen=True, slots=True)
class Estimate:
    """What lies ahead. `is_learnt`: the share of kept frames comes from this library, not from a first guess."""

    source_frames: int
    kept_frames: int
    is_learnt: bool
    seconds: float | None  # None: not measured
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Footage:
    """As much of a video as an estimate needs."""

    duration: float | None  # seconds
    source_frames: int | None
    width: int
    height: int


def estimate(connection: Connection, settings: Settings, footage: Iterable[Footage], sampling: Sampling) -> Estimate:
    """What describing `footage` will take with the settings' describer and model."""
    footage = list(footage)
    share = queries.kept_share(connection, str(sampling))
    source = sum(video.source_frames or 0 for video in footage)
    kept = sum(_kept(video, sampling, share) for video in footage)
    size = _bytes_per_picture(connection, settings)
    disk = sum(_kept(video, sampling, share) * (size or _guessed_bytes(video, settings)) for video in footage)
    speed = measured_speed(connection, settings)
    return Estimate(
        source_frames=source,
        kept_frames=kept,
        is_learnt=share is not None or sampling.kind in (SamplingKind.EXACT, SamplingKind.EVERY),
        seconds=seconds_for(kept, speed, settings),
        disk_bytes=round(disk),
    )


def expected_frames(connection: Connection, footage: Footage, sampling: str) -> int:
    """How many frames of a video will be kept, as far as this library knows."""
    return _kept(footage, parse_sampling(sampling), queries.kept_share(connection, sampling))


def measured_speed(connection: Connection, settings: Settings) -> ModelSpeed | None:
    """How fast the settings' describer and model have been here lately, None before their first call."""
    return queries.speed(connection, settings.describer, settings.model if settings.describer == "ollama" else None)


def seconds_for(frames: int, speed: ModelSpeed | None, settings: Settings) -> float | None:
    """How long describing takes at a speed, with the settings' calls at once on all hosts; None if not measured.

    Latencies are measured with as many calls at once: a host that works them off one by one answers each as much later.
    """
    if speed is None:
        return None
    at_once = settings.concurrency * (len(settings.ollama_hosts) if settings.describer == "ollama" else 1)
    return frames * speed.seconds_per_frame / at_once


def _kept(video: Footage, sampling: Sampling, share: float | None) -> int:
    source = video.source_frames or 0
    match sampling.kind:
        case SamplingKind.EXACT:
            return source
        case SamplingKind.EVERY:
            return min(source, int((video.duration or 0.0) / sampling.period) + 1)
        case SamplingKind.DISTINCT:
            return round(source * (FIRST_GUESS_KEPT_SHARE if share is None else share))
        case SamplingKind.SCENES:
            if share is None:
                return min(source, int((video.duration or 0.0) / FIRST_GUESS_SCENE_SECONDS) + 1)
            return round(source * share)


def _bytes_per_picture(connection: Connection, settings: Settings) -> float | None:
    sizes = []
    for name in files.newest_image_paths(connection, limit=PICTURES_MEASURED):
        path = settings.frames_folder / name
        if path.exists():
            sizes.append(path.stat().st_size)
    return sum(sizes) / len(sizes) if sizes else None


def _guessed_bytes(video: Footage, settings: Settings) -> float:
    scale = min(1.0, settings.stored_edge / max(video.width, video.height, 1))
    larger = float(np.interp(settings.jpeg_quality, list(SIZE_OF_QUALITY), list(SIZE_OF_QUALITY.values())))
    return video.width * video.height * scale**2 * BYTES_PER_PIXEL * larger


@dataclass(frozen=True, slots=True)
class VideoState:
    """What a plan needs of a video: its length in seconds, its kept frames in the end, and how many are described."""

    duration: float | None
    kept: int
    described: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What can be reached. `gap`: seconds between pictures when the time is over, None if every frame is described."""

    seconds: float  # the time there is
    calls: int  # that fit into it
    left: int  # frames to describe in all
    gap: float | None
    all_seconds: float  # how long all of it takes


def plan(
    connection: Connection, settings: Settings, video_ids: Collection[int] | None, *, seconds: float
) -> RunPlan | None:
    """What `seconds` of describing will reach with the settings' model; None before its speed has been measured."""
    speed = measured_speed(connection, settings)
    known = list(video_states(connection, video_ids))
    left = sum(max(0, film.kept - film.described) for film in known)
    whole = seconds_for(left, speed, settings)
    if whole is None:
        return None
    calls = int(left if whole <= seconds else left * seconds / whole)
    return RunPlan(seconds, calls, left, None if calls >= left else reachable_gap(known, calls), whole)


def reachable_gap(films: Collection[VideoState], calls: int) -> float:
    """The largest gap in seconds that is left in any film after so many calls."""
    even_calls = calls * COVERAGE_CALLS_PER_FILL // (COVERAGE_CALLS_PER_FILL + 1)

    def needed(gap: float) -> int:
        return sum(max(0, min(film.kept, CoverageOrder(film.duration).count(gap)) - film.described) for film in films)

    fine, coarse = FINEST_SECONDS, max((CoverageOrder(film.duration).length for film in films), default=FINEST_SECONDS)
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
    for video_id, marks in groupby(queries.frame_marks(connection, video_ids), key=lambda mark: mark.video_id):
        video = videos.pop(video_id)
        gaps += _open_gaps(marks, end=video.duration, is_decoded=video.extraction_status in DECODED)
    gaps += [
        CoverageOrder(video.duration).length for video in videos.values() if video.extraction_status not in DECODED
    ]
    return max(gaps, default=None)


def _open_gaps(marks: Iterable[queries.FrameMark], *, end: float | None, is_decoded: bool) -> list[float]:
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


def video_states(connection: Connection, video_ids: Collection[int] | None) -> Iterable[VideoState]:
    """The library's videos, or those named, but for those that cannot be decoded."""
    for video in queries.videos(connection, video_ids):
        if video.extraction_status is ExtractionStatus.EXTRACTED:
            kept = video.kept
        elif video.extraction_status is ExtractionStatus.FAILED:
            continue
        else:
            footage = Footage(video.duration, video.frame_count, video.width, video.height)
            kept = max(video.kept, expected_frames(connection, footage, video.sampling))
        yield VideoState(video.duration, kept, min(kept, video.described + video.failed))
