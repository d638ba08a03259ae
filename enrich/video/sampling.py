"""Sampling: which source frames are kept, and the texts people write for it.

`distinct` (with a level of likeness: `distinct:strict`), `exact`, `every=2s`, `scenes`. The first frame is always
kept; a kept frame stands for what follows it up to the next kept one.
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, assert_never

from enrich.video.distinct import PACES, DistinctFrames
from enrich.video.likeness import DEFAULT_LIKENESS, Likeness, LikenessLevel
from enrich.video.signals import Luma, Signals

ALLOWED = "distinct, distinct:strict, distinct:normal, distinct:loose, exact, scenes, every=2s (or 500ms, 1m)"
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
ROUNDING_SECONDS = 1e-6  # a frame this little before a multiple of the period is on it


class SamplingKind(StrEnum):
    """The ways to choose frames."""

    DISTINCT = "distinct"
    EXACT = "exact"
    EVERY = "every"
    SCENES = "scenes"


class Chooser(Protocol):
    """Decides frame by frame, in decoder order, after the first; it remembers what it kept."""

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        """Whether this frame is kept, as a wanted one always is; if so, later frames are compared with it."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """One way to choose frames; `str()` is the text that is stored."""

    kind: SamplingKind
    likeness: LikenessLevel = LikenessLevel.NORMAL  # for distinct
    period: float = 0.0  # seconds, for every

    def __str__(self) -> str:
        match self.kind:
            case SamplingKind.DISTINCT:
                return f"distinct:{self.likeness}"
            case SamplingKind.EVERY:
                return f"every={self.period:.9g}s"
            case SamplingKind.EXACT | SamplingKind.SCENES:
                return str(self.kind)
        assert_never(self.kind)

    def chooser(self, likeness: Likeness = DEFAULT_LIKENESS) -> Chooser:
        """A fresh chooser for one video."""
        match self.kind:
            case SamplingKind.DISTINCT:
                return DistinctFrames(likeness, likeness.threshold(self.likeness), PACES[self.likeness])
            case SamplingKind.EVERY:
                return _Every(self.period)
            case SamplingKind.EXACT:
                return _Exact()
            case SamplingKind.SCENES:
                return _Scenes()
        assert_never(self.kind)


def parse_sampling(text: str, likeness: str = LikenessLevel.NORMAL) -> Sampling:
    """The sampling a text names; `likeness` is the level of a plain `distinct`. Raises ValueError."""
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
    raise ValueError(f"{text!r} is no sampling: use one of {ALLOWED}")


class _Exact:
    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del timestamp, luma, signals, is_wanted
        return True


class _Scenes:
    """The first frame of a scene: whatever stands for the scene must not come before it."""

    def __init__(self) -> None:
        self._is_first = True

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del timestamp, luma
        first, self._is_first = self._is_first, False
        return first or signals.is_cut or is_wanted


class _Every:
    """The first frame at or after each multiple of the period; a wanted one between two takes no multiple's place."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._last: int | None = None

    def keep(self, timestamp: float, luma: Luma, signals: Signals, *, is_wanted: bool = False) -> bool:
        del luma, signals
        multiple = math.floor((timestamp + ROUNDING_SECONDS) / self._period)
        kept = multiple != self._last
        self._last = multiple
        return kept or is_wanted
