"""Reads a video file for FFmpeg, and the sizes that its container states.

FFmpeg takes a read error for the end of the file, and its own errors are `OSError`s of Python. So it reads through
`VideoBytes`, which raises read errors, and every use of it is inside `ffmpeg_errors`: outside of `enrich.video`, an
`OSError` is never FFmpeg's.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from enrich.errors import DecodingError
from enrich.video.fingerprint import unreadable

PART_HEAD_BYTES = 16
MIN_BOX_BYTES = 8
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot", b"uuid")
EBML_ID, SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
EBML_HEAD_BYTES = 4096


@contextmanager
def ffmpeg_errors(subject: object) -> Iterator[None]:
    """Raise FFmpeg's errors as a DecodingError about `subject`, such as a path, and lack of memory as a MemoryError."""
    try:
        yield
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__  # without the path
        if error.errno == errno.ENOMEM:  # the computer's fault, not the video's
            raise MemoryError(reason) from error
        raise DecodingError(f"{subject} cannot be decoded (FFmpeg: {reason})") from error


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Raise an OSError as a VideoMissingError about the file."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


class VideoBytes:
    """A video file for PyAV, whose calls raise VideoMissingError if a read fails during the call.

    After a failed read the file appears to end, so that FFmpeg cannot go on with what follows. With `start`, the file
    appears to begin at that byte.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path = path
        self._start = start
        self.name = str(path.absolute())  # PyAV and FFmpeg look at its ending
        self._has_failed = False
        try:
            self._file = path.open("rb", buffering=0)
            self._file.seek(start)
        except OSError as error:
            raise unreadable(path, error) from error

    def read(self, size: int) -> bytes:
        if self._has_failed:
            return b""
        try:
            return self._file.read(size) or b""
        except OSError as error:
            self._has_failed = True
            raise unreadable(self.path, error) from error

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position, or FFmpeg's code if a damaged file names a position that no file has."""
        try:
            base = self._start if whence == os.SEEK_SET else 0
            return self._file.seek(offset + base, whence) - self._start
        except OSError as error:
            if error.errno == errno.EINVAL:
                return -errno.EINVAL
            self._has_failed = True
            raise unreadable(self.path, error) from error

    def tell(self) -> int:
        return self._file.tell() - self._start

    def __del__(self) -> None:  # with the container, which closes no file that it was given
        with suppress(AttributeError, OSError):  # it could not be opened, or its drive is gone
            self._file.close()


def declared_size(path: Path) -> int | None:
    """How many bytes a file should have at least, as its container says; None if it does not say.

    For AVI, MP4 and its relatives (ISO/IEC 14496-12, 4.2) and Matroska (RFC 8794, 4 and 11).
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(PART_HEAD_BYTES)
        if head.startswith(EBML_ID):
            return _segment_end(head + file.read(EBML_HEAD_BYTES))
        if head[:4] != b"RIFF" and head[4:8] not in FIRST_BOXES:
            return None
        end, length = 0, _part_length(head)
        if not length:
            return None
        while length and end + length < size:
            end += length
            file.seek(end)
            length = _part_length(file.read(PART_HEAD_BYTES))
        return end + length


def _part_length(head: bytes) -> int:
    """The length of an MP4 box, or of a RIFF chunk of an AVI, with its head; 0: to the end of the file, or unknown."""
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return length + 8 if length else 0
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return length if length >= MIN_BOX_BYTES and head[4:8].strip().isalnum() else 0


def _segment_end(head: bytes) -> int | None:
    """Where the first segment of a Matroska file ends; None if it has no known size, as in a live recording."""
    size, at = _ebml_number(head, len(EBML_ID))
    at += size or 0
    if size is None or head[at : at + len(SEGMENT_ID)] != SEGMENT_ID:
        return None
    size, at = _ebml_number(head, at + len(SEGMENT_ID))
    return None if size is None else at + size


def _ebml_number(data: bytes, at: int) -> tuple[int | None, int]:
    """A number of variable length, None if all its bits are 1 (unknown), and where it ends."""
    length = 9 - data[at].bit_length() if at < len(data) else 9
    mask = (1 << 7 * length) - 1
    number = int.from_bytes(data[at : at + length], "big") & mask
    return None if length > 8 or number == mask else number, at + length  # noqa: PLR2004  # at most 8 bytes
