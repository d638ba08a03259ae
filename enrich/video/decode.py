"""Decodes every source frame of a video, in decoder order.

Guarantees: one decoder reads the whole file and is flushed at the end, so no frame is lost. Packets that cannot be
decoded are counted in `failures` and skipped. A truncated file ends the stream without an error. Memory use does not
grow with the length of the video. Not thread-safe.

Decoding can continue at a key frame as if it had begun at the start: with the same frames, indexes and counts.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.video.checkpoint import InvalidCheckpointError
from enrich.video.container import (
    FramePresenter,
    decode_packet,
    decoder_of,
    has_exact_seeking,
    has_single_clock,
    open_video,
)
from enrich.video.fingerprint import require_readable
from enrich.video.length import VideoEnd
from enrich.video.packets import demux, demux_from, is_key_frame, packets_before
from enrich.video.timeline import FALLBACK_FPS, Clock, ClockEpoch, FrameTimes, Timeline, clock_of
from enrich.video.video_file import ffmpeg_errors

PACKETS_IN_DECODER = 64  # at most: reordered frames, and one for each decoding thread

ONE_FRAME_PER_PACKET = ("h264", "hevc")  # unless interlaced; these drop some frames without an error


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One decoded frame. `av_frame` is large and belongs to the decoder's pool: release it soon."""

    index: int | None  # from 0 in decoder order; None if decoding did not start at the beginning
    timestamp: float  # seconds from the start of the stream
    av_frame: VideoFrame
    sample_aspect: Fraction  # width of a pixel divided by its height


@dataclass(frozen=True, slots=True)
class _KeyPacket:
    """What was read before the packet of a key frame, and of it."""

    packets_read: int
    frames_expected: int
    byte_position: int | None  # if the container knows it
    timeline: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DecodePosition(_KeyPacket):
    """A decoded key frame at which decoding can continue, and what was counted until then. JSON values only."""

    pts: int  # shifted as the timeline says
    decoded: int  # frames, itself included
    failures: int
    step: float  # seconds
    epochs: list[dict[str, Any]]


