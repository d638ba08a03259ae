"""Where the descriptions of neighbours differ most: between them something has changed that nobody has described yet.

Descriptions are compared by their words, each as one bit of 256: a signature takes some ninety bytes, a film of a
million described frames stays small. A gap weighs its length times the share of words its two ends do not have in
common (Jaccard distance).

Gap filling: now and then a frame from the gap whose ends are described most differently comes first.

Each film fills its own gaps, one for three of its calls in the even order, and only while its largest gap stays about
even: what is filled makes the even spacing smaller, and the largest gap must not come to be twice as large. In the
gap, the frame that stands shortest is chosen: something came and went there. Measured in docs/coverage-order.md.
"""

import heapq
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from db import editing, queries, queue
from db.engine import reading, writing
from db.queries import FrameRow
from enrich.describe.describer import Description
from enrich.library.library import Library
from enrich.schedule.coverage import (
    COVERAGE_CALLS_PER_GAP_FILL,
    COVERAGE_PRIORITY_LIMIT,
    GAP_FILL_PRIORITY,
    SKIM_COUNTS_TO_REVISIT,
    CoverageOrder,
)

SIGNATURE_BITS = 256
FEWEST_LETTERS = 4  # shorter words say little, in most languages
MOST_TRIES = 8  # gaps without a frame to describe are passed over
ROOM = 1.95  # the largest gap of the even order ÷ the even spacing, at most


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


class GapQueue:
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


def has_room(gap: float, described: int, even: CoverageOrder) -> bool:
    """Whether a film with `described` frames and gaps of at most `gap` seconds may have one filled.

    Not before the moments that its first look missed have been looked at: until then gaps may be larger.
    """
    is_settled = gap <= even.gap(SKIM_COUNTS_TO_REVISIT * even.skim_count())
    return is_settled and gap * (described + 1) <= ROOM * even.length


class GapFiller:
    """Learns every description of a run, in the one thread that writes."""

    def __init__(self, library: Library, pass_: str) -> None:
        self._library = library
        self._pass = pass_
        self._contrast = GapQueue()
        self._evens: dict[int, CoverageOrder] = {}  # by video
        self._even_calls: Counter[int] = Counter()  # by video

    def described(self, job: queue.ClaimedTask, frame: FrameRow, said: Description) -> None:
        """A frame was described: perhaps raise the priority of another."""
        video_id = job.video_id
        if not self._contrast.knows(video_id):
            self._recall(video_id)
        self._contrast.learn(video_id, frame.timestamp, signature(said.text, said.tags))
        if job.priority <= COVERAGE_PRIORITY_LIMIT:
            self._even_calls[video_id] += 1
            gap, described = job.priority / 1000, self._contrast.described(video_id)
            is_due = self._even_calls[video_id] % COVERAGE_CALLS_PER_GAP_FILL == 0
            if is_due and has_room(gap, described, self._evens[video_id]):
                self._fill(video_id)

    def _recall(self, video_id: int) -> None:
        """Learn what earlier runs have described."""
        with reading(self._library.engine) as connection:
            videos = queries.videos(connection, [video_id])  # none: it was removed just now
            self._evens[video_id] = CoverageOrder(videos[0].duration if videos else None)
            for row in queries.described(connection, video_id):
                self._contrast.learn(video_id, row.timestamp, signature(row.text, row.tags))

    def _fill(self, video_id: int) -> None:
        for _ in range(MOST_TRIES):
            gap = self._contrast.take(video_id)
            if gap is None:
                return
            with writing(self._library.engine) as connection:
                if editing.prioritize_middle(
                    connection, video_id, gap.start, gap.end, pass_=self._pass, priority=GAP_FILL_PRIORITY
                ):
                    return
