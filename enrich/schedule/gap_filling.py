"""Gap filling: extra frames between neighbours whose descriptions differ most.

Something changed between such neighbours that is not described yet. Descriptions are compared by their words, each as
one bit of 256: a signature takes about ninety bytes, so that a video with a million described frames stays small. The
weight of a gap is its length times the Jaccard distance of the words at its two ends.

Every video fills its own gaps: one for every three of its calls in coverage order, and only while its largest gap stays
close to the even spacing. A filled gap makes the even spacing smaller, and the largest gap must not become twice as
large. In the gap, the frame that stands for the fewest source frames is chosen: something was visible there only
briefly. docs/coverage-order.md measures what this is worth.
"""

import heapq
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from db import editing, queries
from db.engine import reading, writing
from db.queue import ClaimedTask
from enrich.schedule.coverage import (
    COVERAGE_CALLS_PER_GAP_FILL,
    COVERAGE_PRIORITY_LIMIT,
    GAP_FILL_PRIORITY,
    SKIM_COUNTS_TO_REVISIT,
    CoverageOrder,
)

SIGNATURE_BITS = 256
FEWEST_LETTERS = 4  # shorter words carry little meaning in most languages
MOST_TRIES = 8  # gaps without a frame to describe are skipped
ROOM = 1.95  # at most: largest gap of the coverage order ÷ even spacing


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """The time between two neighbouring described frames of a video; the heaviest sorts first."""

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
    """The gaps between described frames of every video, the heaviest first."""

    def __init__(self) -> None:
        self._times: dict[int, list[float]] = {}
        self._signatures: dict[int, list[int]] = {}
        self._gaps: dict[int, list[Gap]] = {}

    def knows(self, video_id: int) -> bool:
        """Whether any frame of a video was learnt."""
        return video_id in self._times

    def described(self, video_id: int) -> int:
        """How many frames of a video were learnt."""
        return len(self._times.get(video_id, ()))

    def learn(self, video_id: int, timestamp: float, words: int) -> None:
        """A frame was described; `words` is its description's signature."""
        times, signatures = self._times.setdefault(video_id, []), self._signatures.setdefault(video_id, [])
        gaps = self._gaps.setdefault(video_id, [])
        place = bisect_left(times, timestamp)
        if place < len(times) and times[place] == timestamp:
            signatures[place] = words
            return
        times.insert(place, timestamp)
        signatures.insert(place, words)
        for left in (place - 1, place):
            if left >= 0 and left + 1 < len(times):
                length = times[left + 1] - times[left]
                weight = length * difference(signatures[left], signatures[left + 1])
                if weight > 0:
                    heapq.heappush(gaps, Gap(-weight, times[left], times[left + 1]))

    def take(self, video_id: int) -> Gap | None:
        """Remove and return a video's heaviest gap; None if no neighbours differ."""
        times, gaps = self._times.get(video_id, []), self._gaps.get(video_id, [])
        while gaps:
            gap = heapq.heappop(gaps)
            if times[bisect_left(times, gap.start) + 1] == gap.end:  # else it was split meanwhile
                return gap
        return None


def has_room(gap: float, described: int, order: CoverageOrder) -> bool:
    """Whether a video with `described` frames and gaps of at most `gap` seconds may have one filled.

    Not before the points that the skim missed are described: until then gaps may be larger.
    """
    is_settled = gap <= order.gap(SKIM_COUNTS_TO_REVISIT * order.skim_count())
    return is_settled and gap * (described + 1) <= ROOM * order.length


class GapFilling:
    """Learns every description of a run and raises the priority of frames in the heaviest gaps.

    For one thread at a time: it reads and writes the database.
    """

    def __init__(self, engine: Engine, pass_: str) -> None:
        self._engine = engine
        self._pass = pass_
        self._gaps = GapQueue()
        self._orders: dict[int, CoverageOrder] = {}  # by video
        self._coverage_calls: Counter[int] = Counter()  # by video

    def frame_described(self, task: ClaimedTask, timestamp: float, text: str, tags: Iterable[str]) -> None:
        """Learn the description of a frame at `timestamp` (seconds); fill a gap of its video if one is due."""
        video_id = task.video_id
        if not self._gaps.knows(video_id):
            self._recall(video_id)
        self._gaps.learn(video_id, timestamp, signature(text, tags))
        if task.priority <= COVERAGE_PRIORITY_LIMIT:
            self._coverage_calls[video_id] += 1
            gap, described = task.priority / 1000, self._gaps.described(video_id)
            is_due = self._coverage_calls[video_id] % COVERAGE_CALLS_PER_GAP_FILL == 0
            if is_due and has_room(gap, described, self._orders[video_id]):
                self._fill(video_id)

    def _recall(self, video_id: int) -> None:
        """Learn what earlier runs described."""
        with reading(self._engine) as connection:
            videos = queries.videos(connection, [video_id])  # empty if it was removed just now
            self._orders[video_id] = CoverageOrder(videos[0].duration if videos else None)
            for row in queries.described(connection, video_id):
                self._gaps.learn(video_id, row.timestamp, signature(row.text, row.tags))

    def _fill(self, video_id: int) -> None:
        for _ in range(MOST_TRIES):
            gap = self._gaps.take(video_id)
            if gap is None:
                return
            with writing(self._engine) as connection:
                if editing.prioritize_middle(
                    connection, video_id, gap.start, gap.end, pass_=self._pass, priority=GAP_FILL_PRIORITY
                ):
                    return
