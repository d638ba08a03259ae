"""Images of source frames, kept or not: one frame with its likeness to the kept frame, or a strip of several.

A strip's images are saved in the video's strip folder. They may be deleted at any time, since they can be decoded
again; beyond a limit the library's oldest ones are deleted.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from db import queries
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import FrameRow, VideoRow
from enrich.library.images import clock_of, encode_frame, jpeg_format, located, read_kept_frame
from enrich.library.library import Library
from enrich.library.media import STRIPS_FOLDER, strip_folder
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.jpeg import JpegEncoder, write_jpeg
from enrich.video.likeness import DEFAULT_LIKENESS
from enrich.video.signals import Luma, LumaShrinker
from enrich.video.source import SAME_SECONDS, FrameNotFoundError, read_source_frame, read_source_frames

MAX_FILES = 500  # strip images of a library
END_OF_VIDEO = float("inf")


@dataclass(frozen=True, slots=True)
class SourceFrameImage:
    """A source frame. `likeness` compares it to the kept frame that represents it; 1 for a kept frame."""

    index: int | None
    timestamp: float
    is_kept: bool
    likeness: float | None
    jpeg: bytes | None


def find_source_frame(
    settings: Settings,
    video: VideoRow,
    kept: FrameRow | None,
    *,
    index: int | None,
    timestamp: float | None,
    with_image: bool,
) -> SourceFrameImage:
    """Decode the source frame `index`, or the one shown at `timestamp`; `kept` is the frame that stands for it.

    Raises VideoError if the file is missing or has changed, or has no such frame.
    """
    is_known = (
        kept is not None
        and kept.index is not None
        and (kept.index == index if index is not None else kept.stands_for == 1)
    )
    if kept is not None and is_known and not with_image:
        return SourceFrameImage(kept.index, kept.timestamp, is_kept=True, likeness=1.0, jpeg=None)
    video = located(video)
    near = (kept.index, kept.timestamp) if kept is not None and kept.index is not None else None
    source = read_source_frame(video.path, index=index, timestamp=timestamp, near=near, clock=clock_of(video))
    jpeg = encode_frame(settings, video, source) if with_image else None
    if kept is None:
        return SourceFrameImage(source.index, source.timestamp, is_kept=False, likeness=None, jpeg=jpeg)
    if abs(source.timestamp - kept.timestamp) <= SAME_SECONDS:  # the kept frame itself
        return SourceFrameImage(source.index, source.timestamp, is_kept=True, likeness=1.0, jpeg=jpeg)
    likeness = _likeness(read_kept_frame(video, kept), source)
    return SourceFrameImage(source.index, source.timestamp, is_kept=False, likeness=likeness, jpeg=jpeg)


def _likeness(kept: SourceFrame, other: SourceFrame) -> float:
    shrinker = LumaShrinker()
    return DEFAULT_LIKENESS.measure(shrinker.shrink(kept.av_frame), shrinker.shrink(other.av_frame))


@dataclass(frozen=True, slots=True)
class StripFrame:
    """One source frame of a strip, the kept frame that stands for it (itself, if kept), and their likeness.

    Both are None if decoding has not reached this frame yet.
    """

    index: int
    timestamp: float
    kept_frame_id: int | None
    likeness: float | None


def make_strip(library: Library, video: VideoRow, first: int, last: int) -> list[StripFrame]:
    """Save the source frames `first` to `last`, as far as they exist, in the video's strip folder.

    Raises VideoError if the file is missing or has changed, or ends before the first of them.
    """
    video = located(video)
    with reading(library.engine) as connection:
        represented_by = queries.frame_of_index(connection, video.id, first)
        known = represented_by or queries.frame_at(connection, video.id, END_OF_VIDEO, is_placed=True)
        after = known.timestamp if known is not None else -1.0
        kept = [represented_by] if represented_by is not None else []
        if kept:
            kept += queries.frames(connection, video.id, after=after, limit=last - first + 1)
    near = (known.index, known.timestamp) if known is not None and known.index is not None else None
    start = kept[0].index if kept and kept[0].index is not None else first
    matcher = _FrameMatcher(kept)
    folder = _StripFolder(library.settings, video)
    found = []
    for source in read_source_frames(video.path, start, last, near=near, clock=clock_of(video)):
        frame = matcher.match(source)
        if frame.index >= first:
            folder.save(frame.index, source)
            found.append(frame)
    if not found:
        is_counted = video.extraction_status is ExtractionStatus.EXTRACTED and video.frame_count
        end = f"it has {video.frame_count} frames, counted from 0" if is_counted else "it ends before"
        raise FrameNotFoundError(f"{Path(video.path).name} has no frame {first}: {end}")
    folder.delete_oldest()
    return found


class _FrameMatcher:
    """Finds the kept frame that stands for each source frame. Source frames must come in order, from a kept one."""

    def __init__(self, kept: Iterable[FrameRow]) -> None:
        self._kept = {frame.index: frame for frame in kept if frame.index is not None}
        self._shrinker = LumaShrinker()
        self._current: FrameRow | None = None
        self._luma: Luma | None = None

    def match(self, source: SourceFrame) -> StripFrame:
        index = source.index or 0
        luma = self._shrinker.shrink(source.av_frame)
        if index in self._kept:
            self._current, self._luma = self._kept[index], luma
        current = self._current
        if current is None or self._luma is None or index >= (current.index or 0) + (current.stands_for or 1):
            return StripFrame(index, source.timestamp, None, None)
        likeness = 1.0 if index == current.index else DEFAULT_LIKENESS.measure(self._luma, luma)
        return StripFrame(index, source.timestamp, current.id, likeness)


class _StripFolder:
    """Saves images in the video's strip folder. For an existing image only its time is updated."""

    def __init__(self, settings: Settings, video: VideoRow) -> None:
        self._settings = settings
        self._video = video
        self._folder = strip_folder(settings, video.id)
        self._encoder: JpegEncoder | None = None
        self._saved: set[Path] = set()

    def save(self, index: int, source: SourceFrame) -> None:
        path = self._folder / f"{index}.jpg"
        self._saved.add(path)
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        if self._encoder is None:
            self._encoder = JpegEncoder(jpeg_format(self._settings, self._video), sample_aspect=source.sample_aspect)
        write_jpeg(path, self._encoder.encode(source.av_frame), is_folder_synced=False)

    def delete_oldest(self) -> None:
        """Delete the library's oldest images beyond the limit, except those just saved."""
        aged = []
        for path in (self._settings.home / STRIPS_FOLDER).glob("*/*.jpg"):
            with suppress(OSError):  # another process may delete it at the same time
                aged.append((path.stat().st_mtime, path))
        for _, path in sorted(aged)[: max(0, len(aged) - MAX_FILES)]:
            if path not in self._saved:
                path.unlink(missing_ok=True)
