"""Single pictures of a video, found by seeking instead of decoding all of it.

Guarantees: a picture that comes out is the one a full decode gives at the same timestamp, to the bit. So none comes
out that was patched up, or that needs pictures from before the key frame it was decoded from; nothing at all comes out
where the container cannot seek or pictures do not carry their times. Not guaranteed of damaged files: a full decode
may lose a picture that is found here. Not for use by several threads at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.video.container import open_video
from enrich.video.decode import FALLBACK_FPS, SourceFrame
from enrich.video.probe import sample_aspect

# MPEG-TS is sought by position: the next key frame may lie behind the time that was asked for.
STEPS_BACK_SECONDS = (0.0, 2.0, 10.0)
# 1080p H.264 takes 2 s of one core for a billion pixels, 4K HEVC with 10 bits 5 s.
GROUP_PIXELS = 600_000_000  # 300 pictures of 1080p
ALL_GROUPS_PIXELS = 1_200_000_000
MOST_PACKETS = 600  # read in search of a key frame; some streams have none but the first
FIELDS = 2  # of an interlaced picture; in MPEG-TS each may have a packet


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A key frame that was found but not decoded yet."""

    timestamp: float  # seconds from the start of the stream
    packets: "list[Packet[VideoStream]]"  # its own and the next one


class Seeker:
    """One open video and its decoder; a context manager. Raises VideoMissingError or NotAVideoError when opened."""

    def __init__(self, path: Path) -> None:
        self._container, self._stream = open_video(path)
        self._stream.thread_type = "NONE"  # threads only delay the one picture that is wanted
        self._time_base = self._stream.time_base or Fraction(1, av.time_base)
        self.sample_aspect = sample_aspect(self._stream)
        self._is_timed = _is_timed(self._container, self._stream)
        self._groups: set[int] = set()  # pts of the key frames of those that were decoded
        self._pixels_left = ALL_GROUPS_PIXELS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def key_frames_around(self, seconds: float) -> list[KeyFrame]:
        """The key frames the container finds before and after a moment, nearest first; nothing is decoded."""
        found: dict[float, KeyFrame] = {}
        for is_backward in (True, False):
            packets = list(islice(self._packets_from_key_frame(seconds, is_backward=is_backward), FIELDS))
            if packets and packets[0].pts is not None:
                key = KeyFrame(self._seconds(packets[0].pts), packets)
                found[key.timestamp] = key
        return sorted(found.values(), key=lambda key: abs(key.timestamp - seconds))

    def decode_key_frame(self, key: KeyFrame) -> SourceFrame | None:
        """The picture of a key frame, decoded without waiting for those after it; None if it is not clean."""
        picture = self._decode_alone(key.packets[:1])
        if picture is not None and picture.interlaced_frame:  # it may lack its second field
            picture = self._decode_alone(key.packets)
        return None if picture is None else self._frame(picture)

    def group_at(self, seconds: float) -> Iterator[SourceFrame]:
        """The pictures from the last key frame at or before a moment to the next one, as far as they are clean.

        Each group comes once only. It ends early after `GROUP_PIXELS`, and when `ALL_GROUPS_PIXELS` were decoded for
        all groups; it does not come at all if it would end before the moment.
        """
        size = max(1, self._stream.width * self._stream.height)
        most = min(GROUP_PIXELS, self._pixels_left) // size
        packets: list[Packet[VideoStream]] = []
        for back in STEPS_BACK_SECONDS:
            packets = packets or self._group_packets(seconds, most, back=back)
        if not packets or packets[0].pts is None or packets[0].pts in self._groups:
            return
        if (seconds - self._seconds(packets[0].pts)) * self._fps() < most:
            self._groups.add(packets[0].pts)
            for frame in self._decode(packets, packets[0].pts):
                self._pixels_left -= size
                yield frame

    def _group_packets(self, seconds: float, most: int, *, back: float) -> "list[Packet[VideoStream]]":
        """Up to `most` packets from the last key frame at or before a moment to the next one; none if none is found."""
        packets: list[Packet[VideoStream]] = []
        for packet in self._packets_from_key_frame(seconds - back, is_backward=True):
            if packet.is_keyframe and packet.pts is not None:
                if self._seconds(packet.pts) > seconds:
                    break
                packets = [packet]
            elif packets:
                packets.append(packet)
            if len(packets) >= most:
                break
        return packets

    def _packets_from_key_frame(self, seconds: float, *, is_backward: bool) -> "Iterator[Packet[VideoStream]]":
        """Seeks; the packets from the first key frame on, to the end or to where the file breaks off."""
        if not self._is_timed:
            return
        offset = round(seconds / self._time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(offset, backward=is_backward, stream=self._stream)
            is_found = False
            for count, packet in enumerate(self._container.demux(self._stream)):
                is_found = is_found or packet.is_keyframe
                if packet.size and is_found:
                    yield packet
                elif count > MOST_PACKETS:
                    return
        except av.FFmpegError:
            return

    def _decode_alone(self, packets: "list[Packet[VideoStream]]") -> VideoFrame | None:
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            pictures = [picture for packet in (*packets, None) for picture in context.decode(packet)]
        except av.FFmpegError:
            return None
        for picture in pictures:
            if picture.pts == packets[0].pts:
                return picture if picture.key_frame and not picture.is_corrupt else None
        return None

    def _decode(self, packets: "list[Packet[VideoStream]]", key_pts: int) -> Iterator[SourceFrame]:
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            for packet in (*packets, None):
                for picture in context.decode(packet):
                    if picture.pts is None or picture.pts < key_pts:  # made of pictures from before the key frame
                        continue
                    if picture.is_corrupt:
                        return
                    yield self._frame(picture)
        except av.FFmpegError:
            return

    def _frame(self, picture: VideoFrame) -> SourceFrame:
        return SourceFrame(None, self._seconds(picture.pts or 0), picture, self.sample_aspect)

    def _seconds(self, pts: int) -> float:
        """As SourceFrames has it: the same picture must get the same float."""
        return float((pts - (self._stream.start_time or 0)) * self._time_base)

    def _fps(self) -> float:
        return float(self._stream.average_rate or self._stream.guessed_rate or FALLBACK_FPS)


def _is_timed(container: InputContainer, stream: VideoStream) -> bool:
    """Whether times are known wherever reading begins. AVI counts pictures: by its index, if that is whole."""
    if stream.start_time is None:
        return False
    if container.format.name != "avi":
        return True
    entries = stream.index_entries
    if len(entries) <= 1:
        return False
    first, step = entries[0].timestamp, entries[1].timestamp - entries[0].timestamp
    return entries[-1].timestamp - first + step == stream.duration == step * len(entries)
