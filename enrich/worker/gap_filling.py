"""Where the descriptions of neighbours differ most: between them something has changed that nobody has described yet.

Descriptions are compared by their words, each as one bit of 256: a signature takes some ninety bytes, a film of a
million described frames stays small. A gap weighs its length times the share of words its two ends do not have in
common (Jaccard distance).
"""

import heapq
import re
import zlib
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

SIGNATURE_BITS = 256
FEWEST_LETTERS = 4  # shorter words say little, in most languages


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """The time between two described frames of a video that are neighbours; the heaviest sorts first."""

    negative_weight: float
    start: float  # seconds
    end: float


def signature(text: str, tags: Iterable[str]) -> int:
    """The words of a description as the bits of a number."""
    bits = 0
    for word in re.findall(r"\w+", " ".join((text, *tags)).casefold()):
        if len(word) >= FEWEST_LETTERS:
            bits |= 1 << zlib.crc32(word.encode()) % SIGNATURE_BITS
    return bits


def difference(one: int, other: int) -> float:
    """How much two descriptions differ, from 0 to 1."""
    union = (one | other).bit_count()
    return 1 - (one & other).bit_count() / union if union else 0.0


class Contrast:
    """The gaps between described frames, of every video the one most worth filling first."""

    def __init__(self) -> None:
        self._times: dict[int, list[float]] = {}
        self._signatures: dict[int, list[int]] = {}
        self._gaps: dict[int, list[Gap]] = {}

    def knows(self, video_id: int) -> bool:
        """Whether anything was learnt of a video."""
        return video_id in self._times

    def described(self, video_id: int) -> int:
        """Of how many frames of a video it has learnt."""
        return len(self._times.get(video_id, ()))

    def learn(self, video_id: int, timestamp: float, said: int) -> None:
        """A frame was described; `said` is its description's signature."""
        times, signatures = self._times.setdefault(video_id, []), self._signatures.setdefault(video_id, [])
        gaps = self._gaps.setdefault(video_id, [])
        place = bisect_left(times, timestamp)
        if place < len(times) and times[place] == timestamp:
            signatures[place] = said
            return
        times.insert(place, timestamp)
        signatures.insert(place, said)
        for left in (place - 1, place):
            if left >= 0 and left + 1 < len(times):
                length = times[left + 1] - times[left]
                weight = length * difference(signatures[left], signatures[left + 1])
                if weight > 0:
                    heapq.heappush(gaps, Gap(-weight, times[left], times[left + 1]))

    def take(self, video_id: int) -> Gap | None:
        """A video's heaviest gap, which is then forgotten until it is divided; None if no neighbours differ."""
        times, gaps = self._times.get(video_id, []), self._gaps.get(video_id, [])
        while gaps:
            gap = heapq.heappop(gaps)
            if times[bisect_left(times, gap.start) + 1] == gap.end:  # else it was divided meanwhile
                return gap
        return None
