"""Reads a video file's metadata quickly: only the first frame is decoded.

Detects log footage, which looks grey until it is graded, so that descriptions of its colours may suffer. The log curve
is taken from the file's transfer characteristic, from tags about the look, and from the XML that Sony cameras append to
their files. Footage without such metadata is not guessed at, because fog and shadows look the same.
"""

import re
import unicodedata
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
from enrich.video.container import MAX_PIXELS, open_video, upright_rotation, upright_size
from enrich.video.fingerprint import fingerprint

LOG_CURVES = (ColorTrc.LOG, ColorTrc.LOG_SQRT)
LOG_NAME = re.compile(
    r"\b(s-?log ?[23]?(?:-cine)?|v-?log ?l?|c-?log ?[23]?|canon ?log ?[23]?|d-?log(?:[ -]?m)?|n-?log|f-?log ?2?"
    r"|log-?c ?[34]?|l-?log|i-?log|apple ?log ?2?|gp-?log)\b",
    re.IGNORECASE,
)
LOG_CURVE_TAGS = ("gamma", "transfer", "color", "colour", "curve", "profile", "picturestyle", "look", "logcurve")
SONY_BRANDS = ("xavc", "mss ")
SONY_TAIL_BYTES = 256 * 1024
SONY_GAMMA = re.compile(rb'CaptureGammaEquation"\s+value="([^"]{1,40})"')
MAX_FIRST_FRAME_PACKETS = 64
# Cameras without a clock write the epoch of the format: 1904 (QuickTime) or 1970. Programs write year 1 or 9999 for no
# date. Windows converts no time after 2999 to local time.
MIN_YEAR, MAX_YEAR = 1971, 2999
MAX_FRAMES = 2**31  # half a year at 120 frames a second; the database stores no more


def log_curve(path: Path, curve: int, tags: Mapping[str, str]) -> str | None:
    """The name of the log curve that the file's metadata names; None if it names none."""
    for name, value in tags.items():
        names_log_curve = any(word in re.sub("[^a-z]", "", name.lower()) for word in LOG_CURVE_TAGS)
        if names_log_curve and (found := LOG_NAME.search(value)):
            return found[1]
    if tags.get("major_brand", "").lower() in SONY_BRANDS:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - SONY_TAIL_BYTES))
            gamma = SONY_GAMMA.search(file.read())
        if gamma and (found := LOG_NAME.search(gamma[1].decode("ascii", "replace"))):
            return found[1]
    return "a log curve" if curve in LOG_CURVES else None


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video's metadata, before it is decoded. Width and height are those of the upright frame."""

    path: Path
    fingerprint: str
    title: str
    duration: float | None  # seconds
    fps: float | None  # frames per second; the average for a variable rate
    width: int  # square pixels, rotation and sample aspect ratio applied
    height: int
    codec: str
    rotation: int  # degrees clockwise that turn a decoded frame upright: 0, 90, 180, 270
    sample_aspect: Fraction  # width of a pixel divided by its height, before rotation
    recorded_at: datetime | None  # aware, UTC
    start_timecode: str | None  # as written by the camera, such as 10:00:00:00
    camera: str | None
    frame_estimate: int | None  # headers are often wrong
    size_bytes: int
    warnings: tuple[str, ...]  # reasons why its images or descriptions may be worse


def probe(path: Path | str) -> VideoFacts:
    """Read the metadata of the file's first video stream that is not an attached image.

    Raises NotAVideoError, or VideoMissingError if the file does not exist, is a folder, or cannot be read.
    """
    path = Path(path).absolute()
    content = fingerprint(path)
    container, stream = open_video(path)
    with container:
        context = stream.codec_context
        if not context.width or not context.height:
            raise NotAVideoError(
                f"{path} is damaged (its video has no size, or one that no video has): copy it again from the original"
            )
        if context.width * context.height > MAX_PIXELS:
            size = f"{context.width:,}×{context.height:,} pixels"
            raise NotAVideoError(f"{path} says that it is {size} large, which no video is: the file is damaged")
        first_frame = _first_frame(container, stream)
        rotation = upright_rotation(first_frame) if first_frame else 0
        aspect = sample_aspect(stream)
        width, height = upright_size(context.width, context.height, rotation, aspect)
        tags = _tags(container, stream)
        duration = _duration(container, stream)
        fps = _fps(stream)
        return VideoFacts(
            path=path,
            fingerprint=content,
            title=unicodedata.normalize("NFC", path.stem),
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
            frame_estimate=_frame_estimate(stream, duration, fps),
            size_bytes=path.stat().st_size,
            warnings=_warnings(log_curve(path, context.color_trc, tags)),
        )


def sample_aspect(stream: VideoStream) -> Fraction:
    """The width of a pixel divided by its height; 1 if the file does not say."""
    aspect = stream.sample_aspect_ratio
    return aspect or Fraction(1)


def _warnings(curve: str | None) -> tuple[str, ...]:
    if curve is None:
        return ()
    return (
        f"recorded with {curve}: the footage looks grey until it is graded, so descriptions may get its colours wrong",
    )


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first frame, for its rotation, which PyAV does not read from the header; None if it is not found quickly."""
    try:
        for number, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                return frame
            if number >= MAX_FIRST_FRAME_PACKETS:
                break
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):  # the worker would fail as well
            raise
    return None


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video stream, which may be shorter than those of the file."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska counts from 0, even if the stream starts later
        hours, minutes, seconds = tag.groups()
        return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start)
    if not container.duration:
        return None
    is_from_zero = "matroska" in container.format.name
    return max(0.0, container.duration / av.time_base - (start if is_from_zero else 0.0))


def _fps(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def _frame_estimate(stream: VideoStream, duration: float | None, fps: float | None) -> int | None:
    """The number of frames that the header states or implies; None if it does not, or if no file has as many."""
    count = stream.frames or (duration * fps if duration and fps else 0.0)
    return round(count) if 0 < count < MAX_FRAMES else None


def _tags(container: InputContainer, stream: VideoStream) -> dict[str, str]:
    """All tags, with lower-case names. The container's win over the video stream's, and those over other streams'."""
    tags: dict[str, str] = {}
    for source in (container.metadata, stream.metadata, *(other.metadata for other in container.streams)):
        for name, value in source.items():
            if value.strip():
                tags.setdefault(name.lower(), value.strip())
    return tags


def _recorded_at(tags: dict[str, str]) -> datetime | None:
    """The time of recording. Apple's own tag comes first, because every export rewrites `creation_time`."""
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        try:
            moment = datetime.fromisoformat(tags.get(name, ""))
            if name == "date" and moment.tzinfo is None:
                continue  # a year or a day only
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError, OSError):  # OverflowError: year 1 or 9999, with an offset
            continue
        if MIN_YEAR <= moment.year <= MAX_YEAR:
            return moment
    return None


def _camera(tags: dict[str, str]) -> str | None:
    """Maker and model as one text, without repeating the maker."""
    makers = ("com.apple.quicktime.make", "make", "com.android.manufacturer", "manufacturer")
    models = ("com.apple.quicktime.model", "model", "com.android.model")
    maker = next((tags[name] for name in makers if name in tags), "")
    model = next((tags[name] for name in models if name in tags), "")
    if maker and model.lower().startswith(maker.lower()):
        return model
    return f"{maker} {model}".strip() or None
