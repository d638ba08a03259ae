"""Selection: measures the source frames of one video in decoder order and decides which of them are kept.

A decision depends on the video, the sampling and the wanted frames only. The state can be saved after any frame, and a
selection that is restored from it makes the same decisions as one that was never interrupted.
"""

from collections.abc import Collection

import numpy as np

from enrich.video.checkpoint import InvalidCheckpointError, State
from enrich.video.decode import SourceFrame
from enrich.video.kept import KeptFrame, KeptTimes, OpenFrame, microseconds
from enrich.video.sampling import Sampling
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals


class FrameSelection:
    """One pass over a video. `wanted` are timestamps in seconds; frames at these times are always kept."""

    def __init__(self, sampling: Sampling, wanted: Collection[float] = ()) -> None:
        self._sampling = sampling
        self._wanted = frozenset(map(microseconds, wanted))
        self._chooser = sampling.chooser()
        self._shrinker = LumaShrinker()
        self._meter = SignalMeter()
        self._times = KeptTimes()
        self._scene = 0
        self._open: OpenFrame | None = None

    def take(self, frame: SourceFrame) -> tuple[bool, KeptFrame | None]:
        """Whether the next frame is kept; and the kept frame before it, if this one ends it."""
        luma = self._shrinker.shrink(frame.av_frame)
        signals = self._meter.measure(luma)
        self._scene += signals.is_cut
        before = self._open
        if not self._is_kept(frame, luma, signals) and before is not None:
            before.stands_for += 1
            return False, None
        self._times.add(frame.timestamp)
        index = 0 if before is None else before.index + before.stands_for
        self._open = OpenFrame(index, frame.timestamp, self._scene, signals)
        return True, before.finish(frame.timestamp) if before is not None else None

    def end(self, until: float) -> KeptFrame | None:
        """The last kept frame, which ends at `until` (seconds); None if there were no frames."""
        return self._open.finish(until) if self._open is not None else None

    def state(self) -> State:
        """The state after the last frame taken, which includes that frame's luma."""
        return {
            "sampling": str(self._sampling),
            "wanted": np.array(sorted(self._wanted), np.int64),
            "chooser": self._chooser.state(),
            "meter": self._meter.state(),
            "times": self._times.state(),
            "scene": self._scene,
            "open": self._open.state() if self._open is not None else None,
        }

    def restore(self, state: State, frame: SourceFrame) -> None:
        """Continue after `frame`, which must be the last one taken. Raises InvalidCheckpointError."""
        if state["sampling"] != str(self._sampling) or set(state["wanted"].tolist()) != self._wanted:
            raise InvalidCheckpointError("made for another sampling")
        if not np.array_equal(state["meter"]["previous"], self._shrinker.shrink(frame.av_frame)):
            raise InvalidCheckpointError(f"another frame is at {frame.timestamp:.6f} s")
        self._chooser.restore(state["chooser"])
        self._meter.restore(state["meter"])
        self._times.restore(state["times"])
        self._scene = state["scene"]
        self._open = OpenFrame.from_state(state["open"])

    def _is_kept(self, frame: SourceFrame, luma: Luma, signals: Signals) -> bool:
        is_wanted = microseconds(frame.timestamp) in self._wanted
        return self._times.is_new(frame.timestamp) and self._chooser.keep(
            frame.timestamp, luma, signals, is_wanted=is_wanted
        )
