"""Distinct: the frames that a person would describe differently from the kept one before.

Likeness says what is new; time says how soon it must be looked at again. A frame is kept

- where a scene begins, at once;
- where something in it surprises, 0.1 s after the last kept frame at the earliest;
- where it holds new content, once the level's pace is over (0.4 s for `normal`: moving pictures get that many), or
  0.4 s after a surprise, which may have been a short one;
- where things only moved, after 2 s;

each time only if it differs from the kept frame. docs/likeness.md compares this with a clock.
"""

from dataclasses import dataclass

from enrich.video.likeness import ChangeDetector, Likeness, LikenessLevel, largest_change
from enrich.video.signals import Luma, Signals

SURPRISE_SECONDS = 0.1
SETTLED_SECONDS = 0.4
MOVED_SECONDS = 2.0  # a long movement gets a picture at least so often
MOVED_LEVELS = 20.0  # of 255: less than that is noise, or the same to a person
ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class SamplingPace:
    """How eager a level is."""

    seconds: float  # between frames with new content
    surprise_ratio: float  # see Surprises


PACES = {
    LikenessLevel.STRICT: SamplingPace(seconds=0.25, surprise_ratio=3.0),
    LikenessLevel.NORMAL: SamplingPace(seconds=0.4, surprise_ratio=4.5),
    LikenessLevel.LOOSE: SamplingPace(seconds=1.0, surprise_ratio=6.0),
}


class DistinctFrames:
    """The chooser; it holds the kept frame and the last one."""

    def __init__(self, likeness: Likeness, threshold: float, pace: SamplingPace) -> None:
        self._likeness = likeness
        self._threshold = threshold
        self._pace = pace
        self._surprises = ChangeDetector(pace.surprise_ratio)
        self._is_waiting = False  # a surprise that came too soon after the kept frame
        self._kept: Luma | None = None
        self._kept_time = 0.0
        self._wait = pace.seconds

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        """Whether this frame is kept, as a wanted one always is; if so, later frames are compared with it."""
        self._is_waiting |= self._surprises.sees(timestamp, luma)
        # Where a stream's times jump back, as much time is over as they jumped.
        seconds = abs(timestamp - self._kept_time) + ROUNDING_SECONDS
        is_surprise = self._is_surprise(seconds, luma)
        if not (is_wanted or signals.is_cut or is_surprise or self._is_due(seconds, luma)):
            return False
        self._kept, self._kept_time, self._is_waiting = luma, timestamp, False
        self._wait = min(self._pace.seconds, SETTLED_SECONDS) if is_surprise else self._pace.seconds
        return True

    def _is_surprise(self, seconds: float, luma: Luma) -> bool:
        if self._kept is None or not self._is_waiting or seconds < SURPRISE_SECONDS:
            return False
        self._is_waiting = False  # if all is as it was, it has passed
        return largest_change(self._kept, luma) > MOVED_LEVELS

    def _is_due(self, seconds: float, luma: Luma) -> bool:
        if self._kept is None:
            return True
        if seconds < self._wait or largest_change(self._kept, luma) <= MOVED_LEVELS:
            return False
        return seconds >= MOVED_SECONDS or self._likeness.measure(self._kept, luma) < self._threshold
