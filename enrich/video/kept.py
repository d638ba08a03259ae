"""Kept frames: the values an extraction yields, the names of their images, and uniqueness of their timestamps."""

from array import array
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from enrich.video.checkpoint import State
from enrich.video.signals import Signals

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
