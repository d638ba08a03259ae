"""Pairs: the pictures of frames that were left out, each beside that of the kept frame that stands for it.

The film is decoded onward while the next kept frame is near, and sought where it is far: a seek into a film with a key
frame every 250 frames costs about as much as decoding 130 of them (1080p H.264, two cores), so that a sample takes
about as long as decoding 130 frames each, or the whole film, whichever is less.

The plan of an audit: which frames it will compare, and what that will take.

The sample: source frames that were left out, drawn at random, each with the kept frame that stands for it.
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
from db.checks import PlacedFrame
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.describe.describer import Describer
from enrich.describe.image import decode
from enrich.errors import VideoChangedError, VideoError
from enrich.library.images import require_same_file
from enrich.library.library import Library
from enrich.schedule.forecast import measured_speed, seconds_for
from enrich.settings import Settings
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder
from enrich.video.likeness import DEFAULT_LIKENESS, largest_change
from enrich.video.signals import LONG_EDGE_PIXELS, Luma, LumaShrinker, small_size


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A kept frame, and those of the sample it stands for, by their source numbers."""

    kept: PlacedFrame
    indexes: tuple[int, ...]


SEEK_FRAMES = 130
MOST_TOGETHER = 8  # frames that one call at once works off: a long still shot is shared between all
STEPS_BACK_SECONDS = (0.0, 2.0, 10.0)
SAME_SECONDS = 1e-6
ANOTHER_SIZE = 0.97
ANOTHER_QUALITY = 75
SEEN_TWICE_SHARE = 0.1  # of the kept frames are described once more, re-encoded: at least and at most so many
SEEN_TWICE_LEAST, SEEN_TWICE_MOST = 8, 20


@dataclass(frozen=True, slots=True)
class SkippedFrame:
    """A frame that was left out; `likeness` (of luma) and `change` (of colours, 0 to 255) are against the kept one."""

    index: int
    timestamp: float
    jpeg: bytes
    likeness: float
    change: float


@dataclass(frozen=True, slots=True)
class ComparedFrame:
    """A kept frame, its picture made anew in the same way as those of the frames it stands for, and some of these."""

    kept: PlacedFrame
    jpeg: bytes
    luma: Luma
    others: tuple[SkippedFrame, ...]
    is_first: bool  # of its kept frame


def compared_frames(
    settings: Settings, video: VideoRow, stands: Iterable[SampledFrame]
) -> Generator[ComparedFrame, None, None]:
    """The pictures of a sample, in the film's order. Raises VideoError."""
    film = _VideoReader(Path(video.path))
    shrinker = LumaShrinker()
    encoder: JpegEncoder | None = None
    try:
        for stand in stands:
            first = film.find(stand.kept)
            if encoder is None:
                encoder = JpegEncoder(
                    rotation=video.rotation,
                    edge=settings.stored_edge,
                    quality=settings.jpeg_quality,
                    sample_aspect=first.sample_aspect,
                )
            luma, jpeg = shrinker.shrink(first.picture), encoder.encode(first.picture)
            del first  # a picture is large
            for start in range(0, len(stand.indexes), MOST_TOGETHER):
                others = []
                for index in stand.indexes[start : start + MOST_TOGETHER]:
                    frame = film.forward(index)
                    other = shrinker.shrink(frame.picture)
                    left = encoder.encode(frame.picture)
                    likeness, change = DEFAULT_LIKENESS.measure(luma, other), colour_change(jpeg, left)
                    others.append(SkippedFrame(index, frame.timestamp, left, likeness, change))
                yield ComparedFrame(stand.kept, jpeg, luma, tuple(others), is_first=not start)
    finally:
        film.close()


def colour_change(one: bytes, other: bytes) -> float:
    """The largest change of a window in any of red, green and blue, 0 to 255: likeness does not see colours."""
    small, like = _small(one), _small(other)
    return max(largest_change(small[..., channel], like[..., channel]) for channel in range(3))


def another(jpeg: bytes) -> bytes:
    """The same picture to a person, and another one to the last pixel: a little smaller, and encoded anew."""
    pixels = np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"), np.uint8)
    size = (max(1, round(pixels.shape[1] * ANOTHER_SIZE)), max(1, round(pixels.shape[0] * ANOTHER_SIZE)))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(smaller), ANOTHER_QUALITY, "RGB", "420"))


