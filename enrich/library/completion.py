"""How far videos are described: the one calculation behind every progress bar, of the dashboard and the command line.

A share of progress is a share of source frames: those that the described frames stand for. The number of source frames
is known from the file's header before it is decoded, so that the share neither reaches 100 % while videos remain to be
decoded, nor falls when frames are found. The number of frames to describe is known only once all is decoded. Until
then it is estimated from the footage decoded so far, and None without enough of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from db.counts import ExtractionExtent, extraction_extents
from db.models import EXTRACTION_ENDED, ExtractionStatus
from db.queries import VideoRow

EXACT = "exact"  # the sampling that keeps every source frame
MIN_DECODED_FRAMES = 1000  # source frames decoded before the share of kept frames is estimated from them


@dataclass(frozen=True, slots=True)
class Completion:
    """How far some videos are. `share`: 0 to 1; None: their length is not known."""

    share: float | None
    covered: int  # source frames
    source_frames: int | None  # None if unknown for any video
    frames_expected: int | None  # kept frames once all is extracted; None: cannot be estimated yet
    is_counted: bool  # extraction has ended, so that `frames_expected` is no estimate

    @property
    def percent(self) -> int | None:
        """The share in percent, rounded down: 100 only when everything is covered."""
        return None if self.share is None else int(100 * self.share)


def completion_of(connection: Connection, library: Sequence[VideoRow], videos: Sequence[VideoRow]) -> Completion:
    """How far `videos` are; `library`: all videos, from which the number of frames to expect is estimated."""
    total: int | None = 0
    for video in videos:
        total = None if total is None or video.frame_count is None else total + video.frame_count
    covered = sum(covered_frames(video) for video in videos)
    return Completion(
        share=None if total is None else covered / total if total else 0.0,
        covered=covered,
        source_frames=total,
        frames_expected=_expected_frames(connection, library, videos),
        is_counted=all(video.extraction_status in EXTRACTION_ENDED for video in videos),
    )


def covered_frames(video: VideoRow) -> int:
    """How many source frames of a video its described frames stand for, as far as is known.

    A frame found by skimming stands for itself until decoding reaches it.
    """
    if video.extraction_status is ExtractionStatus.EXTRACTED and video.kept and video.described == video.kept:
        return video.frame_count or 0
    covered = max(video.covered, video.described)
    return covered if video.frame_count is None else min(covered, video.frame_count)


def covered_share(video: VideoRow) -> float:
    """The share of a video's source frames that is covered, 0 to 1; 0 if their number is not known."""
    return covered_frames(video) / video.frame_count if video.frame_count else 0.0


def _expected_frames(connection: Connection, library: Sequence[VideoRow], videos: Collection[VideoRow]) -> int | None:
    """How many frames of `videos` will be kept."""
    open_ids = [video.id for video in library if video.extraction_status not in EXTRACTION_ENDED]
    extents = extraction_extents(connection, open_ids) if open_ids else {}
    shares: dict[str, float | None] = {}
    expected = 0.0
    for video in videos:
        if video.extraction_status in EXTRACTION_ENDED:
            expected += video.kept
            continue
        if video.sampling not in shares:
            shares[video.sampling] = _kept_share(library, video.sampling, extents)
        share = shares[video.sampling]
        if share is None or video.frame_count is None:
            return None
        extent = extents.get(video.id, ExtractionExtent(0, 0))
        rest = max(0, video.frame_count - extent.decoded) * share
        expected += max(video.kept, video.kept - extent.unplaced + rest)
    return round(expected)


def _kept_share(library: Sequence[VideoRow], sampling: str, extents: dict[int, ExtractionExtent]) -> float | None:
    """The share of source frames that a sampling keeps, from all footage decoded with it; None: too little of it."""
    if sampling == EXACT:
        return 1.0
    kept = decoded = 0
    for video in library:
        if video.sampling != sampling:
            continue
        if video.extraction_status is ExtractionStatus.EXTRACTED:
            kept, decoded = kept + video.kept, decoded + (video.frame_count or 0)
        elif video.id in extents:
            extent = extents[video.id]
            kept, decoded = kept + video.kept - extent.unplaced, decoded + extent.decoded
    return kept / decoded if decoded >= MIN_DECODED_FRAMES else None
