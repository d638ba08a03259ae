"""Selection: measures the source frames of one video in decoder order and decides which of them are kept.

A decision depends on the video, the sampling and the wanted frames only. The state can be saved after any frame, and a
selection that is restored from it makes the same decisions as one that was never interrupted. Kept frames differ in
their timestamps, by which their images are named.
"""

from array import array
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from enrich.video.checkpoint import InvalidCheckpointError, State
from enrich.video.decode import SourceFrame
from enrich.video.sampling import Sampling
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals

MICROSECONDS = 1_000_000
FOLDER_SECONDS = 60  # at most 3,600 images per folder at 60 frames per second


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame that was kept, with the source frames it stands for."""

    index: int  # from 0 in decoder order
    timestamp: float  # seconds from the start of the stream
    until: float  # timestamp of the next kept frame; for the last one, one step after the last source frame
    stands_for: int  # source frames, itself included
    scene: int  # from 0
    image_path: str  # relative to the extraction's folder, with forward slashes
    dhash: int
    sharpness: float
    brightness: float
    motion: float


def microseconds(timestamp: float) -> int:
    """The timestamp as an integer, by which kept frames are distinguished."""
    return round(timestamp * MICROSECONDS)


def image_name(timestamp: float) -> str:
    """The JPEG's path below the video's folder. Depends on the timestamp only, so every extraction gives the same."""
    micros = microseconds(timestamp)
    minute = max(0, micros) // (FOLDER_SECONDS * MICROSECONDS)
    sign = "-" if micros < 0 else ""
    return f"{minute:05d}/{sign}{abs(micros):012d}.jpg"


@dataclass(slots=True)
class OpenFrame:
    """The latest kept frame, whose `stands_for` still grows."""

    index: int
    timestamp: float
    scene: int
    signals: Signals
    stands_for: int = 1

    def finish(self, until: float) -> KeptFrame:
        """The final KeptFrame, once its end is known."""
        signals = self.signals
        return KeptFrame(
            self.index,
            self.timestamp,
            until,
            self.stands_for,
            self.scene,
            image_name(self.timestamp),
            signals.dhash,
            signals.sharpness,
            signals.brightness,
            signals.motion,
        )

    def state(self) -> State:
        """Its values; see `from_state`."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The frame that `state` was called on."""
        return cls(**{**state, "signals": Signals(**state["signals"])})


class KeptTimes:
    """The timestamps kept so far, in microseconds; no two kept frames of a video share one."""

    def __init__(self) -> None:
        self._micros = array("q")
        self._latest: int | None = None
        self._lookup: set[int] | None = None

    def is_new(self, timestamp: float) -> bool:
        micros = microseconds(timestamp)
        if self._latest is None or micros > self._latest:
            return True
        if self._lookup is None:  # built only when time goes backwards; a set takes ten times the memory of the array
            self._lookup = set(self._micros)
        return micros not in self._lookup

    def add(self, timestamp: float) -> None:
        micros = microseconds(timestamp)
        self._micros.append(micros)
        self._latest = micros if self._latest is None else max(self._latest, micros)
        if self._lookup is not None:
            self._lookup.add(micros)

    def state(self) -> State:
        """The timestamps as differences, which compress well."""
        return {"steps": np.diff(np.array(self._micros, np.int64), prepend=0)}

    def restore(self, state: State) -> None:
        """Continue from a saved state."""
        self._micros = array("q", np.cumsum(state["steps"]).tolist())
        self._latest = max(self._micros, default=None)
        self._lookup = None


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
