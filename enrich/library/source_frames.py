"""A strip: source frames around one of a video, decoded in one go and left as JPEGs to be looked at.

What lies there may be deleted at any time: it is made again. Of a library's pictures the oldest go.

Looking up one source frame of a video, kept or not, and how alike it is to the kept frame that stands for it.
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
from enrich.library.library import Library
from enrich.library.media import STRIPS_FOLDER, strip_folder
from enrich.library.pictures import jpeg_format, jpeg_of, require_same_file
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.jpeg import JpegEncoder, write_jpeg
from enrich.video.likeness import DEFAULT_LIKENESS
from enrich.video.signals import Luma, LumaShrinker
from enrich.video.source import FrameNotFoundError, read_source_frame, read_source_frames

MOST_FILES = 500  # of a library
LAST_SECOND = float("inf")


@dataclass(frozen=True, slots=True)
class SourceFrameImage:
    """A source frame. `likeness` is that to the kept frame standing for it, 1 for that frame itself."""

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
    with_picture: bool,
) -> SourceFrameImage:
    """Decode the source frame `index`, or the one shown at `timestamp`; `kept` is the one that stands for it.

    Raises VideoError: the file is gone or another, or has no such frame.
    """
    is_known = (
        kept is not None
        and kept.index is not None
        and (kept.index == index if index is not None else kept.stands_for == 1)
    )
    if kept is not None and is_known and not with_picture:
        return SourceFrameImage(kept.index, kept.timestamp, is_kept=True, likeness=1.0, jpeg=None)
    require_same_file(video)
    near = (kept.index, kept.timestamp) if kept is not None and kept.index is not None else None
    source = read_source_frame(video.path, index=index, timestamp=timestamp, near=near)
    jpeg = jpeg_of(settings, video, source) if with_picture else None
    if kept is None:
        return SourceFrameImage(source.index, source.timestamp, is_kept=False, likeness=None, jpeg=jpeg)
    if abs(source.timestamp - kept.timestamp) < 1e-6:  # noqa: PLR2004  # the very frame
        return SourceFrameImage(source.index, source.timestamp, is_kept=True, likeness=1.0, jpeg=jpeg)
    likeness = _likeness(read_source_frame(video.path, timestamp=kept.timestamp, near=near), source)
    return SourceFrameImage(source.index, source.timestamp, is_kept=False, likeness=likeness, jpeg=jpeg)


def _likeness(kept: SourceFrame, other: SourceFrame) -> float:
    shrinker = LumaShrinker()
    return DEFAULT_LIKENESS.measure(shrinker.shrink(kept.av_frame), shrinker.shrink(other.av_frame))


@dataclass(frozen=True, slots=True)
class StripFrame:
    """One source frame of a strip: the kept frame that stands for it (itself, if kept), and how alike they are.

    Both None: decoding has not come so far.
    """

    index: int
    timestamp: float
    kept_frame_id: int | None
    likeness: float | None


def make_strip(library: Library, video: VideoRow, first: int, last: int) -> list[StripFrame]:
    """Leave the source frames `first` to `last`, as far as there are any, in the video's strip folder.

    Raises VideoError: the file is gone or another, or ends before the first of them.
    """
    require_same_file(video)
    with reading(library.engine) as connection:
        stands = queries.frame_of_index(connection, video.id, first)
        known = stands or queries.frame_at(connection, video.id, LAST_SECOND, is_placed=True)
        after = known.timestamp if known is not None else -1.0
        kept = queries.frames(connection, video.id, after=after, limit=last - first + 1) if stands is not None else []
    near = (known.index, known.timestamp) if known is not None and known.index is not None else None
    start = stands.index if stands is not None and stands.index is not None else first
    comparing, leaving = (
        _FrameMatcher([stands, *kept] if stands is not None else []),
        _StripFolder(library.settings, video),
    )
    found = []
    for source in read_source_frames(video.path, start, last, near=near):
        one = comparing.look(source)
        if one.index >= first:
            leaving.leave(one.index, source)
            found.append(one)
    if not found:
        is_counted = video.extraction_status is ExtractionStatus.EXTRACTED and video.frame_count
        ends = f"it has {video.frame_count} frames, counted from 0" if is_counted else "it ends before"
        raise FrameNotFoundError(f"{Path(video.path).name} has no frame {first}: {ends}")
    leaving.forget_oldest()
    return found


class _FrameMatcher:
    """Knows which kept frame stands for the source frame that is looked at; given one after the other, from a kept."""

    def __init__(self, kept: Iterable[FrameRow]) -> None:
        self._kept = {frame.index: frame for frame in kept if frame.index is not None}
        self._shrinker = LumaShrinker()
        self._now: FrameRow | None = None
        self._luma: Luma | None = None

    def look(self, source: SourceFrame) -> StripFrame:
        index = source.index or 0
        luma = self._shrinker.shrink(source.av_frame)
        if index in self._kept:
            self._now, self._luma = self._kept[index], luma
        now = self._now
        if now is None or self._luma is None or index >= (now.index or 0) + (now.stands_for or 1):
            return StripFrame(index, source.timestamp, None, None)
        likeness = 1.0 if index == now.index else DEFAULT_LIKENESS.measure(self._luma, luma)
        return StripFrame(index, source.timestamp, now.id, likeness)


class _StripFolder:
    """Leaves pictures in the video's strip folder; one that lies there is only marked as used."""

    def __init__(self, settings: Settings, video: VideoRow) -> None:
        self._settings = settings
        self._video = video
        self._folder = strip_folder(settings, video.id)
        self._encoder: JpegEncoder | None = None
        self._left: set[Path] = set()

    def leave(self, index: int, source: SourceFrame) -> None:
        path = self._folder / f"{index}.jpg"
        self._left.add(path)
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        if self._encoder is None:
            self._encoder = JpegEncoder(jpeg_format(self._settings, self._video), sample_aspect=source.sample_aspect)
        write_jpeg(path, self._encoder.encode(source.av_frame), is_folder_synced=False)

    def forget_oldest(self) -> None:
        """Delete what is beyond the library's number of pictures, but nothing that was just left."""
        aged = []
        for path in (self._settings.home / STRIPS_FOLDER).glob("*/*.jpg"):
            with suppress(OSError):  # another strip's may go meanwhile
                aged.append((path.stat().st_mtime, path))
        for _, path in sorted(aged)[: max(0, len(aged) - MOST_FILES)]:
            if path not in self._left:
                path.unlink(missing_ok=True)
