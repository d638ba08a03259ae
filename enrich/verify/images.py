"""Checks of stored images: whether each kept frame has its JPEG and exists in the video, and orphaned image files.

A full check decodes the video once and compares every frame's index and timestamp with the video's, and every JPEG with
one encoded from that source frame. A quick check only requires that each JPEG decodes and has the right shape. Orphans
are image files that belong to no frame. Only files with names that extraction creates are considered, so other files in
the folder are never deleted.
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
from db.checks import StoredFrame
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.images import encode_frame, image_folder_name, jpeg_format
from enrich.library.library import Library
from enrich.verify.findings import FindingKind, FindingLog, frame_label
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, write_jpeg
from enrich.video.kept import FOLDER_SECONDS, image_name, microseconds
from enrich.video.likeness import DEFAULT_LIKENESS, WHITE, largest_change
from enrich.video.signals import Luma, small_size
from enrich.video.source import read_source_frame


class ImageState(StrEnum):
    """The result of comparing a stored JPEG with its frame."""

    GOOD = "good"
    MISSING = "missing"
    BROKEN = "broken"
    RESIZED = "resized"  # the right shape in another size, perhaps from earlier settings
    SIZE = "size"
    DIFFERENT = "different"


SAME_SECONDS = 1e-6
FINDING_KINDS = {
    ImageState.MISSING: FindingKind.IMAGE_MISSING,
    ImageState.BROKEN: FindingKind.IMAGE_BROKEN,
    ImageState.RESIZED: FindingKind.IMAGE_SIZE,
    ImageState.SIZE: FindingKind.IMAGE_SIZE,
    ImageState.DIFFERENT: FindingKind.IMAGE_DIFFERENT,
}
DIFFERENT_LEVELS = 16.0  # of 255, in a window: more than resizing or re-encoding changes, less than kept frames differ
SIZE_ROUNDING_PIXELS = 1
MINUTE_FOLDER = re.compile(r"\d{5,}")
IMAGE_FILE = re.compile(r"-?\d{12,}\.jpg(\.part)?")
VIDEO_FOLDER = re.compile(r"\d+-[0-9a-f]*")


class ImageCheck:
    """Checks the images of one video; `frames` counts the kept frames checked."""

    def __init__(self, library: Library, video: VideoRow, findings: FindingLog, *, repair: bool) -> None:
        self._library = library
        self._video = video
        self._findings = findings
        self._repair = repair
        self._resized: list[StoredFrame] = []
        self.frames = 0

    def check_files(self, *, has_file: bool) -> None:
        """Check the JPEGs without decoding the video. `has_file`: the video file is available for single frames."""
        edge = self._library.settings.stored_edge
        size = expected_size(self._video.width, self._video.height, edge)
        for row in self._rows():
            self.frames += 1
            state = check_image_size(self._path(row), size)
            if state is ImageState.RESIZED:
                self._resized.append(row)
            elif state is not ImageState.GOOD:
                self._recheck(row, state, has_file=has_file)
        self._check_resized(has_file=has_file)

    def check_with_video(self, on_decoded: Callable[[int], None]) -> None:
        """Decode the video and compare everything with it. `on_decoded` gets the number of frames decoded so far.

        Raises VideoError if the video is missing or cannot be decoded.
        """
        settings, video = self._library.settings, self._video
        rows = placed_frames(self._library.engine, video.id)
        row = next(rows, None)
        with reading(self._library.engine) as connection:
            unplaced = {microseconds(row.timestamp): row for row in checks.unplaced_frames(connection, video.id)}
        with SourceFrames(video.path) as source:
            encoder = JpegEncoder(jpeg_format(settings, video), sample_aspect=source.sample_aspect)
            for frame in source:
                while row is not None and row.index is not None and row.index <= (frame.index or 0):
                    self._compare(row, frame, encoder)
                    row = next(rows, None)
                if unplaced and (found := unplaced.pop(microseconds(frame.timestamp), None)) is not None:
                    self._compare(found, frame, encoder)
                on_decoded(source.decoded)
            decoded = source.decoded
        for missing in (*([row] if row is not None else []), *rows, *unplaced.values()):
            self.frames += 1
            self._findings.add(FindingKind.NOT_IN_FILE, video, frame_label(missing.index, missing.timestamp))
        if video.extraction_status is ExtractionStatus.EXTRACTED and decoded != video.frame_count:
            self._findings.add(
                FindingKind.COUNT, video, f"the video file has {decoded} frames, not {video.frame_count}"
            )
        self._check_resized(has_file=True)

    def _compare(self, row: StoredFrame, frame: SourceFrame, encoder: JpegEncoder) -> None:
        self.frames += 1
        is_placed = row.index is None or row.index == frame.index
        if not is_placed or abs(row.timestamp - frame.timestamp) > SAME_SECONDS:
            self._findings.add(FindingKind.NOT_IN_FILE, self._video, frame_label(row.index, row.timestamp))
            return
        expected = encoder.encode(frame.av_frame)
        state = compare_image(self._path(row), expected)
        if state is ImageState.RESIZED:
            self._resized.append(row)
        elif state is not ImageState.GOOD:
            self._note(row, state, expected)

    def _recheck(self, row: StoredFrame, state: ImageState, *, has_file: bool) -> None:
        """Compare with the source frame, because a stream may change its size; also repairs."""
        expected = self._source_jpeg(row) if has_file and (self._repair or state is ImageState.SIZE) else None
        if expected is not None and state is ImageState.SIZE:
            state = compare_image(self._path(row), expected)
        if state not in (ImageState.GOOD, ImageState.RESIZED):
            self._note(row, state, expected)

    def _check_resized(self, *, has_file: bool) -> None:
        """Images of another size are accepted if most have it, as from earlier settings; a few are an error."""
        if len(self._resized) * 2 <= self.frames:
            for row in self._resized:
                expected = self._source_jpeg(row) if has_file and self._repair else None
                self._note(row, ImageState.RESIZED, expected)
        self._resized = []

    def _source_jpeg(self, row: StoredFrame) -> bytes | None:
        near = (row.index, row.timestamp) if row.index is not None else None
        try:
            source = read_source_frame(self._video.path, timestamp=row.timestamp, near=near)
        except VideoError:
            return None
        if abs(source.timestamp - row.timestamp) > SAME_SECONDS:
            return None
        return encode_frame(self._library.settings, self._video, source)

    def _note(self, row: StoredFrame, state: ImageState, expected: bytes | None) -> None:
        own = f"{image_folder_name(self._video.fingerprint)}/{image_name(row.timestamp)}"
        is_repaired = self._repair and expected is not None and row.image_path == own
        if is_repaired and expected is not None:
            write_jpeg(self._path(row), expected)
        self._findings.add(
            FINDING_KINDS[state], self._video, frame_label(row.index, row.timestamp), repaired=is_repaired
        )

    def _rows(self) -> Iterator[StoredFrame]:
        yield from placed_frames(self._library.engine, self._video.id)
        with reading(self._library.engine) as connection:
            unplaced = checks.unplaced_frames(connection, self._video.id)
        yield from unplaced

    def _path(self, row: StoredFrame) -> Path:
        return self._library.frames_folder / row.image_path


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded JPEG: its size in pixels and its reduced luma."""

    width: int
    height: int
    luma: Luma


