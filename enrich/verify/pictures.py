"""The pictures of one video: whether each kept frame has its JPEG, and the film has each kept frame.

With the film decoded once from end to end, every frame's number and time are held against the film's, and every JPEG
against one made anew from that very frame. Without (`quick`), a JPEG only has to be whole and of the right shape.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from db import checks
from db.checks import Placed
from db.engine import reading
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.audit.stored import State, state_by_picture, state_by_size, stored_size
from enrich.errors import VideoError
from enrich.library.library import Library
from enrich.library.pictures import folder_name, jpeg_of
from enrich.verify.findings import Kind, Ledger, place_of
from enrich.verify.rows import placed_frames
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, write_jpeg
from enrich.video.kept import image_name, microseconds
from enrich.video.source import read_source_frame

SAME_SECONDS = 1e-6
KINDS = {
    State.MISSING: Kind.PICTURE_MISSING,
    State.BROKEN: Kind.PICTURE_BROKEN,
    State.RESIZED: Kind.PICTURE_SIZE,
    State.SIZE: Kind.PICTURE_SIZE,
    State.OTHER: Kind.PICTURE_OTHER,
}


class PictureCheck:
    """The check of one video; `frames` counts the kept frames looked at."""

    def __init__(self, library: Library, video: VideoRow, ledger: Ledger, *, mend: bool) -> None:
        self._library = library
        self._video = video
        self._ledger = ledger
        self._mend = mend
        self._resized: list[Placed] = []
        self.frames = 0

    def quick(self, *, has_file: bool) -> None:
        """Look at the JPEGs alone; `has_file`: the film is there, for what only it can decide or mend."""
        edge = self._library.settings.stored_edge
        size = stored_size(self._video.width, self._video.height, edge)
        for row in self._rows():
            self.frames += 1
            state = state_by_size(self._path(row), size)
            if state is State.RESIZED:
                self._resized.append(row)
            elif state is not State.GOOD:
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
            loose = {microseconds(found.timestamp): found for found in checks.unplaced(connection, video.id)}
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
            self._ledger.note(Kind.NOT_IN_FILE, video, place_of(lost.index, lost.timestamp))
        if video.extraction_status is ExtractionStatus.EXTRACTED and decoded != video.frame_count:
            self._ledger.note(Kind.COUNT, video, f"the film has {decoded} frames, not {video.frame_count}")
        self._settle_resized(has_file=True)

    def _compare(self, row: Placed, frame: SourceFrame, encoder: JpegEncoder) -> None:
        self.frames += 1
        is_placed = row.index is None or row.index == frame.index
        if not is_placed or abs(row.timestamp - frame.timestamp) > SAME_SECONDS:
            self._ledger.note(Kind.NOT_IN_FILE, self._video, place_of(row.index, row.timestamp))
            return
        expected = encoder.encode(frame.picture)
        state = state_by_picture(self._path(row), expected)
        if state is State.RESIZED:
            self._resized.append(row)
        elif state is not State.GOOD:
            self._note(row, state, expected)

    def _look_again(self, row: Placed, state: State, *, has_file: bool) -> None:
        """A stream may change its size, so that the one frame of the film decides; it also mends."""
        expected = self._source_jpeg(row) if has_file and (self._mend or state is State.SIZE) else None
        if expected is not None and state is State.SIZE:
            state = state_by_picture(self._path(row), expected)
        if state not in (State.GOOD, State.RESIZED):
            self._note(row, state, expected)

    def _settle_resized(self, *, has_file: bool) -> None:
        """A size most of the video's pictures have is that of earlier settings; one that few have is an accident."""
        if len(self._resized) * 2 <= self.frames:
            for row in self._resized:
                expected = self._source_jpeg(row) if has_file and self._mend else None
                self._note(row, State.RESIZED, expected)
        self._resized = []

    def _source_jpeg(self, row: Placed) -> bytes | None:
        near = (row.index, row.timestamp) if row.index is not None else None
        try:
            source = read_source_frame(self._video.path, timestamp=row.timestamp, near=near)
        except VideoError:
            return None
        if abs(source.timestamp - row.timestamp) > SAME_SECONDS:
            return None
        return jpeg_of(self._library.settings, self._video, source)

    def _note(self, row: Placed, state: State, expected: bytes | None) -> None:
        own = f"{folder_name(self._video.fingerprint)}/{image_name(row.timestamp)}"
        is_mended = self._mend and expected is not None and row.image_path == own
        if is_mended and expected is not None:
            write_jpeg(self._path(row), expected)
        self._ledger.note(KINDS[state], self._video, place_of(row.index, row.timestamp), mended=is_mended)

    def _rows(self) -> Iterator[Placed]:
        yield from placed_frames(self._library.engine, self._video.id)
        with reading(self._library.engine) as connection:
            loose = checks.unplaced(connection, self._video.id)
        yield from loose

    def _path(self, row: Placed) -> Path:
        return self._library.frames_folder / row.image_path
