"""Opens video files and reads their orientation; the only module that passes a path to FFmpeg.

Only local video files are opened: a path or file content that names a URL, a playlist or a still image is refused.

FFmpeg takes a read error for the end of the file, and its own errors are `OSError`s of Python. So it reads through
`VideoBytes`, which raises read errors, and every use of it is inside `ffmpeg_errors`: outside of `enrich.video`, an
`OSError` is never FFmpeg's.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.errors import DecodingError, NotAVideoError
from enrich.filenames import raw_format
from enrich.video.fingerprint import require_readable, unreadable

RIGHT_ANGLE = 90
FULL_TURN = 360
GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS
PART_HEAD_BYTES = 16
MIN_BOX_BYTES = 8
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot", b"uuid")
EBML_ID, SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
EBML_HEAD_BYTES = 4096
# FFmpeg opens these as video streams, but they are images, text or playlists.
UNSUPPORTED_FORMATS = ("image2", "tty", "ansi", "bin", "xbin", "adf", "idf", "svg", "lrc", "hls", "concat", "dash")


def upright_rotation(frame: VideoFrame) -> int:
    """Degrees clockwise that turn the decoded frame upright; a mirrored frame is flipped vertically first."""
    return round(-frame.rotation / RIGHT_ANGLE) * RIGHT_ANGLE % FULL_TURN


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether the display matrix mirrors the frame, as front cameras record it."""
    try:
        # `frame.side_data` would create a reference cycle with the frame, which then lives until the next collection.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]  # the stubs have no __init__
    except KeyError:
        return False
    except ValueError:  # PyAV 18 fails on side data it does not know, such as that of spatial video
        return False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(np.float64)
    return bool(a * d - b * c < 0)


def upright_size(width: int, height: int, rotation: int, aspect: Fraction) -> tuple[int, int]:
    """The display size in pixels: square pixels (the height is kept, as in video players), then turned upright."""
    width = max(1, round(width * aspect))
    return (height, width) if rotation % (2 * RIGHT_ANGLE) else (width, height)


def has_exact_seeking(container: InputContainer, stream: VideoStream) -> bool:
    """Whether timestamps are right after a seek. AVI counts frames, so its index must be complete."""
    if stream.start_time is None:
        return False
    if container.format.name != "avi":
        return True
    entries = stream.index_entries
    if len(entries) <= 1:
        return False
    first, step = entries[0].timestamp, entries[1].timestamp - entries[0].timestamp
    return entries[-1].timestamp - first + step == stream.duration == step * len(entries)


def first_video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not an attached image such as cover art."""
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            return stream
    return None


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


class VideoBytes:
    """A video file for PyAV, whose calls raise VideoMissingError if a read fails during the call.

    After a failed read the file appears to end, so that FFmpeg cannot go on with what follows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path.absolute())  # PyAV and FFmpeg look at its ending
        self._has_failed = False
        try:
            self._file = path.open("rb", buffering=0)
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
            return self._file.seek(offset, whence)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return -errno.EINVAL
            self._has_failed = True
            raise unreadable(self.path, error) from error

    def tell(self) -> int:
        return self._file.tell()

    def __del__(self) -> None:  # with the container, which closes no file that it was given
        with suppress(AttributeError, OSError):  # it could not be opened, or its drive is gone
            self._file.close()


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file; returns the container and its video stream. The caller closes the container.

    Raises VideoMissingError or NotAVideoError.
    """
    status = require_readable(path)
    if status.st_size == 0:
        raise NotAVideoError(f"{path} is empty: copy it again from the original")
    if raw := raw_format(path):
        raise NotAVideoError(f"{path} {raw}")
    try:
        container = av.open(
            VideoBytes(path),
            "r",
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file"},
        )
    except (av.FFmpegError, ValueError) as error:
        if (declared_size(path) or 0) > status.st_size:
            raise NotAVideoError(
                f"{path} is cut short, and its index is missing: copy it again from the original"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAVideoError(f"{path} is not a video, or its start is damaged: {reason}") from error
    # PyAV asks the demuxer to generate missing timestamps, which are wrong for the last frames.
    container.flags &= ~GENERATE_PTS
    names = container.format.name.split(",")
    if any(name in UNSUPPORTED_FORMATS or name.endswith("_pipe") for name in names):
        container.close()
        raise NotAVideoError(f"{path} is an image, a playlist or a text, not a video")
    stream = first_video_stream(container)
    if stream is None:
        container.close()
        raise NotAVideoError(f"{path} has no video stream, only sound or other data")
    context: object = stream.codec_context  # may be None, which the stubs do not say
    if context is None:
        container.close()
        raise NotAVideoError(f"{path} has a video codec that is not supported: convert it to H.264 first")
    return container, stream


def is_format(container: InputContainer, *names: str) -> bool:
    """Whether the container is of one of these formats, by FFmpeg's names."""
    return not set(names).isdisjoint(container.format.name.split(","))


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
