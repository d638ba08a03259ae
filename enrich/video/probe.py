"""Reads a video file's metadata quickly: only one frame is decoded, the first unless the start is damaged.

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
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.video.container import MAX_PIXELS, RIGHT_ANGLE, FramePresenter, decoder_of, open_video, upright_size
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import FULL_TURN, upright_rotation
from enrich.video.length import frame_estimate, frame_rate, header_duration
from enrich.video.track_headers import TrackHeader

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
FIRST_FRAME_PLACES = (0.5, 0.25, 0.75, 0.9)  # shares of the duration, tried if the start is damaged
# Cameras without a clock write the epoch of the format: 1904 (QuickTime) or 1970. Programs write year 1 or 9999 for no
# date. Windows converts no time after 2999 to local time.
MIN_YEAR, MAX_YEAR = 1971, 2999


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
        presenter = FramePresenter(path, container, stream)
        size_bytes = path.stat().st_size
        duration = header_duration(container, stream, size_bytes)
        context = stream.codec_context
        if not context.width or not context.height:
            raise NotAVideoError(
                f"{path} is damaged (its video has no size, or one that no video has): copy it again from the original"
            )
        if context.width * context.height > MAX_PIXELS:
            size = f"{context.width:,}×{context.height:,} pixels"
            raise NotAVideoError(f"{path} says that it is {size} large, which no video is: the file is damaged")
        frame = _first_frame(container, stream, duration)
        rotation = _named_rotation(stream)
        if frame is not None:
            rotation = upright_rotation(frame, rotation)
        width, height = presenter.size(context.width, context.height)
        width, height = upright_size(width, height, rotation, presenter.sample_aspect)
        tags = _tags(container, stream)
        fps = frame_rate(stream)
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
            sample_aspect=presenter.sample_aspect,
            recorded_at=_recorded_at(tags),
            start_timecode=tags.get("timecode"),
            camera=_camera(tags),
            frame_estimate=frame_estimate(container, stream, duration, size_bytes),
            size_bytes=size_bytes,
            warnings=_warnings(log_curve(path, context.color_trc, tags), presenter.header),
        )


def _warnings(curve: str | None, header: TrackHeader) -> tuple[str, ...]:
    warnings = []
    if curve is not None:
        warnings.append(
            f"recorded with {curve}: the footage looks grey until it is graded, so descriptions may get its colours"
            " wrong"
        )
    if not header.has_known_colours:
        profile = "" if header.dolby_profile is None else f", profile {header.dolby_profile}"
        warnings.append(
            f"Dolby Vision{profile}: only Dolby's own decoder can tell its colours. Images look"
            " green and purple, so descriptions get its colours wrong"
        )
    return tuple(warnings)


def _named_rotation(stream: VideoStream) -> int:
    """The rotation in the tag `rotate`, which programs wrote before containers had a display matrix."""
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    degrees = re.fullmatch(r"\s*(-?\d{1,4})(\.\d*)?\s*", tags.get("rotate", ""))
    return round(int(degrees[1]) / RIGHT_ANGLE) * RIGHT_ANGLE % FULL_TURN if degrees else 0


def _first_frame(container: InputContainer, stream: VideoStream, duration: float | None) -> VideoFrame | None:
    """The first frame that decodes, for its rotation, which PyAV does not read from the header.

    If none is found near the start, which may be damaged, other places are tried; None if those fail too.
    """
    decoder = decoder_of(stream)
    frame = _next_frame(container, stream, decoder)
    for share in FIRST_FRAME_PLACES if duration else ():
        if frame is not None:
            break
        offset = round(share * (duration or 0.0) / (stream.time_base or 1)) + (stream.start_time or 0)
        try:
            container.seek(offset, stream=stream)
        except av.FFmpegError:
            break
        decoder.flush_buffers()
        frame = _next_frame(container, stream, decoder)
    return frame


def _next_frame(container: InputContainer, stream: VideoStream, decoder: VideoCodecContext) -> VideoFrame | None:
    try:
        for packet in islice(container.demux(stream), MAX_FIRST_FRAME_PACKETS):
            try:
                frames = decoder.decode(packet)
            except MemoryError:  # the worker would fail as well
                raise
            except av.FFmpegError:  # damaged
                continue
            for frame in frames:
                return frame
    except IndexError:  # of PyAV, at a packet of a stream that was not there when the file was opened
        pass
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):  # the worker would fail as well
            raise
    return None


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
