"""What is read to have frames described for comparing: one frame of many, and what others are described by.

Each takes a connection inside its caller's `reading(engine)`.
"""

from sqlalchemy import Connection, select

from db.models import Frame


def nth_frame_id(connection: Connection, video_id: int, number: int) -> int | None:
    """The kept frame of this number in the order of time, from 0, by its id; None if there are not so many."""
    ours = select(Frame.id).where(Frame.video_id == video_id).order_by(Frame.timestamp)
    return connection.scalar(ours.offset(number).limit(1))


def same_words(connection: Connection, video_id: int, text: str) -> list[tuple[int, str]]:
    """The kept frames of a video that are described by this very text: their ids and difference hashes."""
    alike = select(Frame.id, Frame.dhash).where(Frame.video_id == video_id, Frame.local_description == text)
    return [(row.id, row.dhash or "0") for row in connection.execute(alike)]
