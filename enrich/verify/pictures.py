"""The pictures of one video: whether each kept frame has its JPEG, and the film has each kept frame.

With the film decoded once from end to end, every frame's number and time are held against the film's, and every JPEG
against one made anew from that very frame. Without (`quick`), a JPEG only has to be whole and of the right shape.

One stored JPEG: whether it is whole, and whether it shows what it should.

Orphans: pictures below the frames folder that belong to no frame.

Only files that are named as extraction names them are looked at: whatever else lies there is somebody else's.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from db import checks, files
from db.checks import PlacedFrame
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.images import encode_frame, image_folder_name
from enrich.library.library import Library
from enrich.verify.findings import FindingKind, FindingLog, place_of
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, write_jpeg
from enrich.video.kept import FOLDER_SECONDS, image_name, microseconds
from enrich.video.likeness import DEFAULT_LIKENESS, WHITE, largest_change
from enrich.video.signals import Luma, small_size
from enrich.video.source import read_source_frame


class ImageState(StrEnum):
    """What is the matter with a JPEG."""

    GOOD = "good"
    MISSING = "missing"
    BROKEN = "broken"
    RESIZED = "resized"  # the same shape in another size: the settings may have been others when it was made
    SIZE = "size"
    OTHER = "other"


SAME_SECONDS = 1e-6
KINDS = {
    ImageState.MISSING: FindingKind.PICTURE_MISSING,
    ImageState.BROKEN: FindingKind.PICTURE_BROKEN,
    ImageState.RESIZED: FindingKind.PICTURE_SIZE,
    ImageState.SIZE: FindingKind.PICTURE_SIZE,
    ImageState.OTHER: FindingKind.PICTURE_OTHER,
}
OTHER_LEVELS = 16.0  # of 255, in a window: more than another size or quality makes, less than what is kept differs by
SIZE_ROUNDING_PIXELS = 1
MINUTE = re.compile(r"\d{5,}")
PICTURE = re.compile(r"-?\d{12,}\.jpg(\.part)?")
VIDEO_FOLDER = re.compile(r"\d+-[0-9a-f]*")


class ImageCheck:
    """The check of one video; `frames` counts the kept frames looked at."""

    def __init__(self, library: Library, video: VideoRow, ledger: FindingLog, *, mend: bool) -> None:
        self._library = library
        self._video = video
        self._ledger = ledger
        self._mend = mend
        self._resized: list[PlacedFrame] = []
        self.frames = 0

    def quick(self, *, has_file: bool) -> None:
        """Look at the JPEGs alone; `has_file`: the film is there, for what only it can decide or mend."""
        edge = self._library.settings.stored_edge
        size = stored_size(self._video.width, self._video.height, edge)
        for row in self._rows():
            self.frames += 1
            state = state_by_size(self._path(row), size)
            if state is ImageState.RESIZED:
                self._resized.append(row)
            elif state is not ImageState.GOOD:
                self._look_again(row, state, has_file=has_file)
        self._settle_resized(has_file=has_file)

    def full(self, on_decoded: Callable[[int], None]) -> None:
        """Decode the film and hold everything against it; `on_decoded` is told how many frames so far.

        Raises VideoError if it cannot be decoded, or is gone.
        """
        settings, video = self._library.settings, self._video
        rows = placed_frames(self._library.engine, video.id)
        row = next(rows, None)
        with reading(self._library.engine) as connection:
            loose = {microseconds(found.timestamp): found for found in checks.unplaced_frames(connection, video.id)}
        with SourceFrames(video.path) as source:
            encoder = JpegEncoder(
                rotation=video.rotation,
                edge=settings.stored_edge,
                quality=settings.jpeg_quality,
                sample_aspect=source.sample_aspect,
            )
            for frame in source:
                while row is not None and row.index is not None and row.index <= (frame.index or 0):
                    self._compare(row, frame, encoder)
                    row = next(rows, None)
                if loose and (found := loose.pop(microseconds(frame.timestamp), None)) is not None:
                    self._compare(found, frame, encoder)
                on_decoded(source.decoded)
            decoded = source.decoded
        for lost in (*([row] if row is not None else []), *rows, *loose.values()):
            self.frames += 1
            self._ledger.note(FindingKind.NOT_IN_FILE, video, place_of(lost.index, lost.timestamp))
        if video.extraction_status is ExtractionStatus.EXTRACTED and decoded != video.frame_count:
            self._ledger.note(FindingKind.COUNT, video, f"the film has {decoded} frames, not {video.frame_count}")
        self._settle_resized(has_file=True)

    def _compare(self, row: PlacedFrame, frame: SourceFrame, encoder: JpegEncoder) -> None:
        self.frames += 1
        is_placed = row.index is None or row.index == frame.index
        if not is_placed or abs(row.timestamp - frame.timestamp) > SAME_SECONDS:
            self._ledger.note(FindingKind.NOT_IN_FILE, self._video, place_of(row.index, row.timestamp))
            return
        expected = encoder.encode(frame.picture)
        state = state_by_picture(self._path(row), expected)
        if state is ImageState.RESIZED:
            self._resized.append(row)
        elif state is not ImageState.GOOD:
            self._note(row, state, expected)

    def _look_again(self, row: PlacedFrame, state: ImageState, *, has_file: bool) -> None:
        """A stream may change its size, so that the one frame of the film decides; it also mends."""
        expected = self._source_jpeg(row) if has_file and (self._mend or state is ImageState.SIZE) else None
        if expected is not None and state is ImageState.SIZE:
            state = state_by_picture(self._path(row), expected)
        if state not in (ImageState.GOOD, ImageState.RESIZED):
            self._note(row, state, expected)

    def _settle_resized(self, *, has_file: bool) -> None:
        """A size most of the video's pictures have is that of earlier settings; one that few have is an accident."""
        if len(self._resized) * 2 <= self.frames:
            for row in self._resized:
                expected = self._source_jpeg(row) if has_file and self._mend else None
                self._note(row, ImageState.RESIZED, expected)
        self._resized = []

    def _source_jpeg(self, row: PlacedFrame) -> bytes | None:
        near = (row.index, row.timestamp) if row.index is not None else None
        try:
            source = read_source_frame(self._video.path, timestamp=row.timestamp, near=near)
        except VideoError:
            return None
        if abs(source.timestamp - row.timestamp) > SAME_SECONDS:
            return None
        return encode_frame(self._library.settings, self._video, source)

    def _note(self, row: PlacedFrame, state: ImageState, expected: bytes | None) -> None:
        own = f"{image_folder_name(self._video.fingerprint)}/{image_name(row.timestamp)}"
        is_mended = self._mend and expected is not None and row.image_path == own
        if is_mended and expected is not None:
            write_jpeg(self._path(row), expected)
        self._ledger.note(KINDS[state], self._video, place_of(row.index, row.timestamp), mended=is_mended)

    def _rows(self) -> Iterator[PlacedFrame]:
        yield from placed_frames(self._library.engine, self._video.id)
        with reading(self._library.engine) as connection:
            loose = checks.unplaced_frames(connection, self._video.id)
        yield from loose

    def _path(self, row: PlacedFrame) -> Path:
        return self._library.frames_folder / row.image_path


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A JPEG that could be decoded: its size, and its small luma."""

    width: int
    height: int
    luma: Luma


def decode_image(jpeg: bytes) -> DecodedImage | None:
    """Decode all of a JPEG, at reduced size; None if any of it is broken."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        across, down = small_size(width, height)
        gray = simplejpeg.decode_jpeg(
            jpeg, "GRAY", min_width=min(across, width), min_height=min(down, height), min_factor=1
        )
    except (ValueError, OSError):
        return None
    small = cv2.resize(np.asarray(gray, np.uint8)[:, :, 0], (across, down), interpolation=cv2.INTER_AREA)
    return DecodedImage(width, height, np.asarray(small, np.uint8))


