"""Reads a video file's metadata quickly: only the first frame is decoded.

Detects log footage, which looks grey until it is graded, so that descriptions of its colours may suffer. The log curve
is taken from the file's transfer characteristic, from tags about the look, and from the XML that Sony cameras append to
their files. Footage without such metadata is not guessed at, because fog and shadows look the same.
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
from enrich.video.container import declared_size, is_format, open_video, upright_rotation, upright_size
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
# A length at which a file has less than this is wrong in the header. Still, black video takes about 20 bytes a frame.
MIN_BITS_PER_SECOND = 1000
MIN_BYTES_PER_FRAME = {"avi": 24}  # an AVI chunk's header and its entry in the index
MIN_BYTES_PER_OTHER_FRAME = 4
MAX_BYTES_PER_PIXEL = 8  # not compressed
MAX_SOUND_BYTES = 50_000_000  # per second; also for pictures of other streams, and for what is not played
LENGTH_TOLERANCE_SECONDS = 0.1  # of a header, or 2 frames
SHORT_SECONDS = 1.0  # a file that ends so much earlier than it says is cut short
FORMATS_WITH_LENGTH = ("mov", "matroska", "flv", "mxf", "rm")  # for others, FFmpeg estimates the length
# Cameras without a clock write the epoch of the format: 1904 (QuickTime) or 1970.
MIN_YEAR = 1971


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
        first_frame = _first_frame(container, stream)
        context = stream.codec_context
        if not context.width or not context.height:
            raise NotAVideoError(f"{path} is damaged (its video has no size): copy it again from the original")
        rotation = upright_rotation(first_frame) if first_frame else 0
        aspect = sample_aspect(stream)
        width, height = upright_size(context.width, context.height, rotation, aspect)
        tags = _tags(container, stream)
        size_bytes = path.stat().st_size
        duration = header_duration(container, stream, size_bytes)
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
            frame_estimate=_frame_estimate(container, stream, duration, size_bytes),
            size_bytes=size_bytes,
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
    except av.FFmpegError:
        pass
    return None


def header_duration(container: InputContainer, stream: VideoStream, size_bytes: int) -> float | None:
    """Seconds of the video stream, which may be shorter than those of the file; None if unknown or implausible."""
    from_index = _avi_duration(container, stream)
    return from_index if from_index is not None else stated_duration(container, stream, size_bytes)


def stated_duration(container: InputContainer, stream: VideoStream, size_bytes: int) -> float | None:
    """As `header_duration`, but from the header only, which counts an end of the file that is missing, too."""
    for seconds in (_stream_duration(container, stream), _container_duration(container, stream)):
        if seconds and _is_plausible(container, stream, seconds, size_bytes):
            return seconds
    return None


def _is_plausible(container: InputContainer, stream: VideoStream, seconds: float, size_bytes: int) -> bool:
    """Whether a file of this size can be so long, and so short."""
    frames = seconds * (_fps(stream) or 0)
    frame_bytes = MIN_BYTES_PER_FRAME.get(container.format.name, MIN_BYTES_PER_OTHER_FRAME)
    fewest = max(seconds * MIN_BITS_PER_SECOND / 8, frames * frame_bytes)
    most = (frames + 1) * stream.width * stream.height * MAX_BYTES_PER_PIXEL + (seconds + 1) * MAX_SOUND_BYTES
    return seconds > 0 and fewest <= size_bytes and (not frames or (frames > 0.5 and size_bytes <= most))  # noqa: PLR2004  # rounded


def _frame_estimate(
    container: InputContainer, stream: VideoStream, duration: float | None, size_bytes: int
) -> int | None:
    fps = _fps(stream)
    by_length = round(duration * fps) if duration and fps else None
    if _avi_duration(container, stream) is not None:
        return len(stream.index_entries)
    is_whole = stream.frames > (by_length or 0) / 2  # a fragmented MP4 may list its first fragment only
    if fps and is_whole and _is_plausible(container, stream, stream.frames / fps, size_bytes):
        return stream.frames
    return by_length


def _avi_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds according to the index of an AVI, whose headers are often wrong; None without an index."""
    if container.format.name != "avi" or not stream.time_base or len(stream.index_entries) <= 1:
        return None
    entries = stream.index_entries
    ticks = entries[-1].timestamp - entries[0].timestamp
    return float(ticks * Fraction(len(entries), len(entries) - 1) * stream.time_base)


def _stream_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if container.format.name == "avi" and stream.frames and stream.time_base:
        return float(stream.frames * stream.time_base)  # FFmpeg shortens the duration if the end is missing
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if not tag:
        return None
    hours, minutes, seconds = tag.groups()  # Matroska counts from 0, even if the stream starts later
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - _start(stream)


def _container_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if not container.duration:
        return None
    is_from_zero = "matroska" in container.format.name
    return container.duration / av.time_base - (_start(stream) if is_from_zero else 0.0)


def _start(stream: VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


@dataclass(frozen=True, slots=True)
class Ending:
    """What decoding all of a video found at its end. Times are seconds from the start of the stream."""

    decoded: int  # frames
    end: float  # of the last frame, at the last frame rate
    held_until: float  # end of the last frame, by its own duration
    packets_end: float  # end of the last packet that was read, decoded or not


@dataclass(frozen=True, slots=True)
class MeasuredLength:
    """How long a video is, in seconds; `stated` is how long its file says that it is, if it is cut short."""

    seconds: float
    stated: float | None
    missing: int  # frames after the end of a file that is cut short


def measure_length(
    path: Path, container: InputContainer, stream: VideoStream, ending: Ending, *, missing: int, last_key_pts: int
) -> MeasuredLength:
    """The length of a video that was decoded to its end. `missing`: frames that are listed but not in the file.

    The header is believed if it agrees with the frames. A length that only the sound reaches is no sign of damage.
    """
    seconds = round(ending.end, 6)
    size, declared = container.size, declared_size(path)
    stated = stated_duration(container, stream, max(size, declared or 0))
    if stated is None:
        return MeasuredLength(seconds, None, missing)
    latest = max(ending.end, ending.held_until, ending.packets_end)
    tolerance = max(LENGTH_TOLERANCE_SECONDS, 2 * ending.end / ending.decoded)
    if ending.end - tolerance <= stated <= latest + tolerance:
        return MeasuredLength(stated, None, missing)
    read_until = max(ending.end, ending.packets_end)
    if stated - read_until <= SHORT_SECONDS or stated - _sound_end(container, stream, last_key_pts) <= SHORT_SECONDS:
        return MeasuredLength(seconds, None, missing)
    is_cut = True if missing else None if declared is None else declared > size + 1  # AVI pads to even sizes
    if is_cut is False or (is_cut is None and not is_format(container, *FORMATS_WITH_LENGTH)):
        return MeasuredLength(seconds, None, missing)
    if is_cut and not missing:
        missing = round((stated - read_until) * ending.decoded / ending.end)
    return MeasuredLength(seconds, stated, missing)


def _sound_end(container: InputContainer, stream: VideoStream, last_key_pts: int) -> float:
    """Where the sound ends, in seconds from the start of the video stream; minus infinity without sound there."""
    end = float("-inf")
    start = _start(stream)
    try:
        container.seek(last_key_pts, stream=stream)
        for packet in container.demux(container.streams.audio):
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start)
    except (av.FFmpegError, IndexError):  # IndexError: see SourceFrames
        pass
    return end


def _fps(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


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
        except ValueError:
            continue
        if name == "date" and moment.tzinfo is None:
            continue  # a year or a day only
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if moment.year >= MIN_YEAR:
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
