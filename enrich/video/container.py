"""Opens video files, chooses the track to decode, and shows its frames as players do; only here FFmpeg gets a file.

Only local video files are opened: a path or file content that names a URL, a playlist or a still image is refused.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import av
from av.codec.codec import UnknownCodecError
from av.codec.context import CodecContext
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.filenames import raw_format
from enrich.video.fingerprint import require_readable
from enrich.video.track_headers import Crop, TrackHeader, is_scrambled, read_track_headers
from enrich.video.video_file import VideoBytes, declared_size, ffmpeg_errors, read_errors

MAX_PIXELS = 16384 * 8192  # as 16K video has; a frame of more takes gigabytes, and only damaged files name such sizes
LIMITS = {"max_pixels": str(MAX_PIXELS)}  # an option of FFmpeg's decoders
RIGHT_ANGLE = 90
LEAST_EBML_BYTES = 256  # of another file that follows
GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS
# FFmpeg opens these as video streams, but they are images, text or playlists.
UNSUPPORTED_FORMATS = (
    *("image2", "ico", "fits", "tty", "ansi", "bin", "xbin", "adf", "idf", "svg", "lrc"),
    *("hls", "concat", "dash"),
)
# Formats and brands (of MP4) of pictures; with more than one frame, it is an animation.
IMAGE_FORMATS = ("gif", "apng", "webp_anim", "jpegxl_anim")
IMAGE_BRANDS = ("avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "avci", "avcs", "crx ")
# Tracks that no player shows as the video: cover art, thumbnails, and the tiles or layers of another track.
AUXILIARY = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
# Second versions, such as one with sign language.
ALTERNATIVE = Disposition.hearing_impaired | Disposition.visual_impaired | Disposition.comment | Disposition.dub
IMAGE_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpegls", "ljpeg")
MIN_VIDEO_FPS = 1.0  # of a picture codec; fewer are thumbnails
MIN_LENGTH_SHARE = 0.1  # of the longest track; a shorter one is an insert
PREVIEW_SIZE_FACTOR = 4  # a track with so many times fewer pixels than another may be its preview
STILL_FRAMES = 1.5  # a track of less is a still
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders ignore the alpha of WebM
MAX_SAMPLE_ASPECT = 4  # width of a pixel by its height; discs and broadcasts use up to 2.91
MAX_STRETCHED_SHAPE = 4  # width by height; only a frame whose pixels are stored in such a shape may exceed it
ENCRYPTED = "{path} is encrypted (DRM): only the player it was made for can show it; add a copy without encryption"
TICK = Fraction(1, 1000)  # the filters' time base, which is not used


def upright_size(width: int, height: int, rotation: int, aspect: Fraction) -> tuple[int, int]:
    """The display size in pixels: square pixels (the height is kept, as in video players), then turned upright."""
    width = max(1, round(width * aspect))
    return (height, width) if rotation % (2 * RIGHT_ANGLE) else (width, height)


def sample_aspect(stream: VideoStream, header: TrackHeader) -> Fraction:
    """The width of a pixel divided by its height; 1 if the file does not say, or states what cannot be meant."""
    width, height = stream.codec_context.width, stream.codec_context.height
    aspect = stream.sample_aspect_ratio
    if not aspect or not width or not height:
        return Fraction(1)
    crop = header.crop
    if crop is not None and header.number is None and crop.fits(width, height):
        # Matroska states the display size after cropping, but most writers state the size before it.
        cropped = crop.size(width, height)
        if aspect == Fraction(cropped[1] * width, cropped[0] * height):
            return Fraction(1)
        width, height = cropped
    if not Fraction(1, MAX_SAMPLE_ASPECT) <= aspect <= MAX_SAMPLE_ASPECT:
        return Fraction(1)
    is_stretched = _elongation(width * aspect, height) > MAX_STRETCHED_SHAPE >= _elongation(width, height)
    return Fraction(1) if is_stretched else aspect


def _elongation(width: Fraction | int, height: int) -> float:
    return float(max(width / height, height / width))


class FramePresenter:
    """Shows the decoded frames of one track as players do: cropped as the container says, and opaque over black.

    `size` is the width and height of a presented frame, before rotation; `sample_aspect` is that of its pixels. Not
    thread-safe.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream) -> None:
        self.header = track_header(path, container, stream)
        self.sample_aspect = sample_aspect(stream, self.header)
        self._crop = self.header.crop
        self._graphs: dict[tuple[object, ...], Graph] = {}

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height of a frame of this size once it is presented."""
        crop = self._crop
        return crop.size(width, height) if crop is not None and crop.fits(width, height) else (width, height)

    @ffmpeg_errors("a frame")
    def present(self, frame: VideoFrame) -> VideoFrame:
        """The frame itself, if nothing is to be done."""
        crop = self._crop
        if crop is not None and not crop.fits(frame.width, frame.height):
            crop = None
        if crop is None and not has_alpha(frame.format.name):
            return frame
        key = (frame.format.name, frame.width, frame.height, int(frame.colorspace), int(frame.color_range))
        if key not in self._graphs:
            self._graphs[key] = _presentation(frame, crop)
        self._graphs[key].vpush(frame)
        return self._graphs[key].vpull()


def _presentation(frame: VideoFrame, crop: Crop | None) -> Graph:
    """A filter that crops, and multiplies the colours by their alpha."""
    graph = Graph()
    graph.threads = 1
    nodes = [
        graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(TICK),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
    ]
    if crop is not None:
        width, height = crop.size(frame.width, frame.height)
        nodes.append(graph.add("crop", f"{width}:{height}:{crop.left}:{crop.top}:exact=1"))
    if has_alpha(frame.format.name):
        nodes.append(graph.add("premultiply", "inplace=1"))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


@lru_cache
def has_alpha(pixel_format: str) -> bool:
    """Whether a pixel format has transparency. A palette may."""
    return pixel_format == "pal8" or any(component.is_alpha for component in VideoFormat(pixel_format).components)


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The decoder for a stream, which is the stream's own unless another decodes its alpha."""
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    try:
        decoder = cast("VideoCodecContext", CodecContext.create(name, "r"))
    except UnknownCodecError:  # FFmpeg was built without it
        return stream.codec_context
    decoder.options = stream.codec_context.options
    return decoder