class SourceFrames:
    """Iterates over the source frames of a video; a context manager.

    Timestamps are (pts - start of the stream) in seconds, never smoothed or sorted. A frame without pts uses its dts,
    which PyAV gives in presentation order. A frame with neither is placed one `step` after the previous frame. Where
    the clock of the file starts anew or jumps, its times are shifted: see `enrich.video.timeline`. A frame at the time
    of one before it is placed a microsecond later, so that no two frames of a video have the same timestamp.

    With `start` (seconds), decoding begins at the last key frame at or before that time. Where `clock` allows it, it is
    found by seeking; if the container's index is coarse, the first frames may come a little later than `start`. Else
    packets are read from the start of the file without decoding them. The index of all frames is then None. A container
    that cannot seek, such as a raw stream, is decoded from its first frame, and frames have their index.

    With `continue_at`, the first frame is that key frame, and everything is counted as if decoding had begun at the
    start. Raises InvalidCheckpointError if the key frame is not found.

    `step` is the time between the last two frames in seconds; at first, one frame at the average rate.

    `failures` counts packets that could not be decoded, frames that are missing in a file that is cut short, and an
    unreadable end of the file. Frames with errors concealed by the decoder count as frames, as in any player.

    After the last frame, `length` is how long the video is, in seconds. `stated_length` is how long it should be, if
    its file is cut short.

    Raises VideoMissingError, also at a read error, DecodingError, and NotAVideoError when opened or at the end if no
    frame could be decoded.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: float | None = None,
        clock: Clock = Clock.UNKNOWN,
        continue_at: DecodePosition | None = None,
        threads: bool = True,
    ) -> None:
        self.path = Path(path)
        self._threads = threads
        self._open()
        self._time_base = self._stream.time_base or Fraction(1, av.time_base)
        rate = self._stream.average_rate or self._stream.guessed_rate or FALLBACK_FPS
        self.step = float(1 / Fraction(rate))
        self._presenter = FramePresenter(self.path, self._container, self._stream)
        self.sample_aspect = self._presenter.sample_aspect
        self._timeline = Timeline.of(self._stream)
        self._times = FrameTimes(self._timeline)
        self._packets_skipped = 0  # read, but not decoded
        self._packets_read = 0
        self._frames_expected = 0  # packets read that should each give a frame
        self.failures = 0
        self.decoded = 0
        self.length: float | None = None
        self.stated_length: float | None = None
        self._has_seeked = start is not None and self._go_to(start, clock)
        self._last: float | None = None  # timestamp of the last frame
        self._frames: Iterator[SourceFrame] | None = None
        self._has_exact_seeking = has_exact_seeking(self._container, self._stream)
        self._latest: int | None = None  # in ticks of the stream's time base
        self._has_gone_back = False
        self._last_failure: int | None = None  # `packets_read` at the time
        self._key_packets: dict[int, _KeyPacket] = {}  # by pts
        self._position: DecodePosition | None = None
        self._continue_at = continue_at
        if continue_at is not None:
            self.decoded, self.failures = continue_at.decoded - 1, continue_at.failures
            self._packets_read, self._frames_expected = continue_at.packets_read, continue_at.frames_expected
            self.step = continue_at.step
            self._timeline = Timeline(**continue_at.timeline)
            self._times = FrameTimes(self._timeline, [ClockEpoch(**epoch) for epoch in continue_at.epochs])

    @property
    def clock(self) -> Clock:
        """What the frames decoded so far say about the video's clock."""
        return clock_of(self.epochs)

    @property
    def epochs(self) -> list[ClockEpoch]:
        """The epochs of the video, as far as decoded."""
        return self._times.epochs

    @property
    def position(self) -> DecodePosition | None:
        """The position of the last frame, if decoding can continue there."""
        return self._position

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._frames is None:  # a second iterator would lose the frames buffered in the decoder
            self._frames = self._translated()
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding and close the file. Idempotent."""
        if self._frames is not None:
            self._frames.close()  # type: ignore[attr-defined]  # a generator
        self._container.close()

    def _open(self) -> None:
        self._container, self._stream = open_video(self.path)
        self._decoder = decoder_of(self._stream)
        self._decoder.thread_type = self._stream.thread_type = "AUTO" if self._threads else "NONE"
        self._decoded_stream = self._stream
        self._end = VideoEnd(self._stream)  # not that of a closed container, whose memory is freed

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _go_to(self, start: float, clock: Clock) -> bool:
        """Go to the last key frame at or before a time. False: decoding begins at the first frame."""
        if clock is Clock.REPEATS:
            return False
        if clock is Clock.STEADY or (clock is Clock.UNKNOWN and has_single_clock(self._container, self.path)):
            return self._seek(start)
        ticks = self._timeline.ticks(start)
        self._packets_skipped = packets_before(self.path, self._container, self._stream, ticks)
        self._reopen()
        return self._packets_skipped > 0

    def _seek(self, start: float) -> bool:
        """Seek to a time, or to the start if the container has no such time. False: it cannot seek at all."""
        for offset in (self._timeline.ticks(start), self._timeline.start):
            try:
                self._container.seek(offset, stream=self._stream)
            except av.FFmpegError:
                continue
            return True
        self._reopen()  # the failed seek may have read packets
        return False

    def _translated(self) -> Iterator[SourceFrame]:
        with ffmpeg_errors(self.path):
            yield from self._decode()

    def _decode(self) -> Iterator[SourceFrame]:
        for packet in self._packets():
            try:
                av_frames = self._decode_packet(packet)
            except av.EOFError:  # also an FFmpegError; the flush returned no frames
                av_frames = []
            except av.FFmpegError:
                self._count_failure(packet)
                continue
            for av_frame in av_frames:
                if not self._is_before_continuation(av_frame):
                    yield self._source_frame(self._presenter.present(av_frame))
        if self._continue_at is not None and self._last is None:
            raise InvalidCheckpointError("the key frame cannot be decoded")
        is_incomplete = self._frames_expected > self.decoded + self.failures
        if is_incomplete and self._stream.thread_type != ThreadType.NONE:
            yield from self._decode_dropped()
        require_readable(self.path)  # a disconnected drive looks like the end of the file
        if not self._has_seeked:
            if not self.decoded:
                raise NotAVideoError(f"{self.path} has a video stream, but {self._why_nothing_decoded()}")
            self._count_dropped()
            self._measure_length()

    def _decode_packet(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        """Decode a packet. A recording that follows in the same file has a decoder of its own."""
        rest: list[VideoFrame] = []
        is_next = packet.size and packet.stream is not self._decoded_stream
        is_moved = self._container.format.name == "mpegts" and packet.stream.codec_context.name == self._decoder.name
        if is_next and not is_moved:  # to another PID
            with suppress(av.FFmpegError):
                rest = decode_packet(self._decoder, None)
            self._decoded_stream, self._decoder = packet.stream, decoder_of(packet.stream)
            self._decoder.thread_type = self._stream.thread_type
        return [*rest, *decode_packet(self._decoder, packet)]

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """All packets up to the end or the point of truncation, then a packet that flushes the decoder."""
        skipped = 0
        try:
            for packet, is_exact in self._timeline.place(self._demux()):
                if skipped < self._packets_skipped:
                    skipped += 1
                    continue
                if is_exact and packet.is_keyframe and packet.pts is not None:
                    self._add_key_packet(packet.pts, packet.pos)
                self._packets_read += 1
                if not packet.is_discard:
                    self._frames_expected += 1
                    self._end.note_packet(packet)
                yield packet
        except av.EOFError:
            pass
        except av.FFmpegError:
            self.failures += 1
        flush: Packet[Any] = Packet()
        flush.stream = self._stream
        yield flush

    def _demux(self) -> "Iterator[Packet[VideoStream]]":
        """The packets from the beginning or, after a seek, from the key frame at which decoding continues."""
        if self._continue_at is None:
            yield from demux(self.path, self._container, self._stream)
            return
        position = self._continue_at
        pts = position.pts - position.timeline["offset"]  # not shifted
        packets = None
        if not position.timeline["starts"]:  # else a seek may land in another epoch
            packets = demux_from(self.path, self._container, self._stream, pts, position.byte_position)
        if packets is None:
            self._reopen()
            packets = islice(demux(self.path, self._container, self._stream), position.packets_read, None)
        is_found = False
        for packet in packets:
            if not is_found and not is_key_frame(packet, pts, position.byte_position):
                break
            is_found = True
            yield packet
        if not is_found:
            raise InvalidCheckpointError(f"no key frame has the timestamp {self._continue_at.pts}")

    def _add_key_packet(self, pts: int, byte_position: int | None) -> None:
        read, expected = self._packets_read, self._frames_expected
        self._key_packets[pts] = _KeyPacket(read, expected, byte_position, asdict(self._timeline))
        if len(self._key_packets) > PACKETS_IN_DECODER:
            del self._key_packets[next(iter(self._key_packets))]

    def _count_failure(self, packet: "Packet[VideoStream]") -> None:
        """Count a packet that cannot be decoded, unless it precedes the frame at which decoding continues.

        Such packets follow the key frame in the file, but are shown before it and depend on frames before it.
        """
        if self._continue_at is not None and packet.pts is not None and packet.pts < self._continue_at.pts:
            return
        self.failures += 1
        self._last_failure = self._packets_read

    def _is_before_continuation(self, av_frame: VideoFrame) -> bool:
        """Whether a frame was decoded before the interruption. Raises InvalidCheckpointError."""
        if self._continue_at is None or self._last is not None:
            return False
        ticks = self._ticks(av_frame)
        if ticks is not None and ticks >= self._continue_at.pts:
            if av_frame.pts != self._continue_at.pts or not av_frame.key_frame:
                raise InvalidCheckpointError(f"no key frame has the timestamp {self._continue_at.pts}")
            return False
        return True

    def _position_of(self, av_frame: VideoFrame) -> DecodePosition | None:
        """The position of the frame just counted, if decoding can continue there with the same counts."""
        pts, ticks = av_frame.pts, self._ticks(av_frame)
        if ticks is None or (self._latest is not None and ticks <= self._latest):
            self._has_gone_back = True  # a timestamp may occur twice: it identifies no frame
        self._latest = ticks
        if pts is None or not self._has_exact_seeking or self._has_gone_back or self._has_seeked:
            return None
        counted = self._key_packets.get(pts)
        was_failing = self._last_failure is not None and self._packets_read - self._last_failure <= PACKETS_IN_DECODER
        if counted is None or was_failing or not av_frame.key_frame or av_frame.is_corrupt:
            return None
        epochs = [asdict(epoch) for epoch in self.epochs]
        read = (counted.packets_read, counted.frames_expected, counted.byte_position, counted.timeline)
        return DecodePosition(*read, pts, self.decoded, self.failures, self.step, epochs)

    def _decode_dropped(self) -> Iterator[SourceFrame]:
        """Frames that PyAV drops when a threaded decoder meets damaged packets while it is flushed.

        Decodes the last frames again without threads, where every error is raised at its own packet. Streams with
        hidden frames (VP8) get here too; nothing is found for them.
        """
        if self._last is None:
            return
        last = self._last
        counted = 0
        with SourceFrames(self.path, start=last, clock=self.clock, threads=False) as frames:
            for frame in frames:
                if frame.timestamp > last:
                    yield self._source_frame(frame.av_frame)
                else:
                    counted = frames.failures
            self.failures += frames.failures > counted  # the one error that PyAV swallowed

    def _why_nothing_decoded(self) -> str:
        if self._packets_read and not self._frames_expected:
            return "its edit list hides all of its frames: export it again with the program that made it"
        return "none of its frames can be decoded: copy it again from the original"

    def _count_dropped(self) -> None:
        """Count the frames that a decoder dropped without an error, because of damage before them."""
        if self._stream.codec_context.name in ONE_FRAME_PER_PACKET and not self._end.is_interlaced:
            self.failures = max(self.failures, self._frames_expected - self.decoded)

    def _measure_length(self) -> None:
        """Compare the length that the file states with its end, and count what is missing there."""
        measured = self._end.measure(
            self.path,
            self._container,
            decoded=self.decoded,
            last=self._last or 0.0,
            step=self.step,
            packets_read=self._packets_read,
            last_key_pts=next(reversed(self._key_packets), 0),
        )
        self.length, self.stated_length = measured.seconds, measured.stated
        self.failures += measured.missing

    def _source_frame(self, av_frame: VideoFrame) -> SourceFrame:
        timestamp = self._times.place(self._ticks(av_frame), self.step, self.decoded)
        if self._last is not None and timestamp > self._last:
            self.step = timestamp - self._last
        self._last = timestamp
        index = None if self._has_seeked else self.decoded
        self.decoded += 1
        self._end.note_frame(av_frame)
        self._position = self._position_of(av_frame)
        return SourceFrame(index, timestamp, av_frame, self.sample_aspect)

    def _ticks(self, av_frame: VideoFrame) -> int | None:
        return av_frame.pts if av_frame.pts is not None else av_frame.dts
