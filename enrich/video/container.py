"""Opening a video file: the one place that hands a path to FFmpeg.

Only local files are opened, whatever their name or content says: no address, playlist or still picture.

Which way up a picture is, from its display matrix: turned, mirrored, and in which size people see it.
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

RIGHT_ANGLE = 90
FULL_TURN = 360
GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS
# FFmpeg opens these as video, but nobody means a film by them.
STILL_FORMATS = ("image2", "tty", "ansi", "bin", "xbin", "adf", "idf", "svg", "lrc", "hls", "concat", "dash")


def upright_rotation(picture: VideoFrame) -> int:
    """Degrees clockwise that turn the decoded picture upright; a mirrored one is flipped upside down before."""
    return round(-picture.rotation / RIGHT_ANGLE) * RIGHT_ANGLE % FULL_TURN


def is_mirrored(picture: VideoFrame) -> bool:
    """Whether the picture shows left for right, as front cameras film."""
    try:
        # A container of our own: that of `picture.side_data` and the picture hold each other until the next collection.
        matrix = SideDataContainer(picture)["DISPLAYMATRIX"]  # type: ignore[call-arg]  # the stubs have no __init__
    except KeyError:
        return False
    except ValueError:  # PyAV 18 does not know a kind of side data beside it, such as that of spatial video
        return False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(np.float64)
    return bool(a * d - b * c < 0)


def upright_size(width: int, height: int, rotation: int, aspect: Fraction) -> tuple[int, int]:
    """The size people see: square pixels (the height stays, as players do), then turned upright."""
    width = max(1, round(width * aspect))
    return (height, width) if rotation % (2 * RIGHT_ANGLE) else (width, height)


def first_video_stream(container: InputContainer) -> VideoStream | None:
    """The first stream that is a video and not an attached picture such as cover art."""
    for stream in container.streams.video:
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            return stream
    return None


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """The open container and its video stream; the caller closes the container.

    Raises VideoMissingError or NotAVideoError.
    """
    status = require_readable(path)
    if status.st_size == 0:
        raise NotAVideoError(f"{path} is empty: copy it again from where it came from")
    if raw := raw_format(path):
        raise NotAVideoError(f"{path} {raw}")
    try:
        container = av.open(
            f"file:{path.absolute()}",  # without the prefix, a colon in a name is taken for a protocol
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file"},
        )
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAVideoError(f"{path} is not a video, or it is damaged from its start: {reason}") from error
    # PyAV lets the demuxer invent timestamps that are missing; those of the last pictures come out wrong.
    container.flags &= ~GENERATE_PTS
    names = container.format.name.split(",")
    if any(name in STILL_FORMATS or name.endswith("_pipe") for name in names):
        container.close()
        raise NotAVideoError(f"{path} is not a video but a picture, a list or a text")
    stream = first_video_stream(container)
    if stream is None:
        container.close()
        raise NotAVideoError(f"{path} holds no video stream, only sound or other data")
    context: object = stream.codec_context  # the stubs do not know that it may be missing
    if context is None:
        container.close()
        raise NotAVideoError(f"{path} holds video in a format that cannot be decoded here")
    return container, stream
