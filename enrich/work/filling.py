"""Gap filling: now and then a frame from the gap whose ends are described most differently comes first.

Each film fills its own gaps, one for three of its calls in the even order, and only while its largest gap stays about
even: what is filled makes the even spacing smaller, and the largest gap must not come to be twice as large. In the
gap, the frame that stands shortest is chosen: something came and went there. What that is worth: docs/order.md.
"""

from collections import Counter

from db import queries, queue, wishes
from db.engine import reading, writing
from db.queries import FrameRow
from enrich.describe.describer import Description
from enrich.library.library import Library
from enrich.schedule.coverage import FILL_PRIORITY, GAP_LIMIT, MISSED_LOOKS, Even
from enrich.worker.gap_filling import Contrast, signature

EVEN_CALLS = 3  # in the even order, for each that fills a gap
MOST_TRIES = 8  # gaps without a frame to describe are passed over
ROOM = 1.95  # the largest gap of the even order ÷ the even spacing, at most


def has_room(gap: float, described: int, even: Even) -> bool:
    """Whether a film with `described` frames and gaps of at most `gap` seconds may have one filled.

    Not before the moments that its first look missed have been looked at: until then gaps may be larger.
    """
    is_settled = gap <= even.gap(MISSED_LOOKS * even.first_look())
    return is_settled and gap * (described + 1) <= ROOM * even.length


class Filler:
    """Learns every description of a run, in the one thread that writes."""

    def __init__(self, library: Library, pass_: str) -> None:
        self._library = library
        self._pass = pass_
        self._contrast = Contrast()
        self._evens: dict[int, Even] = {}  # by video
        self._even_calls: Counter[int] = Counter()  # by video

    def described(self, job: queue.Job, frame: FrameRow, said: Description) -> None:
        """A frame was described: perhaps raise the priority of another."""
        video_id = job.video_id
        if not self._contrast.knows(video_id):
            self._recall(video_id)
        self._contrast.learn(video_id, frame.timestamp, signature(said.text, said.tags))
        if job.priority <= GAP_LIMIT:
            self._even_calls[video_id] += 1
            gap, described = job.priority / 1000, self._contrast.described(video_id)
            is_due = self._even_calls[video_id] % EVEN_CALLS == 0
            if is_due and has_room(gap, described, self._evens[video_id]):
                self._fill(video_id)

    def _recall(self, video_id: int) -> None:
        """Learn what earlier runs have described."""
        with reading(self._library.engine) as connection:
            videos = queries.videos(connection, [video_id])  # none: it was removed just now
            self._evens[video_id] = Even(videos[0].duration if videos else None)
            for row in queries.described(connection, video_id):
                self._contrast.learn(video_id, row.timestamp, signature(row.text, row.tags))

    def _fill(self, video_id: int) -> None:
        for _ in range(MOST_TRIES):
            gap = self._contrast.take(video_id)
            if gap is None:
                return
            with writing(self._library.engine) as connection:
                if wishes.raise_middle(
                    connection, video_id, gap.start, gap.end, pass_=self._pass, priority=FILL_PRIORITY
                ):
                    return
