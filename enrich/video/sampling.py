"""Sampling: which source frames are kept, and the text form of this setting.

The forms are `distinct` (optionally with a likeness level: `distinct:strict`), `exact`, `every=2s` and `scenes`. The
first frame is always kept. A kept frame stands for the frames after it, up to the next kept one.
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, assert_never

from enrich.video.checkpoint import State
from enrich.video.distinct import PACES, DistinctFrames
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.signals import Luma, Signals

SAMPLING_EXAMPLES = "distinct, distinct:strict, distinct:normal, distinct:loose, exact, scenes, every=2s (or 500ms, 1m)"
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
ROUNDING_SECONDS = 1e-6  # a frame this close before a multiple of the period counts as on it


class SamplingKind(StrEnum):
    """The ways to choose frames."""

    DISTINCT = "distinct"
    EXACT = "exact"
    EVERY = "every"
    SCENES = "scenes"


class Chooser(Protocol):
    """Decides frame by frame, in decoder order. Stateful: one chooser per video."""

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        """Whether to keep this frame, as a wanted one always is; later frames are compared with the last kept one."""

    def state(self) -> State:
        """What later decisions depend on, after the last frame."""

    def restore(self, state: State) -> None:
        """Continue from a saved state."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """One way to choose frames; `str()` gives the text form stored in the database."""

    kind: SamplingKind
    likeness: LikenessLevel = LikenessLevel.NORMAL  # for DISTINCT
    period: float = 0.0  # seconds, for EVERY

    def __str__(self) -> str:
        match self.kind:
            case SamplingKind.DISTINCT:
                return f"distinct:{self.likeness}"
            case SamplingKind.EVERY:
                return f"every={self.period:.9g}s"
            case SamplingKind.EXACT | SamplingKind.SCENES:
                return str(self.kind)
        assert_never(self.kind)

    def chooser(self) -> Chooser:
        """A new chooser for one video."""
        match self.kind:
            case SamplingKind.DISTINCT:
                threshold = DEFAULT_LIKENESS.threshold(self.likeness)
                return DistinctFrames(DEFAULT_LIKENESS, threshold, PACES[self.likeness])
            case SamplingKind.EVERY:
                return _Every(self.period)
            case SamplingKind.EXACT:
                return _Exact()
            case SamplingKind.SCENES:
                return _Scenes()
        assert_never(self.kind)


def parse_sampling(text: str, likeness: str = LikenessLevel.NORMAL) -> Sampling:
    """Parse the text form; `likeness` is the level of `distinct` without one. Raises ValueError."""
    name = text.strip().lower()
    if name in (SamplingKind.EXACT, SamplingKind.SCENES):
        return Sampling(SamplingKind(name))
    if name.split(":")[0] == SamplingKind.DISTINCT:
        level = name.partition(":")[2] if ":" in name else likeness
        if level in tuple(LikenessLevel):
            return Sampling(SamplingKind.DISTINCT, likeness=LikenessLevel(level))
    every = re.fullmatch(r"every=(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?", name)
    if every:
        period = float(every[1]) * UNIT_SECONDS[every[2] or "s"]
        if period >= UNIT_SECONDS["ms"]:
            return Sampling(SamplingKind.EVERY, period=period)
    raise ValueError(f"{text!r} is not a valid sampling: use one of {SAMPLING_EXAMPLES}")


class _Exact:
    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del timestamp, luma, signals, is_wanted
        return True

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        del state


class _Scenes:
    """The first frame of each scene: the frame that stands for a scene must be inside it."""

    def __init__(self) -> None:
        self._is_first = True

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del timestamp, luma
        first, self._is_first = self._is_first, False
        return first or signals.is_cut or is_wanted

    def state(self) -> State:
        return {"is_first": self._is_first}

    def restore(self, state: State) -> None:
        self._is_first = state["is_first"]


class _Every:
    """The first frame at or after each multiple of the period; wanted frames are kept in addition."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._last: int | None = None

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del luma, signals
        multiple = math.floor((timestamp + ROUNDING_SECONDS) / self._period)
        kept = multiple != self._last
        self._last = multiple
        return kept or is_wanted

    def state(self) -> State:
        return {"last": self._last}

    def restore(self, state: State) -> None:
        self._last = state["last"]