def state_by_size(path: Path, size: tuple[int, int]) -> ImageState:
    """Whether a JPEG is there, whole, and of the size (width, height) its frame should have."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    seen = decode_image(jpeg)
    return ImageState.BROKEN if seen is None else _by_size((seen.width, seen.height), size)


def state_by_picture(path: Path, expected: bytes) -> ImageState:
    """Whether a JPEG shows what `expected` shows, which was made from the very source frame just now."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    if jpeg == expected:
        return ImageState.GOOD
    seen, wanted = decode_image(jpeg), decode_image(expected)
    if seen is None:
        return ImageState.BROKEN
    if wanted is None:
        raise ValueError("a JPEG made just now cannot be decoded")
    state = _by_size((seen.width, seen.height), (wanted.width, wanted.height))
    if state is ImageState.GOOD:
        return ImageState.GOOD if largest_change(seen.luma, wanted.luma) <= OTHER_LEVELS else ImageState.OTHER
    if state is ImageState.RESIZED and _is_new_content(seen.luma, wanted.luma):
        return ImageState.OTHER
    return state


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size in which an upright picture of this size is stored."""
    scale = min(1.0, edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _by_size(one: tuple[int, int], other: tuple[int, int]) -> ImageState:
    if one == other:
        return ImageState.GOOD
    scale = max(one) / max(other)
    most = SIZE_ROUNDING_PIXELS * max(1.0, scale)
    is_same_shape = all(abs(theirs * scale - ours) <= most for ours, theirs in zip(one, other, strict=True))
    return ImageState.RESIZED if is_same_shape else ImageState.SIZE


def _is_new_content(luma: Luma, wanted: Luma) -> bool:
    """Whether one shows what the other does not; edges that a change of size made softer or harder are left out."""
    height, width = wanted.shape
    same = np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return DEFAULT_LIKENESS.measure(wanted, same) < 1 - OTHER_LEVELS / WHITE


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def check_orphans(library: Library, video: VideoRow, ledger: FindingLog, *, mend: bool) -> None:
    """Look for pictures of a video that none of its frames names; `mend` deletes them."""
    folder = library.frames_folder / image_folder_name(video.fingerprint)
    for minute in _minutes(folder):
        number = int(minute.name)
        start = number * FOLDER_SECONDS if number else -math.inf
        with reading(library.engine) as connection:
            known = files.image_paths_between(connection, video.id, start - 1, (number + 1) * FOLDER_SECONDS + 1)
        for file in _pictures(minute):
            name = f"{folder.name}/{minute.name}/{file.name}"
            if name not in known and not _is_named(library, video, name):
                _note(ledger, video, file, mend=mend)


def check_strangers(library: Library, ledger: FindingLog, *, mend: bool) -> None:
    """Look for pictures of videos the library does not have; `mend` deletes them."""
    with reading(library.engine) as connection:
        known = {image_folder_name(fingerprint) for fingerprint in files.fingerprints(connection)}
    if not library.frames_folder.is_dir():
        return
    for folder in sorted(library.frames_folder.iterdir()):
        if folder.name in known or not VIDEO_FOLDER.fullmatch(folder.name):
            continue
        for minute in _minutes(folder):
            for file in _pictures(minute):
                _note(ledger, None, file, mend=mend)
        if mend and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _is_named(library: Library, video: VideoRow, name: str) -> bool:
    """Whether a frame names it by now, or at another time than its own."""
    with reading(library.engine) as connection:
        return files.uses_image(connection, video.id, name)


def _minutes(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(minute for minute in folder.iterdir() if minute.is_dir() and MINUTE.fullmatch(minute.name))


def _pictures(minute: Path) -> Iterator[Path]:
    """The pictures in a folder, listed before anything is done with them."""
    yield from sorted(file for file in minute.iterdir() if file.is_file() and PICTURE.fullmatch(file.name))


def _note(ledger: FindingLog, video: VideoRow | None, file: Path, *, mend: bool) -> None:
    if mend:
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
    ledger.note(FindingKind.ORPHAN, video, str(file), mended=mend)
