"""Pairs of frames to compare in an audit: a random sample of skipped frames, each with the kept frame it belongs to.

A plan draws the sample and estimates the cost. Reading it decodes forward while the next kept frame is near, and seeks
where it is far: in a video with a key frame every 250 frames, a seek costs about as much as decoding 130 frames (1080p
H.264, two cores). So a sample takes about as long as decoding 130 frames per sampled frame, or the whole video,
whichever is less.
"""

import random
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from db import checks
from db.checks import StoredFrame
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.describe.describer import Describer
from enrich.describe.image import decode
from enrich.errors import VideoChangedError, VideoError
from enrich.library.images import clock_of, jpeg_format, located
from enrich.library.library import Library
from enrich.schedule.forecast import measured_speed, seconds_for
from enrich.settings import Settings
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder
from enrich.video.likeness import DEFAULT_LIKENESS, largest_change
from enrich.video.signals import LONG_EDGE_PIXELS, Luma, LumaShrinker, small_size
from enrich.video.timeline import Clock

SEEK_COST_FRAMES = 130  # frames decoded in the time of one seek
MAX_FRAMES_PER_BATCH = 8  # so that a long still shot is shared between concurrent calls
SEEK_MARGINS_SECONDS = (0.0, 2.0, 10.0)
SAME_SECONDS = 1e-6
COPY_SCALE = 0.97
COPY_QUALITY = 75
# How many kept frames are described twice, the second time re-encoded.
REPEAT_SHARE = 0.1
MIN_REPEATS, MAX_REPEATS = 8, 20


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A kept frame, and the sampled frames it stands for, by their source frame indexes."""

    kept: StoredFrame
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SkippedFrame:
    """A source frame that was not kept, compared with its kept frame."""

    index: int
    timestamp: float
    jpeg: bytes
    likeness: float  # of the luma, 0 to 1
    change: float  # the largest colour change in any window, 0 to 255


@dataclass(frozen=True, slots=True)
class ComparedFrame:
    """A kept frame and a batch of the sampled frames it stands for."""

    kept: StoredFrame
    jpeg: bytes  # encoded now, in the same way as those of the skipped frames
    luma: Luma
    others: tuple[SkippedFrame, ...]
    is_first: bool  # the first batch of this kept frame


def compared_frames(
    settings: Settings, video: VideoRow, samples: Iterable[SampledFrame]
) -> Generator[ComparedFrame, None, None]:
    """Read the frames of a sample, in the video's order. Raises VideoError."""
    reader = _VideoReader(Path(located(video).path), clock_of(video))
    shrinker = LumaShrinker()
    encoder: JpegEncoder | None = None
    try:
        for sample in samples:
            first = reader.find(sample.kept)
            if encoder is None:
                encoder = JpegEncoder(jpeg_format(settings, video), sample_aspect=first.sample_aspect)
            luma, jpeg = shrinker.shrink(first.av_frame), encoder.encode(first.av_frame)
            del first  # a decoded frame is large
            for start in range(0, len(sample.indexes), MAX_FRAMES_PER_BATCH):
                others = []
                for index in sample.indexes[start : start + MAX_FRAMES_PER_BATCH]:
                    frame = reader.forward(index)
                    other = shrinker.shrink(frame.av_frame)
                    skipped_jpeg = encoder.encode(frame.av_frame)
                    likeness, change = DEFAULT_LIKENESS.measure(luma, other), colour_change(jpeg, skipped_jpeg)
                    others.append(SkippedFrame(index, frame.timestamp, skipped_jpeg, likeness, change))
                yield ComparedFrame(sample.kept, jpeg, luma, tuple(others), is_first=not start)
    finally:
        reader.close()


def colour_change(one: bytes, other: bytes) -> float:
    """The largest change in any window of red, green or blue, 0 to 255; likeness ignores colours."""
    first, second = _reduced(one), _reduced(other)
    return max(largest_change(first[..., channel], second[..., channel]) for channel in range(3))


def altered_copy(jpeg: bytes) -> bytes:
    """The same image to a person, but with different pixels: slightly smaller and re-encoded."""
    pixels = np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"), np.uint8)
    size = (max(1, round(pixels.shape[1] * COPY_SCALE)), max(1, round(pixels.shape[0] * COPY_SCALE)))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(smaller), COPY_QUALITY, "RGB", "420"))


