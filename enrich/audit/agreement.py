"""Agreement: whether the kept frame that stands for a skipped frame represents it, judged by image and by words.

By image: the likeness of the two frames must reach a threshold.

By words: each description becomes a set of word stems, without stop words, from its text, tags, objects, people,
activity, setting and visible text. The likeness of two sets is the weighted Jaccard index: the weight of the shared
words divided by the weight of all. A word weighs more the fewer descriptions of the video contain it, so "street" in a
video of one street counts for little.

Words count only if they can tell images apart in this video. The calibration measures the likeness of descriptions for
the same image described twice (re-encoded, so that no pixel is the same) and for images known to be different. The
cutoff is where the two are separated best (Youden's index). If they are hardly separated, words are ignored.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from enrich.describe.describer import Description
from enrich.video.distinct import MIN_DIFFERENCE_LEVELS

WORD = re.compile(r"\w+")
UNSPACED_SCRIPT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")  # kana, Han, Thai: no spaces between words
MIN_STEM_LENGTH = 3
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
MIN_MEASURED = 4  # likenesses of each kind
MIN_SEPARATION = 0.9  # probability that the same image gets more similar words than different images; 0.5 is chance


def content_words(description: Description) -> frozenset[str]:
    """The stems of a description's words, without stop words; pairs of characters for scripts without spaces."""
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
        if UNSPACED_SCRIPT.search(word):
            found.update(word[start : start + 2] for start in range(max(1, len(word) - 1)))
        elif word not in STOP_WORDS:
            found.add(stem(word))
    return frozenset(found)


def stem(word: str) -> str:
    """A word without its most common English endings; crude, but the same for all forms of most words."""
    if word.endswith(("ies", "ied")) and len(word) > MIN_STEM_LENGTH + 1:
        return f"{word[:-3]}y"
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= MIN_STEM_LENGTH:
            base = word.removesuffix(ending)
            is_doubled = ending in ("ing", "ed") and base[-1] == base[-2] and base[-1] not in "lsz"
            return base[:-1] if is_doubled else base
    return word


class WordWeights:
    """The weight of each word in one video: its inverse document frequency."""

    def __init__(self, descriptions: Collection[frozenset[str]]) -> None:
        self._count = len(descriptions)
        self._frequency = Counter(word for words in descriptions for word in words)

    def likeness(self, one: frozenset[str], other: frozenset[str]) -> float:
        """From 0 (no word in common) to 1 (the same words, or both empty)."""
        total = self._weight(one | other)
        return self._weight(one & other) / total if total else 1.0

    def _weight(self, words: Iterable[str]) -> float:
        return sum(math.log((self._count + 1) / (self._frequency[word] + 0.5)) for word in words)


@dataclass(frozen=True, slots=True)
class WordCalibration:
    """How well words tell images apart in one video."""

    same: int  # number of measured likenesses for the same image described twice
    different: int  # and for images known to be different
    separation: float | None  # see MIN_SEPARATION; None if too few were measured
    cutoff: float  # the smallest word likeness that counts as the same image

    @property
    def can_judge(self) -> bool:
        return self.separation is not None and self.separation >= MIN_SEPARATION


def calibrate(same: Sequence[float], different: Sequence[float]) -> WordCalibration:
    """Calibrate from word likenesses for the same image and for different images."""
    if min(len(same), len(different)) < MIN_MEASURED:
        return WordCalibration(len(same), len(different), None, 0.0)
    high, low = sorted(same), sorted(different)
    wins = sum(bisect_left(low, value) + bisect_right(low, value) for value in high) / 2
    best, cutoff = -1.0, 0.0
    levels = sorted({*high, *low})
    for below, level in zip([levels[0] - 1, *levels], levels, strict=False):
        correct = (len(high) - bisect_left(high, level)) / len(high) + bisect_left(low, level) / len(low)
        if correct > best:
            best, cutoff = correct, (max(below, 0.0) + level) / 2
    return WordCalibration(len(high), len(low), wins / (len(high) * len(low)), cutoff)


@dataclass(frozen=True, slots=True)
class PairLikeness:
    """How alike a skipped frame and its kept frame are."""

    image: float  # DEFAULT_LIKENESS, 0 to 1
    change: float  # the largest change in any window, 0 to 255
    words: float | None  # 0 to 1; None if one of them was not described


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether the two frames of a pair agree."""

    by_image: bool
    by_words: bool | None  # None: words cannot tell
    moved: bool = False  # unlike, but skipped on purpose: only movement within the sampling's interval

    @property
    def agrees(self) -> bool:
        return self.by_image and self.by_words is not False


def judge_pair(
    likeness: PairLikeness, calibration: WordCalibration, *, threshold: float, is_soon: bool = False
) -> Agreement:
    """Whether a person who compares the two frames would describe them the same way.

    Different words for images that are nearly the same are the model's fault and do not count. Movement within the
    sampling's interval (`is_soon`) is skipped on purpose, so there only words can reveal a loss.
    """
    is_like = likeness.image >= threshold
    moved = is_soon and not is_like
    if not calibration.can_judge or likeness.words is None:
        return Agreement(is_like or moved, None, moved)
    is_same_image = likeness.change <= MIN_DIFFERENCE_LEVELS
    return Agreement(is_like or moved, likeness.words >= calibration.cutoff or is_same_image, moved)