def _small(jpeg: bytes) -> NDArray[np.uint8]:
    pixels = decode(jpeg, LONG_EDGE_PIXELS)
    size = small_size(pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class _VideoReader:
    """A film that is read onward, or from the key frame before a known frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: SourceFrames | None = None
        self._frames: Iterator[SourceFrame] = iter(())
        self._next = 0  # the number of the next frame

    def find(self, kept: PlacedFrame) -> SourceFrame:
        """The kept frame. Raises VideoChangedError if the film has none of its number and time."""
        index = kept.index or 0
        if self._source is not None and 0 <= index - self._next <= SEEK_FRAMES:
            return self._checked(kept, self.forward(index))
        for back in STEPS_BACK_SECONDS:
            if index <= SEEK_FRAMES:
                break
            if (found := self._seek(kept, back)) is not None:
                return found
        self._open(None)
        return self._checked(kept, self.forward(index))

    def forward(self, index: int) -> SourceFrame:
        """The frame of a number not passed yet. Raises VideoChangedError if the film ends before."""
        for frame in self._frames:
            number, self._next = self._next, self._next + 1
            if number == index:
                return replace(frame, index=number)
        raise VideoChangedError(f"{self._path} has no frame {index}: `everyframe verify` says more")

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def _seek(self, kept: PlacedFrame, back: float) -> SourceFrame | None:
        """The kept frame after a seek; None if the seek lands behind it, or not on a key frame."""
        self._open(max(0.0, kept.timestamp - back))
        is_first = True
        for frame in self._frames:
            if (is_first and not frame.picture.key_frame) or frame.timestamp > kept.timestamp + SAME_SECONDS:
                return None
            is_first = False
            if abs(frame.timestamp - kept.timestamp) <= SAME_SECONDS:
                self._next = (kept.index or 0) + 1
                return replace(frame, index=kept.index)
        return None

    def _open(self, start: float | None) -> None:
        self.close()
        self._source = SourceFrames(self._path, start=start)
        self._frames, self._next = iter(self._source), 0

    def _checked(self, kept: PlacedFrame, frame: SourceFrame) -> SourceFrame:
        if abs(frame.timestamp - kept.timestamp) > SAME_SECONDS:
            raise VideoChangedError(
                f"{self._path} has frame {kept.index} at another time than the library: `everyframe verify` says more"
            )
        return frame


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit will do. `calls` is a guess: doubtful replies are asked for twice."""

    video: VideoRow
    seed: int
    left_out: int  # source frames
    sampled: int
    stands: list[SampledFrame]
    seen_twice: frozenset[int]  # ids of kept frames
    calls: int
    seconds: float | None  # None: not measured


def plan_audit(library: Library, video: VideoRow, describer: Describer, *, size: int, seed: int) -> AuditPlan:
    """Draw the sample and say what it will take. Raises VideoError if the video is not extracted, or not there."""
    if video.extraction_status is not ExtractionStatus.EXTRACTED:
        raise VideoError(f"{video.title} is not decoded to its end yet: run `everyframe extract {video.id}`")
    require_same_file(video)
    total = skipped_frames(placed_frames(library.engine, video.id))
    stands = list(draw(placed_frames(library.engine, video.id), total, size=size, seed=seed))
    wanted = min(SEEN_TWICE_MOST, max(SEEN_TWICE_LEAST, round(len(stands) * SEEN_TWICE_SHARE)), len(stands))
    twice = frozenset(stands[number * len(stands) // wanted].kept.id for number in range(wanted))
    sampled = sum(len(stand.indexes) for stand in stands)
    with reading(library.engine) as connection:
        known = checks.source_calls(connection, [stand.kept.id for stand in stands])
        speed = measured_speed(connection, library.settings)
    reused = sum(is_of(known.get((stand.kept.id, describer.target_pass)), describer) for stand in stands)
    calls = sampled + len(stands) - reused + len(twice)
    return AuditPlan(video, seed, total, sampled, stands, twice, calls, seconds_for(calls, speed, library.settings))


def is_of(saying: checks.SourceCall | None, describer: Describer) -> bool:
    """Whether a call was this describer's and model's, and says all it has to say: what measures is asked again."""
    return (
        saying is not None
        and describer.is_model
        and (saying.describer, saying.model) == (describer.name, describer.model)
    )


def skipped_frames(rows: Iterable[PlacedFrame]) -> int:
    """How many source frames the kept ones stand for, without themselves."""
    return sum((row.stands_for or 1) - 1 for row in rows)


def draw(rows: Iterable[PlacedFrame], total: int, *, size: int, seed: int) -> Iterator[SampledFrame]:
    """A sample of the `total` frames left out, in the film's order: each is as likely as any other."""
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
