"""Agreement: whether a frame that was left out is told by the kept frame that stands for it.

Pictures judge by likeness. Words judge only where they can: it is measured on the film itself how alike a model's
words are for one picture seen twice (re-encoded, so that no pixel is the same) and for pictures known to be different.
The cut between the two is where it tells them apart best (Youden's index); if it hardly does, words have no say.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from enrich.video.distinct import MOVED_LEVELS

FEWEST_MEASURED = 4  # of either kind
LEAST_SEPARATION = 0.9  # chance that the same picture is told more alike than two different ones; 0.5 is guessing


@dataclass(frozen=True, slots=True)
class Judge:
    """How far words can be trusted in one film. `cut`: the least likeness of words for one picture."""

    same: int  # how many likenesses were measured of pictures seen twice
    different: int  # and of pictures known to be different
    separation: float | None  # None: too few
    cut: float

    @property
    def can_judge(self) -> bool:
        return self.separation is not None and self.separation >= LEAST_SEPARATION


def calibrate(same: Sequence[float], different: Sequence[float]) -> Judge:
    """The judge that these likenesses of words make."""
    if min(len(same), len(different)) < FEWEST_MEASURED:
        return Judge(len(same), len(different), None, 0.0)
    high, low = sorted(same), sorted(different)
    wins = sum(bisect_left(low, value) + bisect_right(low, value) for value in high) / 2
    best, cut = -1.0, 0.0
    levels = sorted({*high, *low})
    for below, level in zip([levels[0] - 1, *levels], levels, strict=False):
        right = (len(high) - bisect_left(high, level)) / len(high) + bisect_left(low, level) / len(low)
        if right > best:
            best, cut = right, (max(below, 0.0) + level) / 2
    return Judge(len(high), len(low), wins / (len(high) * len(low)), cut)


@dataclass(frozen=True, slots=True)
class Likenesses:
    """How alike a frame that was left out and its kept frame are."""

    picture: float  # DEFAULT_LIKENESS, 0 to 1
    change: float  # the largest change of a window, 0 to 255
    words: float | None  # None: one of them was not described


@dataclass(frozen=True, slots=True)
class Agreement:
    """The verdict on one pair; None: there is no telling. `moved`: unlike, but left to the kept frame on purpose."""

    by_picture: bool
    by_words: bool | None
    moved: bool = False

    @property
    def agrees(self) -> bool:
        return self.by_picture and self.by_words is not False


def judged(likenesses: Likenesses, judge: Judge, *, least_likeness: float, is_soon: bool = False) -> Agreement:
    """Whether a person comparing the two would write the same.

    Words that differ over pictures that are all but the same are the model's fault, not the frame's. What moves is left
    to a kept frame that is less than the sampling's pace away (`is_soon`): there only words can find a loss.
    """
    is_like = likenesses.picture >= least_likeness
    moved = is_soon and not is_like
    if not judge.can_judge or likenesses.words is None:
        return Agreement(is_like or moved, None, moved)
    is_same_picture = likenesses.change <= MOVED_LEVELS
    return Agreement(is_like or moved, likenesses.words >= judge.cut or is_same_picture, moved)
