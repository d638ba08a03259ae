"""Opens video files and reads their orientation; the only module that passes a path to FFmpeg.

Only local video files are opened: a path or file content that names a URL, a playlist or a still image is refused.
"""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.filenames import raw_format
from enrich.video.fingerprint import require_readable

CodecError = av.FFmpegError  # for callers that do not import av
RIGHT_ANGLE = 90
FULL_TURN = 360
EBML_HEADER_ID, SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
EBML_HEAD_BYTES = 4096
LEAST_EBML_BYTES = 256  # of another file that follows
GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS
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


def has_single_clock(container: InputContainer, path: Path) -> bool:
    """Whether the container's format rules out that its clock restarts, as far as its first bytes tell.

    MP4 and AVI have one index of all frames, in which a seek stays. Matroska has one clock in each segment, and joined
    files have several.
    """
    names = container.format.name.split(",")
    if "mp4" in names or "avi" in names:
        return True
    if "matroska" not in names:
        return False
    with path.open("rb") as file:
        head = file.read(EBML_HEAD_BYTES)
    header = _ebml_element(head, 0, EBML_HEADER_ID)
    segment = _ebml_element(head, header, SEGMENT_ID) if header is not None else None
    return segment is not None and segment > path.stat().st_size - LEAST_EBML_BYTES


def _ebml_element(data: bytes, begin: int, element_id: bytes) -> int | None:
    """Where the element with this id that begins at `begin` ends; None if there is none, or its length is unknown."""
    start = begin + len(element_id)
    if data[begin:start] != element_id or not data[start : start + 1] or not data[start]:
        return None
    width = 9 - data[start].bit_length()  # of its length, as the zero bits before the first one say
    length = int.from_bytes(data[start : start + width], "big") & ((1 << 7 * width) - 1)
    return None if length == (1 << 7 * width) - 1 else start + width + length


def first_video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not an attached image such as cover art."""
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            return stream
    return None


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
            f"file:{path.absolute()}",  # without the prefix, FFmpeg reads a colon in the name as a protocol
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file"},
        )
    except (av.FFmpegError, ValueError) as error:
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


def open_rest(path: Path, start: int) -> InputContainer | None:
    """Open a file as if it began at a byte; None if no container begins there. The caller closes the container."""
    with suppress(av.FFmpegError, ValueError):
        return av.open(
            f"subfile,,start,{start},end,0,,:file:{path.absolute()}",
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file,subfile"},
        )
    return None
