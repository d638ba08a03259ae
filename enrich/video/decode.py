"""Every picture of a video, in the decoder's order.

Guarantees: one decoder reads the whole file and is flushed at its end, so no picture is lost; what cannot be
decoded is counted in `failures`, and decoding goes on; a file that breaks off ends the stream. Memory does
not grow with the length of the video. Not for use by several threads at once.
"""

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

FALLBACK_FPS = 25  # for streams that carry neither timestamps nor a rate


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One decoded picture; the picture belongs to the decoder's pool and is large, so let go of it soon."""

    index: int | None  # from 0 in decoder order; None when decoding did not start at the beginning
    timestamp: float  # seconds from the start of the stream
    picture: VideoFrame
    sample_aspect: Fraction  # width of a pixel over its height


class SourceFrames:
    """Iterates over the pictures of a video; a context manager.

    The timestamp is (pts - the stream's start) in seconds, never smoothed or sorted. A picture without pts has
    its dts, which PyAV reads in the order of presentation; one with neither comes a `step` after the picture
    before it.

    With `start`, decoding begins at the last key frame the container knows at or before that second; the
    first pictures may lie a little after it if the container's index is coarse. Their index is None.

    `step` is the time between the last two pictures, in seconds; at first, one frame at the average rate.

    `failures` counts packets that could not be decoded, those an MP4's index lists but a broken-off file lacks,
    and a broken end of the file itself. Pictures that a codec patched up are pictures, as in every player.

    Raises NotAVideoError when opened, or at the end if nothing could be decoded, and VideoMissingError.
    """

    def __init__(self, path: Path | str, *, start: float | None = None, threads: bool = True) -> None:
        self.path = Path(path)
        self._container, self._stream = open_video(self.path)
        self._stream.thread_type = "AUTO" if threads else "NONE"
        self._time_base = self._stream.time_base or Fraction(1, av.time_base)
        rate = self._stream.average_rate or self._stream.guessed_rate or FALLBACK_FPS
        self.step = float(1 / Fraction(rate))
        self.sample_aspect = sample_aspect(self._stream)
        self._seen = 0  # packets read
        self._sent = 0  # packets a picture is expected of
        self.failures = 0
        self.decoded = 0
        self._sought = start is not None
        self._last: float | None = None
        self._pictures: Iterator[SourceFrame] | None = None
        if start is not None:
            self._seek(start)

    @property
    def stream(self) -> VideoStream:
        return self._stream

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._pictures is None:  # a second decoder run would lose what the first holds back
            self._pictures = self._decode()
        return self._pictures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops decoding and closes the file; may be called twice."""
        if self._pictures is not None:
            self._pictures.close()  # type: ignore[attr-defined]  # a generator
        self._container.close()

    def _seek(self, start: float) -> None:
        offset = round(start / self._time_base) + (self._stream.start_time or 0)
        try:
            self._container.seek(offset, stream=self._stream)
        except av.FFmpegError:
            self._container.seek(self._stream.start_time or 0, stream=self._stream)

    def _decode(self) -> Iterator[SourceFrame]:
        for packet in self._packets():
            try:
                pictures = packet.decode()
            except av.EOFError:  # an FFmpegError too: the flush found nothing
                pictures = []
            except av.FFmpegError:
                self.failures += 1
                continue
            for picture in pictures:
                yield self._numbered(picture)
        if self._sent > self.decoded + self.failures and self._stream.thread_type != ThreadType.NONE:
            yield from self._rest()
        require_readable(self.path)  # an unplugged drive looks like the end of the file
        if not self._sought:
            self._count_missing()
            if not self.decoded:
                raise NotAVideoError(f"{self.path} holds a video stream, but none of its pictures can be decoded")

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        """Packets to the end or to where the file breaks off, then the one that flushes the decoder.

        Empty packets, which some files hold, are left out: to a decoder they mean the end.
        """
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self._seen += 1
                    self._sent += not packet.is_discard
                    yield packet
        except av.EOFError:
            pass
        except av.FFmpegError:
            self.failures += 1
        flush: Packet[Any] = Packet()
        flush.stream = self._stream
        yield flush

    def _rest(self) -> Iterator[SourceFrame]:
        """What PyAV drops when a threaded decoder finds damage in the packets it is flushed of.

        The last pictures are decoded again without threads, which give back every error at its packet. A
        stream with hidden pictures (VP8) comes here too, and finds nothing.
        """
        if self._last is None:
            return
        last = self._last
        counted = 0
        with SourceFrames(self.path, start=last, threads=False) as frames:
            for frame in frames:
                if frame.timestamp > last:
                    yield self._numbered(frame.picture)
                else:
                    counted = frames.failures
            self.failures += frames.failures > counted  # the one error PyAV swallowed

    def _count_missing(self) -> None:
        """MP4 and MOV list every picture at the start or end: those the file no longer holds have failed."""
        if "mp4" in self._container.format.name.split(","):
            listed = len(self._stream.index_entries)
            self.failures += max(0, listed - self._seen)

    def _numbered(self, picture: VideoFrame) -> SourceFrame:
        timestamp = self._timestamp(picture)
        if self._last is not None and timestamp > self._last:
            self.step = timestamp - self._last
        self._last = timestamp
        index = None if self._sought else self.decoded
        self.decoded += 1
        return SourceFrame(index, timestamp, picture, self.sample_aspect)

    def _timestamp(self, picture: VideoFrame) -> float:
        ticks = picture.pts if picture.pts is not None else picture.dts
        if ticks is not None:
            return float((ticks - (self._stream.start_time or 0)) * self._time_base)
        return 0.0 if self._last is None else self._last + self.step
