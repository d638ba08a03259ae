"""The even order: which picture of a film is described next, so that at any moment its gaps are about even.

The k-th moment of a film of T seconds is T * (log2(2k - 1) mod 1), k = 1, 2, 3 … (de Bruijn and Erdős, "Sequences of
points on a circle", 1949). After n of them the largest gap is T * log2((n + 1) / n) seconds: at most 1.443
times the even spacing T / n, for every n, which no sequence can better. Halving the gaps in turn would reach 2.

A picture has the rank of the first moment it stands for. Its priority is the gap, in milliseconds, that its film has
before it is described: films of all lengths are refined together, and "a picture every 6 s" is reached when nothing
with a priority above 6,000 is left. Above these priorities lie three bands: what fills a gap between unlike
descriptions, the first look at a film, and what a person asked for.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from enrich.video.skim import SkimTarget

REEL_SECONDS = 3600.0  # a film of unknown length is taken for reels of an hour
SHORTEST_SECONDS = 1e-3
ROUNDING = 1e-9
HIGHEST_OCTAVE = 48  # 2**48 moments; a double is exact that far

GAP_LIMIT = 500_000_000  # 139 hours
FILL_PRIORITY = 900_000_000
SKIM_PRIORITY = 1_000_000_000  # the first look; the k-th picture of each film has k less
REQUEST_PRIORITY = 2_000_000_000

COVERAGE_CALLS_PER_FILL = 3  # calls in coverage order for each call that fills a gap

SKIM_FRAMES = 50
SKIM_SPACING_SECONDS = 4.0  # closer together, decoding all is as quick
FEWEST_SKIM_FRAMES = 5
REACH = 0.15  # how far a picture may be moved for a better one, in gaps
MISSED_GAPS = 0.25  # a moment counts as missed by its picture if that is so far off, in the gaps of the time,
MISSED_SKIMS = 3  # or once so many times as many are described as were looked at


@dataclass(frozen=True, slots=True)
class CoverageOrder:
    """The even order of one film. `duration` in seconds; None or less than a millisecond: not known."""

    duration: float | None

    @property
    def length(self) -> float:
        """Seconds over which moments are spread; a film that turns out to be longer begins a new reel."""
        known = self.duration if self.duration is not None and self.duration >= SHORTEST_SECONDS else None
        return REEL_SECONDS if known is None else known

    def moment(self, rank: int) -> float:
        """The moment of a rank (from 1), in seconds."""
        return self.length * (math.log2(2 * rank - 1) % 1.0)

    def gap(self, count: int) -> float:
        """The largest gap after the first `count` moments, in seconds."""
        return self.length * (math.log2(1 + 1 / count) if count else 1.0)

    def count(self, gap: float) -> int:
        """How many moments it takes until no gap is larger than `gap` seconds."""
        if gap >= self.length:
            return 1
        return math.ceil((1 - ROUNDING) / math.expm1(math.log(2) * gap / self.length))

    def rank(self, start: float, end: float, *, after: int = 0) -> int:
        """The first moment beyond the rank `after` in `start` ≤ t < `end` (seconds)."""
        first = start / self.length % 1.0
        last = first + max(end - start, SHORTEST_SECONDS) / self.length
        for octave in range(HIGHEST_OCTAVE):
            for turn in (1.0, 0.0) if last > 1.0 else (0.0,):  # the start of a new reel has lower numbers
                low = max(math.exp2(octave + max(0.0, first - turn)), 2.0 * after + 1)
                odd = math.ceil(low) | 1
                if odd < math.exp2(octave + min(1.0, last - turn)):
                    return (odd + 1) // 2
        return 1 << HIGHEST_OCTAVE

    def priority(self, start: float, end: float, *, after: int = 0, looked_at: Collection[float] = ()) -> int:
        """The priority of a picture that stands from `start` to `end` (seconds); `after`: so many moments are taken.

        `looked_at` are the times of the pictures taken for them, which were moved for better ones, or not found: what
        stands over a moment they missed comes when the film's gaps have become so small that they would be too large.
        """
        beyond = self.priority_of(self.rank(start, end, after=after))
        rank = self.rank(start, end)
        if rank > after or not looked_at:
            return beyond
        missed = min(abs(self.moment(rank) - at) for at in looked_at)
        felt = max(round(1000 * missed / MISSED_GAPS), self.priority_of(MISSED_SKIMS * after))
        return max(beyond, min(self.priority_of(after + 1), felt))

    def priority_of(self, rank: int) -> int:
        """The priority of a rank."""
        return min(GAP_LIMIT, round(1000 * self.gap(rank - 1)))

    def skim_count(self) -> int:
        """How many pictures a first look takes; 0 for a film so short that decoding it is as quick."""
        if self.duration is None:
            return 0
        count = min(SKIM_FRAMES, int(self.duration / SKIM_SPACING_SECONDS))
        return count if count >= FEWEST_SKIM_FRAMES else 0

    def deeper_skim_count(self, count: int) -> int:
        """How many pictures the look after one of `count` takes; `count` again where no further look pays."""
        return max(count, min(2 * count, int(self.length / SKIM_SPACING_SECONDS)))

    def spots(self, first: int, last: int) -> Iterator[SkimTarget]:
        """Where the pictures of the ranks `first` to `last` are looked for, in that order."""
        for rank in range(first, last + 1):
            place = 2 * rank - 1
            while place < last:  # the numbers from last to 2 * last - 1 are the moments in order of time
                place *= 2
            at = self.moment(rank)
            yield SkimTarget(
                at=at,
                earliest=max(0.0, at - REACH * self.length * math.log2(place / (place - 1))) if rank > 1 else 0.0,
                latest=min(self.length, at + REACH * self.length * math.log2((place + 1) / place)),
            )
