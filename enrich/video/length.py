"""How long a video is: what its header states, as far as it can be believed, and what decoding it measured."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.video.container import is_format
from enrich.video.video_file import declared_size

# A length at which a file has less than this is wrong in the header. Still, black video takes about 20 bytes a frame.
MIN_BITS_PER_SECOND = 1000
MIN_BYTES_PER_FRAME = {"avi": 24}  # an AVI chunk's header and its entry in the index
MIN_BYTES_PER_OTHER_FRAME = 4
MAX_BYTES_PER_PIXEL = 8  # not compressed
MAX_SOUND_BYTES = 50_000_000  # per second; also for pictures of other streams, and for what is not played
LENGTH_TOLERANCE_SECONDS = 0.1  # of a header, or 2 frames
SHORT_SECONDS = 1.0  # a file that ends so much earlier than it says is cut short
MAX_FRAMES = 2**31  # half a year at 120 frames a second; the database stores no more
FORMATS_WITH_LENGTH = ("mov", "matroska", "flv", "mxf", "rm")  # for others, FFmpeg estimates the length


def frame_rate(stream: VideoStream) -> float | None:
    """Frames per second, as the header says; None if it does not say."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


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
    frames = seconds * (frame_rate(stream) or 0)
    frame_bytes = MIN_BYTES_PER_FRAME.get(container.format.name, MIN_BYTES_PER_OTHER_FRAME)
    fewest = max(seconds * MIN_BITS_PER_SECOND / 8, frames * frame_bytes)
    most = (frames + 1) * stream.width * stream.height * MAX_BYTES_PER_PIXEL + (seconds + 1) * MAX_SOUND_BYTES
    return seconds > 0 and fewest <= size_bytes and (not frames or (frames > 0.5 and size_bytes <= most))  # noqa: PLR2004  # rounded


def frame_estimate(
    container: InputContainer, stream: VideoStream, duration: float | None, size_bytes: int
) -> int | None:
    """How many source frames a video of this duration (seconds) has, before it is decoded; None if unknown."""
    fps = frame_rate(stream)
    by_length = round(duration * fps) if duration and fps else None
    if _avi_duration(container, stream) is not None:
        return len(stream.index_entries)
    is_whole = stream.frames > (by_length or 0) / 2  # a fragmented MP4 may list its first fragment only
    if fps and is_whole and _is_plausible(container, stream, stream.frames / fps, size_bytes):
        return stream.frames
    return by_length if by_length is not None and by_length < MAX_FRAMES else None


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
class MeasuredLength:
    """How long a video is, in seconds; `stated` is how long its file says that it is, if it is cut short."""

    seconds: float
    stated: float | None
    missing: int  # frames after the end of a file that is cut short


class VideoEnd:
    """Notes where the packets and frames of a stream end while it is decoded, and measures its length by that."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._time_base = stream.time_base or Fraction(1, av.time_base)
        self._packets_end = 0.0  # of the last packet, decoded or not; seconds from the start of the stream
        self._held = 0.0  # seconds that the last frame is shown, if the file says
        self.is_interlaced = False

    def note_packet(self, packet: "Packet[VideoStream]") -> None:
        """Take notice of a packet that was read, whose times are those of the video's timeline."""
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0) - (self._stream.start_time or 0)) * self._time_base)
            self._packets_end = max(self._packets_end, end)

    def note_frame(self, av_frame: VideoFrame) -> None:
        """Take notice of a decoded frame."""
        self._held = float(av_frame.duration * self._time_base)
        self.is_interlaced = self.is_interlaced or av_frame.interlaced_frame

    def measure(
        self,
        path: Path,
        container: InputContainer,
        *,
        decoded: int,
        last: float,
        step: float,
        packets_read: int,
        last_key_pts: int,
    ) -> MeasuredLength:
        """The length of a video that was decoded to its end.

        `decoded` counts its frames, and `last` is the timestamp of the last one; `step` is the time to the frame after
        it, both in seconds. The header is believed if it agrees with the frames. A length that only the sound reaches
        is no sign of damage.
        """
        stream = self._stream
        end = last + step
        seconds = round(end, 6)
        listed = len(stream.index_entries) if is_format(container, "mov") else 0
        missing = max(0, listed - packets_read)  # listed, but not in the file
        size, declared = container.size, declared_size(path)
        stated = stated_duration(container, stream, max(size, declared or 0))
        if stated is None:
            return MeasuredLength(seconds, None, missing)
        tolerance = max(LENGTH_TOLERANCE_SECONDS, 2 * end / decoded)
        if end - tolerance <= stated <= max(end, last + self._held, self._packets_end) + tolerance:
            return MeasuredLength(stated, None, missing)
        read_until = max(end, self._packets_end)
        if (
            stated - read_until <= SHORT_SECONDS
            or stated - _sound_end(container, stream, last_key_pts) <= SHORT_SECONDS
        ):
            return MeasuredLength(seconds, None, missing)
        is_cut = True if missing else None if declared is None else declared > size + 1  # AVI pads to even sizes
        if is_cut is False or (is_cut is None and not is_format(container, *FORMATS_WITH_LENGTH)):
            return MeasuredLength(seconds, None, missing)
        if is_cut and not missing:
            missing = round((stated - read_until) * decoded / end)
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
