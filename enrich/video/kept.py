"""A kept frame: what an extraction says of it, what its picture is called, and which times are taken."""

from array import array
from dataclasses import dataclass

from enrich.video.signals import Signals

MICROSECONDS = 1_000_000
FOLDER_SECONDS = 60  # 3,600 pictures a folder at 60 frames a second


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame that was kept, with the source frames it stands for."""

    index: int  # from 0 in decoder order
    timestamp: float  # seconds from the start of the stream
    until: float  # the next kept frame's timestamp; of the last one, a step after the last source frame's
    stands_for: int  # source frames, itself included
    scene: int  # from 0
    image_path: str  # relative to the extraction's folder, with forward slashes
    dhash: int
    sharpness: float
    brightness: float
    motion: float


def microseconds(timestamp: float) -> int:
    """A timestamp as kept frames are told apart by it."""
    return round(timestamp * MICROSECONDS)


def image_name(timestamp: float) -> str:
    """The JPEG's path below the video's folder, from the timestamp alone: the same in every extraction."""
    micros = microseconds(timestamp)
    minute = max(0, micros) // (FOLDER_SECONDS * MICROSECONDS)
    sign = "-" if micros < 0 else ""
    return f"{minute:05d}/{sign}{abs(micros):012d}.jpg"


@dataclass(slots=True)
class OpenFrame:
    """The kept frame that frames are still being left to."""

    index: int
    timestamp: float
    scene: int
    signals: Signals
    stands_for: int = 1

    def closed(self, until: float) -> KeptFrame:
        """The frame, once it is known until when it stands; see KeptFrame."""
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


class KeptTimes:
    """Which timestamps were kept, to the microsecond: no two kept frames of a video share one."""

    def __init__(self) -> None:
        self._micros = array("q")
        self._latest: int | None = None
        self._lookup: set[int] | None = None

    def is_new(self, timestamp: float) -> bool:
        micros = microseconds(timestamp)
        if self._latest is None or micros > self._latest:
            return True
        if self._lookup is None:  # only once time has gone backwards; a set takes ten times the memory
            self._lookup = set(self._micros)
        return micros not in self._lookup

    def add(self, timestamp: float) -> None:
        micros = microseconds(timestamp)
        self._micros.append(micros)
        self._latest = micros if self._latest is None else max(self._latest, micros)
        if self._lookup is not None:
            self._lookup.add(micros)
