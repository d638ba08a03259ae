"""Reads single frames of a video by seeking instead of decoding all of it.

Guarantees: a returned frame is bit-identical to the one a full decode gives at the same timestamp. Frames with
concealed errors, and frames that depend on frames before the key frame, are not returned. Nothing is returned if the
container cannot seek or its frames carry no timestamps, or once a key frame shows that the clock of the file restarts.
Not guaranteed for damaged files: a full decode may lose a frame that is found here. Nor for large files of joined
recordings, until such a key frame is met. Not thread-safe.
"""

from bisect import insort
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.video.container import (
    FramePresenter,
    decode_packet,
    decoder_of,
    has_exact_seeking,
    has_single_clock,
    open_video,
)
from enrich.video.decode import SourceFrame
from enrich.video.packets import demux
from enrich.video.timeline import FALLBACK_FPS, Timeline

# Seeking in MPEG-TS is by byte position and may land after the requested time; then seek further back.
SEEK_MARGINS_SECONDS = (0.0, 2.0, 10.0)
# Limits on decoding; a billion pixels take one core 2 s (1080p H.264) to 5 s (4K HEVC, 10 bits).
MAX_GOP_PIXELS = 600_000_000  # 300 frames of 1080p
MAX_TOTAL_PIXELS = 1_200_000_000
MOST_BYTES = 500_000_000  # of a file whose packets are read in search of a restart of its clock; takes about a second
MAX_PACKETS = 600  # read in search of a key frame; some streams have only the first
FIELDS_PER_FRAME = 2  # of an interlaced frame; in MPEG-TS each may have its own packet


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A key frame that is not decoded yet."""

    timestamp: float  # seconds from the start of the stream
    packets: "list[Packet[VideoStream]]"  # its own packet and the next one


def _is_joined(path: Path) -> bool:
    """Whether the clock of a file restarts, as far as that is known quickly."""
    container, stream = open_video(path)
    with container:
        is_quick = path.stat().st_size <= MOST_BYTES and not has_single_clock(container, path)
        timeline = Timeline.of(stream)
        with suppress(av.FFmpegError):
            return is_quick and any(timeline.starts for _ in timeline.place(demux(path, container, stream)))
    return bool(timeline.starts)


class Seeker:
    """One open video and its decoder; a context manager. Raises VideoMissingError or NotAVideoError when opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container, self._stream = open_video(path)
        self._decoder = decoder_of(self._stream)
        self._decoder.thread_type = "NONE"  # threads would only delay a single frame
        self._time_base = self._stream.time_base or Fraction(1, av.time_base)
        self._presenter = FramePresenter(path, self._container, self._stream)
        self.sample_aspect = self._presenter.sample_aspect
        self._is_timed = has_exact_seeking(self._container, self._stream) and not _is_joined(path)
        self._places: list[tuple[int, int]] = []  # positions in the file and pts of key frames
        self._decoded_gops: set[int] = set()  # pts of their key frames
        self._pixels_left = MAX_TOTAL_PIXELS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def key_frames_around(self, seconds: float) -> list[KeyFrame]:
        """The key frames before and after a time according to the container, nearest first; decodes nothing."""
        found: dict[float, KeyFrame] = {}
        for is_backward in (True, False):
            packets = list(islice(self._packets_from_key_frame(seconds, is_backward=is_backward), FIELDS_PER_FRAME))
            if packets and packets[0].pts is not None:
                key = KeyFrame(self._seconds(packets[0].pts), packets)
                found[key.timestamp] = key
        return sorted(found.values(), key=lambda key: abs(key.timestamp - seconds))

    def decode_key_frame(self, key: KeyFrame) -> SourceFrame | None:
        """Decode a key frame without the frames after it; None if it has errors."""
        av_frame = self._decode_single(key.packets[:1])
        if av_frame is not None and av_frame.interlaced_frame:  # its second field may be in the next packet
            av_frame = self._decode_single(key.packets)
        return None if av_frame is None else self._source_frame(av_frame)

    def gop_at(self, seconds: float) -> Iterator[SourceFrame]:
        """The frames of the group of pictures (GOP) around a time, up to the first frame with errors.

        Each GOP is decoded once; a second call yields nothing. Decoding ends early after `MAX_GOP_PIXELS`, or after
        `MAX_TOTAL_PIXELS` over all GOPs. A GOP that would end before the requested time is not decoded at all.
        """
        size = max(1, self._stream.width * self._stream.height)
        max_frames = min(MAX_GOP_PIXELS, self._pixels_left) // size
        packets: list[Packet[VideoStream]] = []
        for back in SEEK_MARGINS_SECONDS:
            packets = packets or self._gop_packets(seconds, max_frames, back=back)
        if not packets or packets[0].pts is None or packets[0].pts in self._decoded_gops:
            return
        if (seconds - self._seconds(packets[0].pts)) * self._fps() < max_frames:
            self._decoded_gops.add(packets[0].pts)
            for frame in self._decode(packets, packets[0].pts):
                self._pixels_left -= size
                yield frame

    def _gop_packets(self, seconds: float, limit: int, *, back: float) -> "list[Packet[VideoStream]]":
        """Up to `limit` packets from the last key frame at or before a time to the next one; empty if there is none."""
        packets: list[Packet[VideoStream]] = []
        for packet in self._packets_from_key_frame(seconds - back, is_backward=True):
            if packet.is_keyframe and packet.pts is not None:
                if self._seconds(packet.pts) > seconds or (packets and packet.pts <= (packets[0].pts or 0)):
                    break
                packets = [packet]
            elif packets:
                packets.append(packet)
            if len(packets) >= limit:
                break
        return packets

    def _packets_from_key_frame(self, seconds: float, *, is_backward: bool) -> "Iterator[Packet[VideoStream]]":
        """Seek, then yield the packets from the first key frame to the end or the point of truncation."""
        if not self._is_timed:
            return
        offset = round(seconds / self._time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(offset, backward=is_backward, stream=self._stream)
            is_found = False
            for count, packet in enumerate(demux(self._path, self._container, self._stream)):
                if packet.is_keyframe and not is_found:
                    is_found = True
                    if not self._is_in_order(packet):
                        self._is_timed = False
                        return
                if is_found:
                    yield packet
                elif count > MAX_PACKETS:
                    return
        except av.FFmpegError:
            return

    def _is_in_order(self, packet: "Packet[VideoStream]") -> bool:
        """Whether a key frame is at its place among those found before: later in the file is later in time."""
        if packet.pts is None or packet.pos is None or packet.stream is not self._stream:
            return True
        insort(self._places, (packet.pos, packet.pts))
        place = self._places.index((packet.pos, packet.pts))
        before, after = self._places[:place], self._places[place + 1 :]
        return all(pts <= packet.pts for _, pts in before[-1:]) and all(packet.pts <= pts for _, pts in after[:1])

    def _decode_single(self, packets: "list[Packet[VideoStream]]") -> VideoFrame | None:
        context = self._decoder
        context.flush_buffers()
        try:
            av_frames = [av_frame for packet in (*packets, None) for av_frame in decode_packet(context, packet)]
        except av.FFmpegError:
            return None
        for av_frame in av_frames:
            if av_frame.pts == packets[0].pts:
                return av_frame if av_frame.key_frame and not av_frame.is_corrupt else None
        return None

    def _decode(self, packets: "list[Packet[VideoStream]]", key_pts: int) -> Iterator[SourceFrame]:
        context = self._decoder
        context.flush_buffers()
        try:
            for packet in (*packets, None):
                for av_frame in decode_packet(context, packet):
                    if av_frame.pts is None or av_frame.pts < key_pts:  # depends on frames before the key frame
                        continue
                    if av_frame.is_corrupt:
                        return
                    yield self._source_frame(av_frame)
        except av.FFmpegError:
            return

    def _source_frame(self, av_frame: VideoFrame) -> SourceFrame:
        presented = self._presenter.present(av_frame)
        return SourceFrame(None, self._seconds(av_frame.pts or 0), presented, self.sample_aspect)

    def _seconds(self, pts: int) -> float:
        """Computed as in SourceFrames: the same frame must get the same float."""
        return float((pts - (self._stream.start_time or 0)) * self._time_base)

    def clock_at(self, timestamp: float) -> float:
        """The time of the container's clock at a timestamp, both in seconds."""
        return timestamp + float((self._stream.start_time or 0) * self._time_base)

    def _fps(self) -> float:
        return float(self._stream.average_rate or self._stream.guessed_rate or FALLBACK_FPS)
