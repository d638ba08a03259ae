"""Opening a video file: the one place that hands a path to FFmpeg.

Only local files are opened, whatever their name or content says: no address, playlist or still picture.
"""

from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.video.raw import raw_format
from enrich.video.readable import require_readable

GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS

# FFmpeg opens these as video, but nobody means a film by them.
STILL_FORMATS = ("image2", "tty", "ansi", "bin", "xbin", "adf", "idf", "svg", "lrc", "hls", "concat", "dash")


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
