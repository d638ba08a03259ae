"""Checks of stored images: whether each kept frame has its JPEG and exists in the video, and orphaned image files.

A full check decodes the video once and compares every frame's index and timestamp with the video's, and every JPEG with
one encoded from that source frame. A quick check only requires that each JPEG decodes and has the right shape. Orphans
are image files that belong to no frame. Only files with names that extraction creates are considered, so other files in
the folder are never deleted.

A repair replaces a wrong image only if the video still decodes as well as when it was extracted: the frames of a file
that was damaged since are worse than the stored images. A model described what was stored. Where that was another
picture than the frame's, its words are about the wrong picture, so they are discarded and the frame is queued again,
before the right image is written: a kill in between leaves the wrong image without words, which the next verification
finds. A missing or damaged image says nothing against its description, which stays.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from db import checks, files, queue
from db.checks import StoredFrame
from db.engine import reading, writing
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.images import clock_of, encode_frame, jpeg_format, translated_errors
from enrich.library.library import Library
from enrich.process import this_process
from enrich.verify.comparison import (
    ImageState,
    check_image_size,
    compare_image,
    shows_other_content,
)
from enrich.verify.findings import FindingKind, FindingLog, frame_label
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, stored_size, write_jpeg
from enrich.video.selection import FOLDER_SECONDS, image_name, microseconds
from enrich.video.signals import LumaShrinker, difference_hash
from enrich.video.source import read_source_frame


class ImageRepair:
    """Repairs the images of one video."""

    def __init__(self, library: Library, video: VideoRow) -> None:
        self._library = library
        self._video = video

    def replace(self, row: StoredFrame, jpeg: bytes, *, is_other_content: bool, timestamp: float | None = None) -> bool:
        """Store a frame's image, and correct its timestamp if one is given. Returns whether that was possible.

        `is_other_content`: the stored image was a picture of something else, so its descriptions are discarded.
        """
        timestamp = row.timestamp if timestamp is None else timestamp
        name = f"{self._video.image_folder}/{image_name(timestamp)}"
        claimed: list[queue.ClaimedTask] = []
        with writing(self._library.engine) as connection:
            if (timestamp, name) != (row.timestamp, row.image_path) and not checks.move_frame(
                connection, row.id, timestamp=timestamp, image_path=name
            ):
                return False
            if is_other_content:
                host, now = this_process().hostname, datetime.now(UTC)
                claimed = checks.discard_descriptions(connection, row.id, host=host, now=now)
        write_jpeg(self._library.frames_folder / name, jpeg)
        for task in claimed:
            self._release(task)
        return True

    def _release(self, task: queue.ClaimedTask) -> None:
        try:
            with writing(self._library.engine) as connection:
                queue.release(connection, task)
        except queue.LeaseLostError:  # the video was removed
            return


SAME_SECONDS = 1e-6
FINDING_KINDS = {
    ImageState.MISSING: FindingKind.IMAGE_MISSING,
    ImageState.BROKEN: FindingKind.IMAGE_BROKEN,
    ImageState.RESIZED: FindingKind.IMAGE_SIZE,
    ImageState.SIZE: FindingKind.IMAGE_SIZE,
    ImageState.DIFFERENT: FindingKind.IMAGE_DIFFERENT,
}
MAX_HASH_BITS = 2  # of 64: the same frame measured by another version of FFmpeg
MAX_HELD_BYTES = 64_000_000  # of newly encoded images, until it is known whether the video can be trusted
MAX_SINGLE_READS = 200  # of frames with a wrong position; if there are more, they are only reported and extracted again
MINUTE_FOLDER = re.compile(r"\d{5,}")
IMAGE_FILE = re.compile(r"-?\d{12,}\.jpg(\.part)?")
VIDEO_FOLDER = re.compile(r"(\w+-)?\d+-[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class _WrongImage:
    """A wrong image, held back until it is known whether the video can be trusted."""

    row: StoredFrame
    state: ImageState
    expected: bytes
    differs_from_row: bool  # the source frame is not what was measured when the frame was stored


class ImageCheck:
    """Checks the images of one video; `frames` counts the kept frames checked."""

    def __init__(self, library: Library, video: VideoRow, findings: FindingLog, *, repair: bool) -> None:
        self._library = library
        self._video = video
        self._findings = findings
        self._repair = ImageRepair(library, video) if repair else None
        self._resized: list[StoredFrame] = []
        self._wrong: list[_WrongImage] = []
        self._misplaced: list[tuple[StoredFrame, float | None]] = []
        self._compared = -1  # the index of the last frame compared with the video
        self.frames = 0

    def check_files(self, *, has_file: bool) -> None:
        """Check the JPEGs without decoding the video, except those that were already compared with it.

        `has_file`: the video file is available for single frames.
        """
        self._report_unsettled()
        edge = self._library.settings.stored_edge
        size = stored_size(self._video.width, self._video.height, edge)
        for row in self._rows():
            if row.index is not None and row.index <= self._compared:
                continue
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
            has_corrupt = False
            for frame in source:
                has_corrupt = has_corrupt or frame.av_frame.is_corrupt
                while row is not None and row.index is not None and row.index <= (frame.index or 0):
                    self._compare(row, frame, encoder)
                    self._compared = row.index
                    row = next(rows, None)
                if unplaced and (found := unplaced.pop(microseconds(frame.timestamp), None)) is not None:
                    self._compare(found, frame, encoder)
                if sum(len(wrong.expected) for wrong in self._wrong) > MAX_HELD_BYTES:
                    self._settle_wrong(source.failures, has_corrupt=has_corrupt)
                on_decoded(source.decoded)
            decoded, failures = source.decoded, source.failures
        self._settle_wrong(failures, has_corrupt=has_corrupt)
        for missing in (*([row] if row is not None else []), *rows, *unplaced.values()):
            self.frames += 1
            self._misplaced.append((missing, None))
        if self._is_damaged_since(failures):
            place = f"{failures} failures to decode, {video.decode_failures} when it was extracted"
            self._findings.add(FindingKind.DAMAGED, video, place)
            self._report_unsettled()
        self._check_misplaced(has_corrupt=has_corrupt)
        if video.extraction_status is ExtractionStatus.EXTRACTED and decoded != video.frame_count:
            self._findings.add(
                FindingKind.COUNT, video, f"the video file has {decoded} frames, not {video.frame_count}"
            )
        self._check_resized(has_file=True)

    def _compare(self, row: StoredFrame, frame: SourceFrame, encoder: JpegEncoder) -> None:
        self.frames += 1
        if row.index not in (None, frame.index):
            self._misplaced.append((row, None))
            return
        if abs(row.timestamp - frame.timestamp) > SAME_SECONDS:
            self._misplaced.append((row, frame.timestamp))
            return
        expected = encoder.encode(frame.av_frame)
        state = compare_image(self._path(row), expected)
        if state is ImageState.RESIZED:
            self._resized.append(row)
        elif state in (ImageState.MISSING, ImageState.BROKEN):
            self._note(row, state, expected)
        elif state is not ImageState.GOOD:
            self._wrong.append(_WrongImage(row, state, expected, _differs_from_row(row, frame)))

    def _settle_wrong(self, failures: int, *, has_corrupt: bool) -> None:
        """Report the wrong images found so far, and replace them unless the video has changed since."""
        for wrong in self._wrong:
            has_changed = self._is_damaged_since(failures) or (has_corrupt and wrong.differs_from_row)
            self._note(wrong.row, wrong.state, None if has_changed else wrong.expected)
        self._wrong = []

    def _report_unsettled(self) -> None:
        """Report what was found in a video that cannot be decoded (any more); nothing is repaired from it."""
        for wrong in self._wrong:
            self._note(wrong.row, wrong.state, None)
        for row, _ in self._misplaced:
            self._findings.add(FindingKind.NOT_IN_FILE, self._video, frame_label(row.index, row.timestamp))
        self._wrong, self._misplaced = [], []

    def _is_damaged_since(self, failures: int) -> bool:
        is_extracted = self._video.extraction_status is ExtractionStatus.EXTRACTED
        return is_extracted and failures > self._video.decode_failures

    def _check_misplaced(self, *, has_corrupt: bool) -> None:
        """Check the images of frames whose index and time do not belong together: one of the two may be right.

        A right time with a wrong index is corrected by the next extraction, a right index with a wrong time at once.
        """
        for number, (row, time_of_index) in enumerate(self._misplaced):
            is_moved = number < MAX_SINGLE_READS and self._check_at_time(row, time_of_index, has_corrupt=has_corrupt)
            place = frame_label(row.index, row.timestamp)
            self._findings.add(FindingKind.NOT_IN_FILE, self._video, place, repaired=is_moved)
        self._misplaced = []

    def _check_at_time(self, row: StoredFrame, time_of_index: float | None, *, has_corrupt: bool) -> bool:
        """Check the image of one such frame. Returns whether the frame was moved to its right time."""
        source = self._source_frame(row.timestamp)
        if source is not None:
            expected = encode_frame(self._library.settings, self._video, source)
            state = compare_image(self._path(row), expected)
            if state not in (ImageState.GOOD, ImageState.RESIZED):
                has_changed = has_corrupt and _differs_from_row(row, source)
                self._note(row, state, None if has_changed else expected)
            return False
        source = self._source_frame(time_of_index) if time_of_index is not None else None
        if source is None or self._repair is None or (has_corrupt and _differs_from_row(row, source)):
            return False
        expected = encode_frame(self._library.settings, self._video, source)
        is_other = shows_other_content(self._path(row), expected)
        return self._repair.replace(row, expected, is_other_content=is_other, timestamp=source.timestamp)

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

    def _source_frame(self, timestamp: float, near: tuple[int, float] | None = None) -> SourceFrame | None:
        """The source frame at exactly this time, None if there is none."""
        try:
            with translated_errors(self._library, self._video):
                clock = clock_of(self._video)
                source = read_source_frame(self._video.path, timestamp=timestamp, near=near, clock=clock)
        except VideoError:
            return None
        return source if abs(source.timestamp - timestamp) <= SAME_SECONDS else None

    def _source_jpeg(self, row: StoredFrame) -> bytes | None:
        near = (row.index, row.timestamp) if row.index is not None else None
        source = self._source_frame(row.timestamp, near)
        return None if source is None else encode_frame(self._library.settings, self._video, source)

    def _note(self, row: StoredFrame, state: ImageState, expected: bytes | None) -> None:
        """Report an image that is not good, and replace it by `expected` if that is given and wanted."""
        is_repaired = False
        if self._repair is not None and expected is not None:
            is_other = shows_other_content(self._path(row), expected)
            is_repaired = self._repair.replace(row, expected, is_other_content=is_other)
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


def _differs_from_row(row: StoredFrame, frame: SourceFrame) -> bool:
    if row.dhash is None:
        return False
    measured = difference_hash(LumaShrinker().shrink(frame.av_frame))
    return (int(row.dhash, 16) ^ measured).bit_count() > MAX_HASH_BITS


def find_orphans(library: Library, video: VideoRow, findings: FindingLog, *, repair: bool) -> None:
    """Find image files of a video that belong to none of its frames; `repair` deletes them."""
    folder = library.frames_folder / video.image_folder
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
        known = files.image_folders(connection)
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
