"""Opens video files and reads their orientation; the only module that passes a path to FFmpeg.

Only local video files are opened: a path or file content that names a URL, a playlist or a still image is refused.
"""

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
MAX_PIXELS = (
    16384 * 8192
)  # as 16K video has; a frame of more may take gigabytes, and only damaged files name such sizes
LIMITS = {"max_pixels": str(MAX_PIXELS)}  # an option of FFmpeg's decoders
RIGHT_ANGLE = 90
FULL_TURN = 360
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
            options=LIMITS,
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
    stream.codec_context.options = LIMITS  # the size may change in a later frame
    return container, stream
