"""How far videos can be read, and how far they are described: one calculation for the dashboard and the command line.

Damage is how many frames of a video's file can be read, of those that it should have. It follows from what extraction
counted, so it is not stored. Only an extracted video is judged.

A share of progress is a share of source frames: those that the described frames stand for. The number of source frames
is known from the file's header before it is decoded, so that the share neither reaches 100 % while videos remain to be
decoded, nor falls when frames are found. The number of frames to describe is known only once all is decoded. Until
then it is estimated from the footage decoded so far, and None without enough of it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from db.counts import ExtractionExtent, extraction_extents
from db.models import EXTRACTION_ENDED, ExtractionStatus
from db.queries import VideoRow

# A video of which less than this share can be read is damaged: what is described does not stand for it. Above it, most
# of the video can be found, so the unreadable frames are only noted. Old tapes and cut-off recordings lose some frames
# that no repeated run brings back, and a run that fails for ever because of them would hide other failures.
READABLE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Damage:
    """The frames that could be read, and those the file should have: `1,380 of 1,394 frames readable`."""

    readable: int
    expected: int

    @property
    def is_severe(self) -> bool:
        """Whether so little is readable that the video counts as damaged."""
        return self.readable < self.expected * READABLE_SHARE

    def __str__(self) -> str:
        counts = f"{self.readable:,} of {self.expected:,} frames readable"
        return f"damaged: {counts}" if self.is_severe else counts


def damage_of(video: VideoRow) -> Damage | None:
    """The damage of an extracted video, None if all of its frames could be read.

    A file that ends early lists only the frames it has. Its length then says how many there should be. That is used
    only if the decoder failed, because the frame rate in a header is often not the real one.
    """
    if video.extraction_status is not ExtractionStatus.EXTRACTED or not video.decode_failures:
        return None
    readable = video.frame_count or 0
    by_length = round((video.duration or 0.0) * (video.fps or 0.0))
    return Damage(readable, max(readable + video.decode_failures, by_length))


def is_damaged(video: VideoRow) -> bool:
    """Whether most of an extracted video cannot be read."""
    damage = damage_of(video)
    return damage is not None and damage.is_severe


def damaged_videos(videos: Iterable[VideoRow]) -> list[tuple[str, str]]:
    """The titles of the damaged videos, each with how much of it can be read."""
    return [(video.title, str(damage)) for video in videos if (damage := damage_of(video)) and damage.is_severe]


def video_json(video: VideoRow) -> dict[str, object]:
    """A video as the command line prints it with `--json`: its row, and its damage (null if there is none)."""
    damage = damage_of(video)
    shown = None if damage is None else {**asdict(damage), "is_severe": damage.is_severe}
    return {**asdict(video), "damage": shown}


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
