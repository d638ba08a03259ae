"""Reads single source frames of a video by index or by time, whether they were kept or not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from enrich.errors import NotAVideoError, VideoError
from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.timeline import Clock

# A seek may land after the frame, or on frames that depend on earlier ones; then seek further back.
SEEK_MARGINS_SECONDS = (0.0, 2.0, 10.0, 60.0)
SAME_SECONDS = 5e-7  # frames at the same time in the file are a microsecond apart
MOST_REORDERED_FRAMES = 16  # in an odd file, a frame at exactly the requested time may follow a later one


@dataclass(frozen=True, slots=True)
class FramePosition:
    """A frame whose index and timestamp are both known, such as a kept frame."""

    index: int
    timestamp: float  # seconds from the start of the stream


class FrameNotFoundError(VideoError):
    """The video has no frame with this index."""


def read_source_frame(
    path: Path | str,
    *,
    index: int | None = None,
    timestamp: float | None = None,
    near: tuple[int, float] | None = None,
    clock: Clock = Clock.UNKNOWN,
) -> SourceFrame:
    """Read the frame with this index (decoder order), or the frame shown at this time (the last at or before it).

    `near` is the (index, timestamp) of a known frame at or before the requested one, which saves decoding from the
    start. It is verified: if the video has no frame at that time, frames are counted from 0. A frame found by time
    without `near` may have index None. A time before the first frame gives the first frame, a time after the end the
    last. `clock` says how frames can be reached; while it is unknown, packets are read from the start of the file,
    unless its format rules out that the clock restarts.

    Raises FrameNotFoundError, whose message states the number of frames, NotAVideoError or VideoMissingError.
    """
    known = FramePosition(*near) if near is not None else None
    if index is not None and timestamp is None:
        if index < 0:
            raise FrameNotFoundError(f"frame {index} does not exist: frames are numbered from 0")
        return _by_index(Path(path), index, known, clock)
    if timestamp is not None and index is None:
        return _by_time(Path(path), timestamp, known, clock)
    raise TypeError("pass either an index or a timestamp")


def read_source_frames(
    path: Path | str, first: int, last: int, *, near: tuple[int, float] | None = None, clock: Clock = Clock.UNKNOWN
) -> Iterator[SourceFrame]:
    """Read the frames from index `first` to `last`, both included, in one pass; others as in `read_source_frame`.

    Ends early if the video has fewer frames. Raises NotAVideoError or VideoMissingError.
    """
    found = False
    if near is not None and near[0] <= first:
        for frame in _in_range(_from_position(Path(path), FramePosition(*near), clock), first, last):
            found = True
            yield frame
    if not found:
        with SourceFrames(path) as frames:
            yield from _in_range(iter(frames), first, last)


def _in_range(frames: Iterator[SourceFrame], first: int, last: int) -> Iterator[SourceFrame]:
    for frame in frames:
        index = frame.index if frame.index is not None else -1
        if index > last:
            return
        if index >= first:
            yield frame


def _by_index(path: Path, index: int, near: FramePosition | None, clock: Clock) -> SourceFrame:
    if near is not None and near.index <= index:
        for frame in _from_position(path, near, clock):
            if frame.index == index:
                return frame
    with SourceFrames(path) as frames:
        for frame in frames:
            if frame.index == index:
                return frame
        count = frames.decoded
    raise FrameNotFoundError(f"{path.name} has no frame {index}: it has {count} frames, 0 to {count - 1}")


def _by_time(path: Path, timestamp: float, near: FramePosition | None, clock: Clock) -> SourceFrame:
    if near is not None and near.timestamp <= timestamp + SAME_SECONDS:
        found = _last_until(_from_position(path, near, clock), timestamp, clock)
        if found is not None:
            return found
    for back in SEEK_MARGINS_SECONDS if clock is not Clock.REPEATS else ():
        if timestamp - back <= 0:
            break
        found = _last_until(_from_key_frame(path, timestamp - back, timestamp, clock), timestamp, clock)
        if found is not None:
            return found
    with SourceFrames(path) as frames:
        found = _last_until(iter(frames), timestamp, clock)
    if found is None:
        raise NotAVideoError(f"{path} has no frames that can be decoded: copy it again from the original")
    return found


def _from_position(path: Path, position: FramePosition, clock: Clock) -> Iterator[SourceFrame]:
    """The frames from a known position on, with indexes; none if the video has no frame at that position."""
    if clock is Clock.REPEATS:
        return
    for back in SEEK_MARGINS_SECONDS:
        index: int | None = None
        for frame in _from_key_frame(path, position.timestamp - back, position.timestamp, clock):
            if index is None and abs(frame.timestamp - position.timestamp) <= SAME_SECONDS:
                index = position.index
                if frame.index not in (None, index):  # counted from the start
                    return
            if index is not None:
                yield replace(frame, index=index)
                index += 1
            elif frame.timestamp > position.timestamp:
                return
        if index is not None or position.timestamp < back:
            return


def _from_key_frame(path: Path, start: float, until: float, clock: Clock) -> Iterator[SourceFrame]:
    """The frames from the last key frame before `start` on; none if they begin after `until` or not with a key frame.

    Frames that precede a key frame in time but follow it in the file depend on frames from before it.
    """
    with SourceFrames(path, start=start, clock=clock) as frames:
        is_first = True
        for frame in frames:
            if is_first and (not frame.av_frame.key_frame or frame.timestamp > until + SAME_SECONDS):
                return
            is_first = False
            yield frame


def _last_until(frames: Iterator[SourceFrame], timestamp: float, clock: Clock) -> SourceFrame | None:
    """The last frame at or before a time, or the first frame if all are later; None without frames."""
    found = None
    later = 0
    for frame in frames:
        if found is not None and frame.timestamp > timestamp + SAME_SECONDS:
            later += 1
            if clock is not Clock.REPEATS or later > MOST_REORDERED_FRAMES:
                break
        elif found is None or frame.timestamp >= found.timestamp or found.timestamp > timestamp + SAME_SECONDS:
            found = frame
    return found
