"""Which frames an audition is held with: spread evenly over all that the library has kept, the same every time."""

from dataclasses import dataclass

from sqlalchemy import Connection

from db import auditions, queries
from db.queries import FrameRow, VideoRow


@dataclass(frozen=True, slots=True)
class Chosen:
    """A kept frame and its video."""

    frame: FrameRow
    video: VideoRow


def choose(connection: Connection, *, count: int, video_id: int | None = None) -> list[Chosen]:
    """So many kept frames of the library, or of one video, in order; all, if there are no more."""
    videos = queries.videos(connection, None if video_id is None else [video_id])
    total = sum(video.kept for video in videos)
    places = [(2 * number + 1) * total // (2 * count) for number in range(count)] if total > count else range(total)
    chosen: list[Chosen] = []
    before = 0
    for video in videos:
        for place in places:
            if before <= place < before + video.kept:
                frame_id = auditions.nth_frame_id(connection, video.id, place - before)
                frame = None if frame_id is None else queries.frame(connection, frame_id)
                if frame is not None:  # it may have gone since it was counted
                    chosen.append(Chosen(frame, video))
        before += video.kept
    return chosen