def _reduced(jpeg: bytes) -> NDArray[np.uint8]:
    pixels = decode(jpeg, LONG_EDGE_PIXELS)
    size = small_size(pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class _VideoReader:
    """Reads a video forward, or from the key frame before a known frame."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._source: SourceFrames | None = None
        self._frames: Iterator[SourceFrame] = iter(())
        self._next = 0  # the index of the next frame

    def find(self, kept: StoredFrame) -> SourceFrame:
        """The kept frame. Raises VideoChangedError if the video has no frame with its index and timestamp."""
        index = kept.index or 0
        if self._source is not None and 0 <= index - self._next <= SEEK_COST_FRAMES:
            return self._checked(kept, self.forward(index))
        for back in SEEK_MARGINS_SECONDS:
            if index <= SEEK_COST_FRAMES or self._clock is Clock.REPEATS:
                break
            if (found := self._seek(kept, back)) is not None:
                return found
        self._open(None)
        return self._checked(kept, self.forward(index))

    def forward(self, index: int) -> SourceFrame:
        """The frame with an index not passed yet. Raises VideoChangedError if the video ends before it."""
        for frame in self._frames:
            number, self._next = self._next, self._next + 1
            if number == index:
                return replace(frame, index=number)
        raise VideoChangedError(
            f"{self._path} has no frame {index}, unlike the library: run `everyframe verify` for details"
        )

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def _seek(self, kept: StoredFrame, back: float) -> SourceFrame | None:
        """The kept frame after a seek; None if the seek lands after it or not on a key frame."""
        self._open(max(0.0, kept.timestamp - back))
        is_first = True
        for frame in self._frames:
            if (is_first and not frame.av_frame.key_frame) or frame.timestamp > kept.timestamp + SAME_SECONDS:
                return None
            is_first = False
            if abs(frame.timestamp - kept.timestamp) <= SAME_SECONDS:
                self._next = (kept.index or 0) + 1
                return replace(frame, index=kept.index)
        return None

    def _open(self, start: float | None) -> None:
        self.close()
        self._source = SourceFrames(self._path, start=start, clock=self._clock)
        self._frames, self._next = iter(self._source), 0

    def _checked(self, kept: StoredFrame, frame: SourceFrame) -> SourceFrame:
        if abs(frame.timestamp - kept.timestamp) > SAME_SECONDS:
            raise VideoChangedError(
                f"{self._path} has frame {kept.index} at another time than the library: "
                "run `everyframe verify` for details"
            )
        return frame


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit will do."""

    video: VideoRow
    seed: int
    left_out: int  # source frames that were not kept
    sampled: int  # of them are compared
    samples: list[SampledFrame]
    repeated_ids: frozenset[int]  # of kept frames that are described twice
    calls: int  # estimate; a flagged reply costs a second call
    seconds: float | None  # None if the model's speed has not been measured


def plan_audit(library: Library, video: VideoRow, describer: Describer, *, size: int, seed: int) -> AuditPlan:
    """Draw the sample and estimate the cost. Raises VideoError if the video is not extracted or its file is missing."""
    if video.extraction_status is not ExtractionStatus.EXTRACTED:
        raise VideoError(f"{video.title} is not fully extracted yet: run `everyframe extract {video.id}`")
    located(video)
    total = count_skipped(placed_frames(library.engine, video.id))
    samples = list(draw_sample(placed_frames(library.engine, video.id), total, size=size, seed=seed))
    repeats = min(MAX_REPEATS, max(MIN_REPEATS, round(len(samples) * REPEAT_SHARE)), len(samples))
    repeated = frozenset(samples[number * len(samples) // repeats].kept.id for number in range(repeats))
    sampled = sum(len(sample.indexes) for sample in samples)
    with reading(library.engine) as connection:
        known = checks.source_calls(connection, [sample.kept.id for sample in samples])
        speed = measured_speed(connection, library.settings)
    reused = sum(is_reusable(known.get((sample.kept.id, describer.target_pass)), describer) for sample in samples)
    calls = sampled + len(samples) - reused + len(repeated)
    return AuditPlan(video, seed, total, sampled, samples, repeated, calls, seconds_for(calls, speed, library.settings))


def is_reusable(call: checks.SourceCall | None, describer: Describer) -> bool:
    """Whether a stored call is of this describer and model. Describers that only measure are called again."""
    return call is not None and describer.is_model and (call.describer, call.model) == (describer.name, describer.model)


def count_skipped(rows: Iterable[StoredFrame]) -> int:
    """How many source frames were skipped: those the kept frames stand for, without themselves."""
    return sum((row.stands_for or 1) - 1 for row in rows)


def draw_sample(rows: Iterable[StoredFrame], total: int, *, size: int, seed: int) -> Iterator[SampledFrame]:
    """A uniform random sample of the `total` skipped frames, in the video's order."""
    chosen = iter(sorted(random.Random(seed).sample(range(total), min(size, total))))  # noqa: S311  # no secret
    rank = next(chosen, None)
    before = 0
    for row in rows:
        count = (row.stands_for or 1) - 1
        indexes = []
        while rank is not None and rank < before + count:
            indexes.append((row.index or 0) + 1 + rank - before)
            rank = next(chosen, None)
        if indexes:
            yield SampledFrame(row, tuple(indexes))
        before += count
        if rank is None:
            return
