"""What a video file says about itself, read within a moment: nothing but its first picture is decoded.

Footage filmed with a logarithmic curve: it looks grey until it is graded, so descriptions of colours may suffer.

Known by what files say: their transfer characteristic, tags about the picture's look, and what Sony's cameras write
behind their films. Footage that says nothing is not guessed at: fog and shadows look the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.video.container import open_video, upright_rotation, upright_size
from enrich.video.fingerprint import fingerprint

LOG_CURVES = (ColorTrc.LOG, ColorTrc.LOG_SQRT)
LOG_NAME = re.compile(
    r"\b(s-?log ?[23]?(?:-cine)?|v-?log ?l?|c-?log ?[23]?|canon ?log ?[23]?|d-?log(?:[ -]?m)?|n-?log|f-?log ?2?"
    r"|log-?c ?[34]?|l-?log|i-?log|apple ?log ?2?|gp-?log)\b",
    re.IGNORECASE,
)
ABOUT_LOOK = ("gamma", "transfer", "color", "colour", "curve", "profile", "picturestyle", "look", "logcurve")
SONY_BRANDS = ("xavc", "mss ")
SONY_TAIL_BYTES = 256 * 1024
SONY_GAMMA = re.compile(rb'CaptureGammaEquation"\s+value="([^"]{1,40})"')
FIRST_PICTURE_PACKETS = 64
# Cameras without a clock write the epoch of their format: 1904 (QuickTime) or 1970.
EARLIEST_YEAR = 1971


def log_curve(path: Path, curve: int, tags: Mapping[str, str]) -> str | None:
    """The name of the logarithmic curve the file says it was filmed with, None if it says none."""
    for name, value in tags.items():
        is_about_look = any(word in re.sub("[^a-z]", "", name.lower()) for word in ABOUT_LOOK)
        if is_about_look and (found := LOG_NAME.search(value)):
            return found[1]
    if tags.get("major_brand", "").lower() in SONY_BRANDS:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - SONY_TAIL_BYTES))
            written = SONY_GAMMA.search(file.read())
        if written and (found := LOG_NAME.search(written[1].decode("ascii", "replace"))):
            return found[1]
    return "a log curve" if curve in LOG_CURVES else None


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video before it is decoded; width and height are those of the upright picture."""

    path: Path
    fingerprint: str
    title: str
    duration: float | None  # seconds
    fps: float | None  # the average, for a variable rate
    width: int  # square pixels, rotation and sample aspect ratio applied
    height: int
    codec: str
    rotation: int  # degrees clockwise that turn the decoded picture upright: 0, 90, 180, 270
    sample_aspect: Fraction  # width of a pixel over its height, before rotation
    recorded_at: datetime | None  # aware, UTC
    start_timecode: str | None  # as the camera wrote it, such as 10:00:00:00
    camera: str | None
    frame_estimate: int | None  # a guess: headers are often wrong
    size_bytes: int
    warnings: tuple[str, ...]  # what may make its pictures or descriptions worse


def probe(path: Path | str) -> VideoFacts:
    """The facts of the file's first video stream that is not an attached picture.

    Raises NotAVideoError, or VideoMissingError when the file is gone, a folder, or may not be read.
    """
    path = Path(path).absolute()
    content = fingerprint(path)
    container, stream = open_video(path)
    with container:
        picture = _first_picture(container, stream)
        context = stream.codec_context
        if not context.width or not context.height:
            raise NotAVideoError(f"{path} is damaged: its video has no size")
        rotation = upright_rotation(picture) if picture else 0
        aspect = sample_aspect(stream)
        width, height = upright_size(context.width, context.height, rotation, aspect)
        tags = _tags(container, stream)
        duration = _duration(container, stream)
        fps = _fps(stream)
        return VideoFacts(
            path=path,
            fingerprint=content,
            title=path.stem,
            duration=duration,
            fps=fps,
            width=width,
            height=height,
            codec=context.name,
            rotation=rotation,
            sample_aspect=aspect,
            recorded_at=_recorded_at(tags),
            start_timecode=tags.get("timecode"),
            camera=_camera(tags),
            frame_estimate=stream.frames or (round(duration * fps) if duration and fps else None),
            size_bytes=path.stat().st_size,
            warnings=_warnings(log_curve(path, context.color_trc, tags)),
        )


def sample_aspect(stream: VideoStream) -> Fraction:
    """The width of one pixel over its height; 1 where the file does not say."""
    aspect = stream.sample_aspect_ratio
    return aspect or Fraction(1)


def _warnings(curve: str | None) -> tuple[str, ...]:
    if curve is None:
        return ()
    return (f"filmed with {curve}: its pictures look grey until they are graded, and so will their descriptions",)


def _first_picture(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Rotation stands on pictures, not in what PyAV shows of the header; None if it cannot be had quickly."""
    try:
        for number, packet in enumerate(container.demux(stream)):
            for picture in packet.decode():
                return picture
            if number >= FIRST_PICTURE_PACKETS:
                break
    except av.FFmpegError:
        pass
    return None


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video stream, which may be shorter than the file."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    written = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if written:  # Matroska counts from 0, wherever the stream starts
        hours, minutes, seconds = written.groups()
        return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start)
    if not container.duration:
        return None
    is_from_zero = "matroska" in container.format.name
    return max(0.0, container.duration / av.time_base - (start if is_from_zero else 0.0))


def _fps(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def _tags(container: InputContainer, stream: VideoStream) -> dict[str, str]:
    """All tags with lower-case names; those of the file win over the stream's, and those over others'."""
    tags: dict[str, str] = {}
    for source in (container.metadata, stream.metadata, *(other.metadata for other in container.streams)):
        for name, value in source.items():
            if value.strip():
                tags.setdefault(name.lower(), value.strip())
    return tags


def _recorded_at(tags: dict[str, str]) -> datetime | None:
    """The moment of recording; Apple's own tag first, since `creation_time` is rewritten by every export."""
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        try:
            moment = datetime.fromisoformat(tags.get(name, ""))
        except ValueError:
            continue
        if name == "date" and moment.tzinfo is None:
            continue  # a day, or a year, is not a moment
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if moment.year >= EARLIEST_YEAR:
            return moment
    return None


def _camera(tags: dict[str, str]) -> str | None:
    """Maker and model as one text, the maker only once."""
    makers = ("com.apple.quicktime.make", "make", "com.android.manufacturer", "manufacturer")
    models = ("com.apple.quicktime.model", "model", "com.android.model")
    maker = next((tags[name] for name in makers if name in tags), "")
    model = next((tags[name] for name in models if name in tags), "")
    if maker and model.lower().startswith(maker.lower()):
        return model
    return f"{maker} {model}".strip() or None
