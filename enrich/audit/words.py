"""Words: how alike two descriptions are, as far as the words that carry something go.

A description becomes a set of stems: of its text, tags, objects and what is said of people, activity, setting and
writing, without stop words. Two sets are as alike as the weight of what they share over the weight of what they have
(Jaccard's index), where a word weighs the more, the fewer descriptions of the film have it: "picture" or "street" in a
film of one street say nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable

from enrich.describe.describer import Description

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


class Weights:
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
