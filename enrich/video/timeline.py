"""One timeline for a video whose clock may restart, jump or repeat.

Recordings that were joined byte by byte have a clock that starts anew, or jumps, in the middle. Each stretch between
two such places is an epoch. Its packets are shifted so that its first frame comes one frame step after the last frame
before it. Within an epoch, timestamps are those of the container. What is no new epoch: reordered frames, the small
steps back of odd files, and gaps, such as the minutes without a change in a recording of a screen.

The offset depends on the packets before only, so a reader that skips packets without decoding them gets the same
timestamps. A reader that seeks does not: see `Clock`.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from typing import Self

from av import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

FALLBACK_FPS = 25  # for streams with neither timestamps nor a frame rate
MOST_FPS = 240  # a higher rate in a header is that of the clock
# How far decoding times may go back within an epoch. At a key frame they hardly do.
MOST_REORDERED_FRAMES = 16
MOST_REORDERED_SECONDS = 0.5
KEY_FRAME_STEPS = 3
KEY_FRAME_OVERLAP = 0.5  # of a frame step
MOVED_STEPS = 0.5  # a track that goes on under another PID goes on later than this, or its clock is another one
GAP_SECONDS = 3600  # a longer one is a jump, unless the file states it as the duration of the frame before
GAP_STEPS = 100
GAP_SHARE = 0.5  # of a gap that the duration of the frame before must cover
MICROSECONDS = 1_000_000
RECENT_FRAMES = 1024  # whose times are remembered where a clock goes back
LOOKAHEAD_PACKETS = 32  # in which the first frame shown in an epoch is searched


class Clock(StrEnum):
    """What is known of a video's clock, and so how a frame at a time can be reached."""

    UNKNOWN = "unknown"  # not fully decoded yet
    STEADY = "steady"  # each frame is later than the one before it: seeking finds it
    RESTARTS = "restarts"  # several epochs: packets are skipped from the start
    REPEATS = "repeats"  # a time occurs twice in an epoch: frames are counted from the start


@dataclass(frozen=True, slots=True)
class ClockEpoch:
    """A stretch of a video between two restarts of its clock."""

    first_index: int  # of its first source frame
    first_at: float  # timestamp of that frame, in seconds
    clock_at: float  # the same in the container's clock, in seconds
    is_steady: bool  # each of its frames is later than the one before it


