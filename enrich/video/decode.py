"""Decodes every source frame of a video, in decoder order.

Guarantees: one decoder reads the whole file and is flushed at the end, so no frame is lost. Packets that cannot be
decoded are counted in `failures` and skipped. A truncated file ends the stream without an error. Memory use does not
grow with the length of the video. Not thread-safe.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.codec.context import ThreadType
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from enrich.errors import NotAVideoError
from enrich.video.container import open_video
from enrich.video.fingerprint import require_readable
from enrich.video.probe import sample_aspect

FALLBACK_FPS = 25  # for streams with neither timestamps nor a frame rate


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One decoded frame. `av_frame` is large and belongs to the decoder's pool: release it soon."""

    index: int | None  # from 0 in decoder order; None if decoding did not start at the beginning
    timestamp: float  # seconds from the start of the stream
    av_frame: VideoFrame
    sample_aspect: Fraction  # width of a pixel divided by its height


class SourceFrames:
    """Iterates over the source frames of a video; a context manager.

    Timestamps are (pts - start of the stream) in seconds, never smoothed or sorted. A frame without pts uses its dts,
    which PyAV gives in presentation order. A frame with neither is placed one `step` after the previous frame.

    With `start` (seconds), decoding begins at the last key frame in the container's index at or before that time. If
    the index is coarse, the first frames may come a little later than `start`. The index of all frames is then None.

    `step` is the time between the last two frames in seconds; at first, one frame at the average rate.

    `failures` counts packets that could not be decoded, packets that an MP4's index lists but a truncated file lacks,
    and an unreadable end of the file. Frames with errors concealed by the decoder count as frames, as in any player.

    Raises VideoMissingError, and NotAVideoError when opened or at the end if no frame could be decoded.
    """

    def __init__(self, path: Path | str, *, start: float | None = None, threads: bool = True) -> None:
        self.path = Path(path)
        self._container, self._stream = open_video(self.path)
        self._stream.thread_type = "AUTO" if threads else "NONE"
        self._time_base = self._stream.time_base or Fraction(1, av.time_base)
        rate = self._stream.average_rate or self._stream.guessed_rate or FALLBACK_FPS
        self.step = float(1 / Fraction(rate))
        self.sample_aspect = sample_aspect(self._stream)
        self._packets_read = 0
        self._frames_expected = 0  # packets read that should each give a frame
        self.failures = 0
        self.decoded = 0
        self._has_seeked = start is not None
        self._last: float | None = None  # timestamp of the last frame
        self._frames: Iterator[SourceFrame] | None = None
        if start is not None:
            self._seek(start)

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._frames is None:  # a second iterator would lose the frames buffered in the decoder
            self._frames = self._decode()
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

    def _seek(self, start: float) -> None:
        offset = round(start / self._time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(offset, stream=self._stream)
        except av.FFmpegError:
            with contextlib.suppress(av.FFmpegError):  # raw streams cannot be sought at all: decoded from their start
                self._container.seek(self._stream.start_time or 0, stream=self._stream)

    def _decode(self) -> Iterator[SourceFrame]:
        for packet in self._packets():
            try:
                av_frames = packet.decode()
            except av.EOFError:  # also an FFmpegError; the flush returned no frames
                av_frames = []
            except av.FFmpegError:
                self.failures += 1
                continue
            for av_frame in av_frames:
                yield self._source_frame(av_frame)
        is_incomplete = self._frames_expected > self.decoded + self.failures
        if is_incomplete and self._stream.thread_type != ThreadType.NONE:
            yield from self._decode_dropped()
        require_readable(self.path)  # a disconnected drive looks like the end of the file
        if not self._has_seeked:
            self._count_missing_packets()
            if not self.decoded:
                raise NotAVideoError(
                    f"{self.path} has a video stream, but none of its frames can be decoded: "
                    "copy it again from the original"
                )

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """All packets up to the end or the point of truncation, then a packet that flushes the decoder.

        Empty packets, which some files contain, are skipped: a decoder takes them for the end of the stream.
        """
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._packets_read += 1
                    self._frames_expected += not packet.is_discard
                    yield packet
        except av.EOFError:
            pass
        except av.FFmpegError:
            self.failures += 1
        flush: Packet[Any] = Packet()
        flush.stream = self._stream
        yield flush

    def _decode_dropped(self) -> Iterator[SourceFrame]:
        """Frames that PyAV drops when a threaded decoder meets damaged packets while it is flushed.

        Decodes the last frames again without threads, where every error is raised at its own packet. Streams with
        hidden frames (VP8) get here too; nothing is found for them.
        """
        if self._last is None:
            return
        last = self._last
        counted = 0
        with SourceFrames(self.path, start=last, threads=False) as frames:
            for frame in frames:
                if frame.timestamp > last:
                    yield self._source_frame(frame.av_frame)
                else:
                    counted = frames.failures
            self.failures += frames.failures > counted  # the one error that PyAV swallowed

    def _count_missing_packets(self) -> None:
        """Count the packets that the index of an MP4 or MOV lists but the file does not contain."""
        if "mp4" in self._container.format.name.split(","):
            listed = len(self._stream.index_entries)
            self.failures += max(0, listed - self._packets_read)

    def _source_frame(self, av_frame: VideoFrame) -> SourceFrame:
        timestamp = self._timestamp(av_frame)
        if self._last is not None and timestamp > self._last:
            self.step = timestamp - self._last
        self._last = timestamp
        index = None if self._has_seeked else self.decoded
        self.decoded += 1
        return SourceFrame(index, timestamp, av_frame, self.sample_aspect)

    def _timestamp(self, av_frame: VideoFrame) -> float:
        ticks = av_frame.pts if av_frame.pts is not None else av_frame.dts
        if ticks is not None:
            return float((ticks - (self._stream.start_time or 0)) * self._time_base)
        return 0.0 if self._last is None else self._last + self.step
