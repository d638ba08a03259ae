"""Pairs: the pictures of frames that were left out, each beside that of the kept frame that stands for it.

The film is decoded onward while the next kept frame is near, and sought where it is far: a seek into a film with a key
frame every 250 frames costs about as much as decoding 130 of them (1080p H.264, two cores), so that a sample takes
about as long as decoding 130 frames each, or the whole film, whichever is less.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from db.checks import Placed
from db.queries import VideoRow
from enrich.audit.sample import Stand
from enrich.describe.picture import decoded
from enrich.errors import VideoChangedError
from enrich.settings import Settings
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder
from enrich.video.likeness import DEFAULT_LIKENESS, largest_change
from enrich.video.luma import LONG_EDGE_PIXELS, Luma, LumaShrinker, small_size

SEEK_FRAMES = 130
MOST_TOGETHER = 8  # frames that one call at once works off: a long still shot is shared between all
STEPS_BACK_SECONDS = (0.0, 2.0, 10.0)
SAME_SECONDS = 1e-6
ANOTHER_SIZE = 0.97
ANOTHER_QUALITY = 75


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A frame that was left out; `likeness` (of luma) and `change` (of colours, 0 to 255) are against the kept one."""

    index: int
    timestamp: float
    jpeg: bytes
    likeness: float
    change: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A kept frame, its picture made anew in the same way as those of the frames it stands for, and some of these."""

    kept: Placed
    jpeg: bytes
    luma: Luma
    others: tuple[LeftOut, ...]
    is_first: bool  # of its kept frame


def seen(settings: Settings, video: VideoRow, stands: Iterable[Stand]) -> Generator[Seen, None, None]:
    """The pictures of a sample, in the film's order. Raises VideoError."""
    film = _Film(Path(video.path))
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
                    others.append(LeftOut(index, frame.timestamp, left, likeness, change))
                yield Seen(stand.kept, jpeg, luma, tuple(others), is_first=not start)
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
    pixels = decoded(jpeg, LONG_EDGE_PIXELS)
    size = small_size(pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Film:
    """A film that is read onward, or from the key frame before a known frame."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: SourceFrames | None = None
        self._frames: Iterator[SourceFrame] = iter(())
        self._next = 0  # the number of the next frame

    def find(self, kept: Placed) -> SourceFrame:
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

    def _seek(self, kept: Placed, back: float) -> SourceFrame | None:
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

    def _checked(self, kept: Placed, frame: SourceFrame) -> SourceFrame:
        if abs(frame.timestamp - kept.timestamp) > SAME_SECONDS:
            raise VideoChangedError(
                f"{self._path} has frame {kept.index} at another time than the library: `everyframe verify` says more"
            )
        return frame
