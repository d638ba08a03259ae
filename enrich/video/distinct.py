"""The `distinct` sampling: keeps the frames that a person would describe differently from the last kept one.

A frame is kept only if it differs from the last kept frame, and then

- at once, where a scene begins;
- after a sudden change, at the earliest 0.1 s after the last kept frame;
- for new content, once the level's interval has passed (0.4 s for `normal`; moving footage is sampled at that rate), or
  0.4 s after a sudden change, which may have been brief;
- for movement alone, after 2 s.

docs/likeness.md compares this with sampling at regular intervals.
"""

from dataclasses import dataclass

from enrich.video.checkpoint import State
from enrich.video.likeness import ChangeDetector, Likeness, LikenessLevel, largest_change
from enrich.video.signals import Luma, Signals

SUDDEN_CHANGE_SECONDS = 0.1
SETTLED_SECONDS = 0.4
MOVEMENT_SECONDS = 2.0  # a long movement gets a frame at least this often
MIN_DIFFERENCE_LEVELS = 20.0  # of 255; less is noise, or the same to a person
ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class SamplingPace:
    """How often a level keeps frames."""

    seconds: float  # between frames with new content
    sudden_ratio: float  # see ChangeDetector


PACES = {
    LikenessLevel.STRICT: SamplingPace(seconds=0.25, sudden_ratio=3.0),
    LikenessLevel.NORMAL: SamplingPace(seconds=0.4, sudden_ratio=4.5),
    LikenessLevel.LOOSE: SamplingPace(seconds=1.0, sudden_ratio=6.0),
}


class DistinctFrames:
    """Decides frame by frame. Holds the luma of the last kept frame and the state of the change detector."""

    def __init__(self, likeness: Likeness, threshold: float, pace: SamplingPace) -> None:
        self._likeness = likeness
        self._threshold = threshold
        self._pace = pace
        self._changes = ChangeDetector(pace.sudden_ratio)
        self._has_pending_change = False  # a sudden change came too soon after the kept frame
        self._kept: Luma | None = None
        self._kept_time = 0.0
        self._interval = pace.seconds

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        """Whether to keep this frame, as a wanted one always is; later frames are compared with the last kept one."""
        self._has_pending_change |= self._changes.is_sudden(timestamp, luma)
        # Where timestamps jump back, the size of the jump counts as elapsed time.
        seconds = abs(timestamp - self._kept_time) + ROUNDING_SECONDS
        is_sudden = self._is_sudden_change(seconds, luma)
        if not (is_wanted or signals.is_cut or is_sudden or self._is_due(seconds, luma)):
            return False
        self._kept, self._kept_time, self._has_pending_change = luma, timestamp, False
        self._interval = min(self._pace.seconds, SETTLED_SECONDS) if is_sudden else self._pace.seconds
        return True

    def state(self) -> State:
        """The state after the last frame."""
        return {
            "changes": self._changes.state(),
            "has_pending_change": self._has_pending_change,
            "kept": self._kept,
            "kept_time": self._kept_time,
            "interval": self._interval,
        }

    def restore(self, state: State) -> None:
        """Continue from a saved state."""
        self._changes.restore(state["changes"])
        self._has_pending_change = state["has_pending_change"]
        self._kept, self._kept_time, self._interval = state["kept"], state["kept_time"], state["interval"]

    def _is_sudden_change(self, seconds: float, luma: Luma) -> bool:
        if self._kept is None or not self._has_pending_change or seconds < SUDDEN_CHANGE_SECONDS:
            return False
        self._has_pending_change = False  # if the frame looks like the kept one again, the change is over
        return largest_change(self._kept, luma) > MIN_DIFFERENCE_LEVELS

    def _is_due(self, seconds: float, luma: Luma) -> bool:
        if self._kept is None:
            return True
        if seconds < self._interval or largest_change(self._kept, luma) <= MIN_DIFFERENCE_LEVELS:
            return False
        return seconds >= MOVEMENT_SECONDS or self._likeness.measure(self._kept, luma) < self._threshold
