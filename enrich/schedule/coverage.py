"""Coverage order: which frame of a video to describe next, so that the undescribed gaps are about equal at any time.

The k-th point of a video of T seconds is at T * (log2(2k - 1) mod 1), for k = 1, 2, 3 … (de Bruijn and Erdős,
"Sequences of points on a circle", 1949). After n points, the largest gap is T * log2((n + 1) / n) seconds. That is at
most 1.443 times the even spacing T / n, for every n, and no sequence does better. Repeated halving reaches a factor
of 2.

A frame's rank is the k of the first point it stands for. Its priority is the largest gap, in milliseconds, that its
video has before the frame is described. So videos of all lengths are refined together, and "a frame every 6 s" is
reached when no task with a priority above 6,000 is left. Three bands are above these priorities: frames that fill a
gap between unlike descriptions, frames found by a skim, and frames requested by a person (`db.editing`).
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from enrich.video.skim import SkimTarget

# Priorities, lowest band first.
COVERAGE_PRIORITY_LIMIT = 500_000_000  # milliseconds; a gap of 139 hours
GAP_FILL_PRIORITY = 900_000_000
SKIM_PRIORITY = 1_000_000_000  # minus k for the k-th frame of each video; db.editing.REQUEST_PRIORITY is above all

COVERAGE_CALLS_PER_GAP_FILL = 3  # calls in coverage order for each call that fills a gap

SKIM_FRAMES = 50
MIN_SKIM_FRAMES = 5
SKIM_SPACING_SECONDS = 4.0  # for closer frames, decoding the whole video is as fast
TARGET_REACH = 0.15  # how far a skim may move a frame to find a better one, as a share of the gap
# A point that a skim missed is covered by another frame later:
MISSED_GAP_SHARE = 0.25  # once the distance of the nearest skimmed frame is this share of the gap,
SKIM_COUNTS_TO_REVISIT = 3  # or once this many times the skim's frames are described, whichever comes first

REEL_SECONDS = 3600.0  # a video of unknown length is treated as a series of one-hour reels
MIN_DURATION_SECONDS = 1e-3
ROUNDING_SHARE = 1e-9
MAX_OCTAVE = 48  # up to 2**48 points, which a double represents exactly


@dataclass(frozen=True, slots=True)
class CoverageOrder:
    """The coverage order of one video."""

    duration: float | None  # seconds; None or less than a millisecond: unknown

    @property
    def length(self) -> float:
        """The seconds over which points are spread. A video that turns out to be longer starts another reel."""
        known = self.duration if self.duration is not None and self.duration >= MIN_DURATION_SECONDS else None
        return REEL_SECONDS if known is None else known

    def point(self, rank: int) -> float:
        """The position of the point with this rank (from 1), in seconds."""
        return self.length * (math.log2(2 * rank - 1) % 1.0)

    def gap(self, count: int) -> float:
        """The largest gap after the first `count` points, in seconds."""
        return self.length * (math.log2(1 + 1 / count) if count else 1.0)

    def count(self, gap: float) -> int:
        """The number of points after which no gap is larger than `gap` seconds."""
        if gap >= self.length:
            return 1
        return math.ceil((1 - ROUNDING_SHARE) / math.expm1(math.log(2) * gap / self.length))

    def rank(self, start: float, end: float, *, after: int = 0) -> int:
        """The first rank above `after` whose point is in `start` ≤ t < `end` (seconds)."""
        first = start / self.length % 1.0
        last = first + max(end - start, MIN_DURATION_SECONDS) / self.length
        for octave in range(MAX_OCTAVE):
            for turn in (1.0, 0.0) if last > 1.0 else (0.0,):  # the start of the next reel has lower ranks
                low = max(math.exp2(octave + max(0.0, first - turn)), 2.0 * after + 1)
                odd = math.ceil(low) | 1
                if odd < math.exp2(octave + min(1.0, last - turn)):
                    return (odd + 1) // 2
        return 1 << MAX_OCTAVE

    def priority(self, start: float, end: float, *, after: int = 0, skimmed: Collection[float] = ()) -> int:
        """The priority of a frame that stands for `start` ≤ t < `end` (seconds); the first `after` points are taken.

        `skimmed` are the timestamps of the frames that a skim found for the taken points. The skim may have moved a
        frame away from its point, or found none. A frame that covers such a missed point is due when the video's gaps
        have become so small that the miss matters, see `MISSED_GAP_SHARE`.
        """
        untaken = self.priority_of_rank(self.rank(start, end, after=after))
        rank = self.rank(start, end)
        if rank > after or not skimmed:
            return untaken
        miss = min(abs(self.point(rank) - timestamp) for timestamp in skimmed)
        due = max(round(1000 * miss / MISSED_GAP_SHARE), self.priority_of_rank(SKIM_COUNTS_TO_REVISIT * after))
        return max(untaken, min(self.priority_of_rank(after + 1), due))

    def priority_of_rank(self, rank: int) -> int:
        """The largest gap before the point with this rank is described, in milliseconds."""
        return min(COVERAGE_PRIORITY_LIMIT, round(1000 * self.gap(rank - 1)))

    def skim_count(self) -> int:
        """The number of frames of a first skim; 0 for a video so short that decoding it is as fast."""
        if self.duration is None:
            return 0
        count = min(SKIM_FRAMES, int(self.duration / SKIM_SPACING_SECONDS))
        return count if count >= MIN_SKIM_FRAMES else 0

    def next_skim_count(self, count: int) -> int:
        """The total number of frames after another skim; `count` itself if another skim is not worthwhile."""
        return max(count, min(2 * count, int(self.length / SKIM_SPACING_SECONDS)))

    def targets(self, first: int, last: int) -> Iterator[SkimTarget]:
        """The skim targets for the ranks `first` to `last`, in that order."""
        reach = TARGET_REACH * self.length
        for rank in range(first, last + 1):
            place = 2 * rank - 1
            while place < last:  # the integers from `last` to 2 * last - 1 are the points in order of time
                place *= 2
            at = self.point(rank)
            yield SkimTarget(
                at=at,
                earliest=max(0.0, at - reach * math.log2(place / (place - 1))) if rank > 1 else 0.0,
                latest=min(self.length, at + reach * math.log2((place + 1) / place)),
            )
