"""Agreement: whether a frame that was left out is told by the kept frame that stands for it.

Pictures judge by likeness. Words judge only where they can: it is measured on the film itself how alike a model's
words are for one picture seen twice (re-encoded, so that no pixel is the same) and for pictures known to be different.
The cut between the two is where it tells them apart best (Youden's index); if it hardly does, words have no say.

Words: how alike two descriptions are, as far as the words that carry something go.

A description becomes a set of stems: of its text, tags, objects and what is said of people, activity, setting and
writing, without stop words. Two sets are as alike as the weight of what they share over the weight of what they have
(Jaccard's index), where a word weighs the more, the fewer descriptions of the film have it: "picture" or "street" in a
film of one street say nothing.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from enrich.describe.describer import Description
from enrich.video.distinct import MOVED_LEVELS

WORD = re.compile(r"\w+")
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")  # kana, Han, Thai: no spaces between words
SHORTEST_STEM = 3
ENDINGS = ("ingly", "edly", "ings", "ing", "ed", "es", "ly", "s", "e")
_STOP_WORDS = """
    a about above across after against all along also an and another any appear appears are around as at away be
    behind being below beside between both but by can close could do does down each either few for from front frame
    further has have having he her here him his image in into is it its just left like likely may middle more most
    near next no not of off on only or other out over part photo picture possibly rather right scene see seem seems
    seen several she show showing shows side so some someone something still such than that the their them then there
    these they this those through to toward towards under up upon very video view visible was we were what where
    which while who with within you
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
FEWEST_MEASURED = 4  # of either kind
LEAST_SEPARATION = 0.9  # chance that the same picture is told more alike than two different ones; 0.5 is guessing


def content_words(description: Description) -> frozenset[str]:
    """The stems of a description's words, without stop words; of scripts without spaces, pairs of characters."""
    parts = (
        description.text,
        *description.tags,
        *description.objects,
        description.people,
        description.activity,
        description.setting,
        description.visible_text,
    )
    found: set[str] = set()
    for word in WORD.findall(" ".join(parts).casefold()):
        if UNSPACED.search(word):
            found.update(word[start : start + 2] for start in range(max(1, len(word) - 1)))
        elif word not in STOP_WORDS:
            found.add(stem(word))
    return frozenset(found)


def stem(word: str) -> str:
    """A word without its commonest English ending: crude, and the same for every form of most words."""
    if word.endswith(("ies", "ied")) and len(word) > SHORTEST_STEM + 1:
        return f"{word[:-3]}y"
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            base = word.removesuffix(ending)
            is_doubled = ending in ("ing", "ed") and base[-1] == base[-2] and base[-1] not in "lsz"
            return base[:-1] if is_doubled else base
    return word


class WordWeights:
    """What each word weighs in one film."""

    def __init__(self, descriptions: Collection[frozenset[str]]) -> None:
        self._count = len(descriptions)
        self._having = Counter(word for words in descriptions for word in words)

    def likeness(self, one: frozenset[str], other: frozenset[str]) -> float:
        """From 0 (no word in common) to 1 (the same words, or none at all)."""
        every = self._weight(one | other)
        return self._weight(one & other) / every if every else 1.0

    def _weight(self, words: Iterable[str]) -> float:
        return sum(math.log((self._count + 1) / (self._having[word] + 0.5)) for word in words)


@dataclass(frozen=True, slots=True)
class WordCalibration:
    """How far words can be trusted in one film. `cut`: the least likeness of words for one picture."""

    same: int  # how many likenesses were measured of pictures seen twice
    different: int  # and of pictures known to be different
    separation: float | None  # None: too few
    cut: float

    @property
    def can_judge(self) -> bool:
        return self.separation is not None and self.separation >= LEAST_SEPARATION


def calibrate(same: Sequence[float], different: Sequence[float]) -> WordCalibration:
    """The judge that these likenesses of words make."""
    if min(len(same), len(different)) < FEWEST_MEASURED:
        return WordCalibration(len(same), len(different), None, 0.0)
    high, low = sorted(same), sorted(different)
    wins = sum(bisect_left(low, value) + bisect_right(low, value) for value in high) / 2
    best, cut = -1.0, 0.0
    levels = sorted({*high, *low})
    for below, level in zip([levels[0] - 1, *levels], levels, strict=False):
        right = (len(high) - bisect_left(high, level)) / len(high) + bisect_left(low, level) / len(low)
        if right > best:
            best, cut = right, (max(below, 0.0) + level) / 2
    return WordCalibration(len(high), len(low), wins / (len(high) * len(low)), cut)


@dataclass(frozen=True, slots=True)
class PairLikeness:
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


def agreement_of(
    likenesses: PairLikeness, judge: WordCalibration, *, least_likeness: float, is_soon: bool = False
) -> Agreement:
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