def decode_packet(decoder: VideoCodecContext, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
    """The frames that the decoder gives for a packet, or for the end. Raises av.FFmpegError."""
    frames = decoder.decode(packet)
    # libvpx does not say which frames are key frames.
    if packet is not None and packet.is_keyframe and decoder.name in ALPHA_DECODERS.values():
        for frame in frames:
            frame.key_frame = frame.pts == packet.pts  # type: ignore[misc]  # the stubs have no setter
    return frames


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


def track_header(path: Path, container: InputContainer, stream: VideoStream) -> TrackHeader:
    """What the file's header says about a video stream."""
    return _headers(path, container)[stream.index]


def _headers(path: Path, container: InputContainer) -> dict[int, TrackHeader]:
    """The header of each video stream, by the stream's index."""
    streams = container.streams.video
    with read_errors(path):
        found = read_track_headers(path, _format_names(container))
    by_number = {header.number: header for header in found}
    in_order = dict(zip((stream.index for stream in streams), found, strict=False)) if None in by_number else {}
    return {s.index: by_number.get(s.id) or in_order.get(s.index) or TrackHeader() for s in streams}


def choose_stream(container: InputContainer, headers: Mapping[int, TrackHeader] | None = None) -> VideoStream | None:
    """The video stream that is the video: what players show by default, and no preview; None if there is none.

    `headers` are those of the streams, by index, which say what is encrypted.

    Tracks that can be decoded come first, then those that move for a good part of the time, then the default track,
    then the largest. The first of equals wins. Two default tracks are equals, unless one is small enough for a preview.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & AUXILIARY]
    moving = [stream for stream in streams if not _is_still(stream)]
    longest = max((_seconds(stream) or 0.0 for stream in moving), default=0.0)
    largest = max((_pixels(stream) for stream in moving), default=0)

    def size(stream: VideoStream) -> int:
        is_default = stream.disposition & Disposition.default
        is_large = _pixels(stream) * PREVIEW_SIZE_FACTOR > largest
        return largest if is_default and is_large else _pixels(stream)

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, bool, int]:
        context: object = stream.codec_context  # may be None, which the stubs do not say
        return (
            context is not None and not (headers is not None and headers[stream.index].is_encrypted),
            not _is_still(stream) and (_seconds(stream) or longest) >= longest * MIN_LENGTH_SHARE,
            not stream.disposition & ALTERNATIVE,
            bool(stream.disposition & Disposition.default),
            size(stream),
        )

    return max(streams, key=rank, default=None)


def _pixels(stream: VideoStream) -> int:
    context: object = stream.codec_context  # may be None, which the stubs do not say
    return 0 if context is None else stream.codec_context.width * stream.codec_context.height


def _is_still(stream: VideoStream) -> bool:
    """Whether a track is a still or a series of thumbnails."""
    fps = float(stream.average_rate or 0)
    context: object = stream.codec_context  # may be None, which the stubs do not say
    is_image_codec = context is not None and stream.codec_context.name in IMAGE_CODECS
    seconds = _seconds(stream)
    return (
        stream.frames == 1
        or (is_image_codec and 0 < fps < MIN_VIDEO_FPS)
        or (seconds is not None and 0 < seconds * fps < STILL_FRAMES)
    )


def _seconds(stream: VideoStream) -> float | None:
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska, whose other duration is that of the file
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None


def has_single_clock(container: InputContainer, path: Path) -> bool:
    """Whether the container's format rules out that its clock restarts, as far as its first bytes tell.

    MP4 and AVI have one index of all frames, in which a seek stays. Matroska has one clock in each segment, and joined
    files have several.
    """
    if is_format(container, "mp4", "avi"):
        return True
    declared = declared_size(path) if is_format(container, "matroska") else None
    return declared is not None and declared > path.stat().st_size - LEAST_EBML_BYTES


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Open a file; returns the container and its video stream. The caller closes the container.

    Raises VideoMissingError or NotAVideoError.
    """
    status = require_readable(path)
    if status.st_size == 0:
        raise NotAVideoError(f"{path} is empty: copy it again from the original")
    if raw := raw_format(path):
        raise NotAVideoError(f"{path} {raw}")
    container = _open(path)
    # PyAV asks the demuxer to generate missing timestamps, which are wrong for the last frames.
    container.flags &= ~GENERATE_PTS
    try:
        return container, _checked_stream(path, container)
    except BaseException:
        container.close()
        raise


def _open(path: Path) -> InputContainer:
    try:
        return av.open(
            VideoBytes(path),
            "r",
            metadata_errors="replace",
            options=LIMITS,
            container_options={"protocol_whitelist": "file"},
        )
    except (av.FFmpegError, ValueError) as error:
        with read_errors(path):
            is_encrypted = is_scrambled(path, ["mpegts"])
        if is_encrypted:
            raise NotAVideoError(ENCRYPTED.format(path=path)) from error
        if (declared_size(path) or 0) > path.stat().st_size:
            raise NotAVideoError(
                f"{path} is cut short, and its index is missing: copy it again from the original"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAVideoError(f"{path} is not a video, or its start is damaged: {reason}") from error


def _checked_stream(path: Path, container: InputContainer) -> VideoStream:
    formats = _format_names(container)
    if any(name in UNSUPPORTED_FORMATS or name.endswith("_pipe") for name in formats):
        raise NotAVideoError(f"{path} is an image, a playlist or a text, not a video")
    if _is_still_image(path, container):
        raise NotAVideoError(f"{path} is a still picture, not a video")
    headers = _headers(path, container)
    stream = choose_stream(container, headers)
    if stream is None:
        raise NotAVideoError(f"{path} has no video stream, only sound or other data")
    with read_errors(path):
        is_encrypted = headers[stream.index].is_encrypted or is_scrambled(path, formats, stream.id)
    if is_encrypted:
        raise NotAVideoError(ENCRYPTED.format(path=path))
    context: object = stream.codec_context  # may be None, which the stubs do not say
    if context is None:
        raise NotAVideoError(f"{path} has a video codec that is not supported: convert it to H.264 first")
    stream.codec_context.options = LIMITS  # the size may change in a later frame
    return stream


def _is_still_image(path: Path, container: InputContainer) -> bool:
    """Whether the file is in a picture format, and has one frame."""
    if container.metadata.get("major_brand") in IMAGE_BRANDS:
        return all(stream.frames <= 1 for stream in container.streams.video)
    if not is_format(container, *IMAGE_FORMATS):
        return False
    with ffmpeg_errors(path), _open(path) as again:  # some of these formats cannot seek back
        return sum(1 for packet, _ in zip(again.demux(video=0), range(2), strict=False) if packet.size) <= 1


def is_format(container: InputContainer, *names: str) -> bool:
    """Whether the container is of one of these formats, by FFmpeg's names."""
    return not set(names).isdisjoint(_format_names(container))


def _format_names(container: InputContainer) -> list[str]:
    return container.format.name.split(",")


def open_rest(path: Path, start: int) -> InputContainer | None:
    """Open a file as if it began at a byte; None if no container begins there. The caller closes the container."""
    with suppress(av.FFmpegError, ValueError):
        return av.open(
            VideoBytes(path, start),
            "r",
            metadata_errors="replace",
            options=LIMITS,
            container_options={"protocol_whitelist": "file"},
        )
    return None