def decode_image(jpeg: bytes) -> DecodedImage | None:
    """Decode a JPEG completely, at reduced size; None if any part is broken."""
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


def check_image_size(path: Path, size: tuple[int, int]) -> ImageState:
    """Whether a JPEG exists, decodes, and has the size (width, height) expected of its frame."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    image = decode_image(jpeg)
    return ImageState.BROKEN if image is None else _compare_size((image.width, image.height), size)


def compare_image(path: Path, expected: bytes) -> ImageState:
    """Whether a JPEG shows the same as `expected`, a JPEG newly encoded from its source frame."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    if jpeg == expected:
        return ImageState.GOOD
    image, wanted = decode_image(jpeg), decode_image(expected)
    if image is None:
        return ImageState.BROKEN
    if wanted is None:
        raise ValueError("a newly encoded JPEG cannot be decoded")
    state = _compare_size((image.width, image.height), (wanted.width, wanted.height))
    if state is ImageState.GOOD:
        return ImageState.GOOD if largest_change(image.luma, wanted.luma) <= DIFFERENT_LEVELS else ImageState.DIFFERENT
    if state is ImageState.RESIZED and _is_new_content(image.luma, wanted.luma):
        return ImageState.DIFFERENT
    return state


def expected_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The stored size (width, height) of an upright frame of this size."""
    scale = min(1.0, edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _compare_size(one: tuple[int, int], other: tuple[int, int]) -> ImageState:
    if one == other:
        return ImageState.GOOD
    scale = max(one) / max(other)
    most = SIZE_ROUNDING_PIXELS * max(1.0, scale)
    is_same_shape = all(abs(theirs * scale - ours) <= most for ours, theirs in zip(one, other, strict=True))
    return ImageState.RESIZED if is_same_shape else ImageState.SIZE


def _is_new_content(luma: Luma, wanted: Luma) -> bool:
    """Whether one shows content that the other does not, ignoring edges blurred or sharpened by resizing."""
    height, width = wanted.shape
    same = np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return DEFAULT_LIKENESS.measure(wanted, same) < 1 - DIFFERENT_LEVELS / WHITE


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def find_orphans(library: Library, video: VideoRow, findings: FindingLog, *, repair: bool) -> None:
    """Find image files of a video that belong to none of its frames; `repair` deletes them."""
    folder = library.frames_folder / image_folder_name(video.fingerprint)
    for minute in _minute_folders(folder):
        number = int(minute.name)
        start = number * FOLDER_SECONDS if number else -math.inf
        with reading(library.engine) as connection:
            known = files.image_paths_between(connection, video.id, start - 1, (number + 1) * FOLDER_SECONDS + 1)
        for file in _image_files(minute):
            name = f"{folder.name}/{minute.name}/{file.name}"
            if name not in known and not _is_used(library, video, name):
                _add_orphan(findings, video, file, repair=repair)


def find_unknown_folders(library: Library, findings: FindingLog, *, repair: bool) -> None:
    """Find image files of videos that are not in the library; `repair` deletes them."""
    with reading(library.engine) as connection:
        known = {image_folder_name(fingerprint) for fingerprint in files.fingerprints(connection)}
    if not library.frames_folder.is_dir():
        return
    for folder in sorted(library.frames_folder.iterdir()):
        if folder.name in known or not VIDEO_FOLDER.fullmatch(folder.name):
            continue
        for minute in _minute_folders(folder):
            for file in _image_files(minute):
                _add_orphan(findings, None, file, repair=repair)
        if repair and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _is_used(library: Library, video: VideoRow, name: str) -> bool:
    """Whether a frame uses the file: one saved meanwhile, or one with another timestamp."""
    with reading(library.engine) as connection:
        return files.uses_image(connection, video.id, name)


def _minute_folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(
            minute for minute in folder.iterdir() if minute.is_dir() and MINUTE_FOLDER.fullmatch(minute.name)
        )


def _image_files(minute: Path) -> Iterator[Path]:
    """The image files in a folder, listed before the caller deletes any."""
    yield from sorted(file for file in minute.iterdir() if file.is_file() and IMAGE_FILE.fullmatch(file.name))


def _add_orphan(findings: FindingLog, video: VideoRow | None, file: Path, *, repair: bool) -> None:
    if repair:
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
    findings.add(FindingKind.ORPHAN, video, str(file), repaired=repair)