@dataclass(slots=True)
class Timeline:
    """Places packets on one timeline. All times are ticks of the stream's time base, before they are shifted."""

    start: int  # of the stream
    tick: tuple[int, int]  # seconds, as numerator and denominator
    step: int  # one frame at the average rate
    second: int  # in ticks
    offset: int = 0
    track: int | None = None  # the id of the last packet's stream
    last: int | None = None  # decoding time of the last packet
    last_duration: int = 0
    delay: int = 0  # between decoding and showing the first packet of the epoch
    lacks_times: bool = False  # a packet of the epoch has a decoding time only
    is_intra_only: bool = True  # each packet of the epoch is a key frame
    latest: int | None = None  # the latest time at which a packet is shown
    latest_duration: int = 0
    before_latest: int | None = None
    starts: list[tuple[int, int]] = field(
        default_factory=list
    )  # of the epochs after the first: start (shifted), offset

    @classmethod
    def of(cls, stream: VideoStream) -> Self:
        """The timeline of a stream that has not been read yet."""
        time_base = stream.time_base or Fraction(1, 1_000_000)
        rate = Fraction(stream.average_rate or stream.guessed_rate or FALLBACK_FPS)
        step = max(1 / rate, Fraction(1, MOST_FPS)) / time_base
        tick = (time_base.numerator, time_base.denominator)
        return cls(stream.start_time or 0, tick, max(1, round(step)), max(1, round(1 / time_base)))

    def seconds(self, ticks: int) -> float:
        """The timestamp at a time of the stream: seconds from its start."""
        return float((ticks - self.start) * Fraction(*self.tick))

    def ticks(self, seconds: float) -> int:
        """The time of the stream at a timestamp."""
        return round(seconds / Fraction(*self.tick)) + self.start

    def place(self, packets: "Iterable[Packet[VideoStream]]") -> "Iterator[tuple[Packet[VideoStream], bool]]":
        """Yield shifted packets, and whether the state is that after the packet (not after a later one)."""
        first: list[Packet[VideoStream]] = []  # of an epoch, until it is known which of them is shown first
        end: int | None = None  # of the epoch before, shifted
        failure: FFmpegError | None = None
        try:
            for packet in packets:
                if self._is_restart(packet):
                    yield from self._settled(first, end)
                    first, end = [], self._end()
                    self.last = self.latest = self.before_latest = None
                    self.is_intra_only, self.lacks_times = True, False
                self._note(packet)
                if end is None:
                    yield self._moved(packet), True
                    continue
                first.append(packet)
                if self._is_start_known(first):
                    yield from self._settled(first, end)
                    first, end = [], None
        except FFmpegError as error:
            failure = error
        yield from self._settled(first, end)
        if failure is not None:
            raise failure

    def _is_restart(self, packet: "Packet[VideoStream]") -> bool:
        clock = _decoding_time(packet)
        if clock is None or self.last is None:
            return False
        gap = clock - self.last
        if packet.stream.id != self.track and gap < MOVED_STEPS * self.step:
            return True
        if gap > max(GAP_SECONDS * self.second, GAP_STEPS * self.step):
            return self.last_duration < GAP_SHARE * gap
        if not packet.is_keyframe:
            return -gap >= max(MOST_REORDERED_FRAMES * self.step, MOST_REORDERED_SECONDS * self.second)
        # Frames before a key frame are shown before it. Where each frame is one, its time may be inexact.
        is_late = not self.is_intra_only and packet.pts is not None and self.latest is not None
        if is_late and (self.latest or 0) - (packet.pts or 0) >= KEY_FRAME_OVERLAP * self.step:
            return True
        return -gap >= KEY_FRAME_STEPS * self.step

    def _note(self, packet: "Packet[VideoStream]") -> None:
        clock = _decoding_time(packet)
        if clock is None:
            return
        if self.last is None:
            self.delay = packet.pts - packet.dts if packet.pts is not None and packet.dts is not None else 0
        self.lacks_times = self.lacks_times or packet.pts is None
        self.is_intra_only = self.is_intra_only and packet.is_keyframe
        self.last, self.last_duration, self.track = clock, packet.duration or 0, packet.stream.id
        shown = self._shown(packet)
        if shown is None or shown == self.latest:
            return
        if self.latest is None or shown > self.latest:
            self.before_latest, self.latest, self.latest_duration = self.latest, shown, packet.duration or 0
        elif self.before_latest is None or shown > self.before_latest:
            self.before_latest = shown

    def _shown(self, packet: "Packet[VideoStream]") -> int | None:
        if packet.pts is not None:
            return packet.pts
        return None if packet.dts is None else packet.dts + self.delay

    def _end(self) -> int:
        """One frame step after the last frame of the epoch, shifted."""
        latest = self.latest or 0
        between = latest - self.before_latest if self.before_latest is not None else 0
        step = self.latest_duration or (between if 0 < between < self.second else self.step)
        end = latest + step
        if self.lacks_times and self.last is not None:
            end = max(end, self.last + (self.last_duration or self.step) + self.delay)
        return end + self.offset

    def _is_start_known(self, first: "list[Packet[VideoStream]]") -> bool:
        """Whether no later packet is shown before all of these: a packet is never shown before it is decoded."""
        shown = [time for packet in first if (time := self._shown(packet)) is not None]
        return len(first) >= LOOKAHEAD_PACKETS or (
            bool(shown) and first[-1].dts is not None and first[-1].dts >= min(shown)
        )

    def _settled(
        self, first: "list[Packet[VideoStream]]", end: int | None
    ) -> "Iterator[tuple[Packet[VideoStream], bool]]":
        shown = [time for packet in first if (time := self._shown(packet)) is not None]
        if end is not None and shown:
            self.offset = end - min(shown)
            self.starts.append((end, self.offset))
        for packet in first:
            yield self._moved(packet), False

    def _moved(self, packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
        if self.offset:
            if packet.pts is not None:
                packet.pts += self.offset
            if packet.dts is not None:
                packet.dts += self.offset
        return packet


class FrameTimes:
    """Gives the frames of a video their timestamps, no two the same, and notes its epochs.

    A frame at the time of one before it is placed a microsecond later, or at the next free one. Memory use does not
    grow with the length of the video.
    """

    def __init__(self, timeline: Timeline, epochs: list[ClockEpoch] | None = None) -> None:
        self._timeline = timeline
        self.epochs = epochs or []
        self._number = self._number_at(self.epochs[-1].first_at) if self.epochs else 0
        self._untimed = 0  # frames without a time since the last one that had one
        self._untimed_from = self._untimed_step = 0.0
        self._latest: int | None = None  # in microseconds, as what follows
        self._recent: deque[int] = deque()
        self._known: set[int] = set()  # the same
        self._forgotten: int | None = None  # the latest of those no longer remembered
        self._asked: int | None = None
        self._given: int | None = None

    def place(self, ticks: int | None, step: float, index: int) -> float:
        """The timestamp of the next frame; without a time of its own, it is one `step` (seconds) after the last one."""
        timestamp = self._timestamp(ticks, step)
        asked = round(timestamp * MICROSECONDS)
        is_latest = self._latest is None or asked > self._latest
        given = asked if is_latest else self._free(asked)
        self._remember(asked, given)
        placed = timestamp if given == asked else given / MICROSECONDS
        number = self._number_at(placed)
        if not self.epochs or number > self._number:
            offset = self._timeline.starts[number - 1][1] if number else 0
            self.epochs.append(ClockEpoch(index, placed, placed - self._timeline.seconds(offset), is_steady=True))
            self._number = number
        elif not is_latest and self.epochs[-1].is_steady:
            self.epochs[-1] = replace(self.epochs[-1], is_steady=False)
        return placed

    def _timestamp(self, ticks: int | None, step: float) -> float:
        if ticks is not None:
            self._untimed = 0
            return self._timeline.seconds(ticks)
        if self._untimed == 0:
            self._untimed_from = 0.0 if self._given is None else self._given / MICROSECONDS + step
            self._untimed_step = step
        self._untimed += 1
        return round(self._untimed_from + (self._untimed - 1) * self._untimed_step, 6)  # errors must not add up

    def _number_at(self, timestamp: float) -> int:
        """How many times the clock restarted up to a timestamp."""
        return bisect_right(self._timeline.starts, self._timeline.ticks(timestamp), key=lambda start: start[0])

    def _free(self, micros: int) -> int:
        if micros == self._asked and self._given is not None:
            micros = self._given + 1
        if self._forgotten is not None and self._latest is not None and micros <= self._forgotten:
            micros = self._latest + 1
        while micros in self._known:
            micros += 1
        return micros

    def _remember(self, asked: int, given: int) -> None:
        self._asked, self._given = asked, given
        self._latest = given if self._latest is None else max(self._latest, given)
        self._recent.append(given)
        self._known.add(given)
        if len(self._recent) > RECENT_FRAMES:
            oldest = self._recent.popleft()
            self._known.discard(oldest)
            self._forgotten = oldest if self._forgotten is None else max(self._forgotten, oldest)


def clock_of(epochs: Sequence[ClockEpoch]) -> Clock:
    """What the epochs of a fully decoded video say about its clock."""
    if any(not epoch.is_steady for epoch in epochs):
        return Clock.REPEATS
    if not epochs:
        return Clock.UNKNOWN
    return Clock.RESTARTS if len(epochs) > 1 else Clock.STEADY


def _decoding_time(packet: "Packet[VideoStream]") -> int | None:
    return packet.dts if packet.dts is not None else packet.pts
