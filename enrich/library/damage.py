"""Damage: how many frames of a video's file can be read, of those that it should have.

Nothing here is stored: it follows from what extraction counted. Only an extracted video is judged.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from db.models import ExtractionStatus
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
