"""Where the files of a library are: the images of kept frames, and the paths and fingerprints of videos.

Image paths are relative to the frames folder. Call every function inside `reading(engine)`.
"""

from collections.abc import Collection

from sqlalchemy import Connection, exists, select

from db.models import Frame, Video


def image_path(connection: Connection, frame_id: int) -> str | None:
    """The image of a kept frame, None if there is no such frame."""
    return connection.scalar(select(Frame.image_path).where(Frame.id == frame_id))


def image_paths_of(connection: Connection, frame_ids: Collection[int]) -> dict[int, str]:
    """The images of kept frames, by frame id."""
    rows = connection.execute(select(Frame.id, Frame.image_path).where(Frame.id.in_(frame_ids)))
    return {row.id: row.image_path for row in rows}


def newest_image_paths(connection: Connection, *, limit: int, video_id: int | None = None) -> list[str]:
    """The images of the most recently saved frames, newest first."""
    statement = select(Frame.image_path).order_by(Frame.id.desc()).limit(limit)
    if video_id is not None:
        statement = statement.where(Frame.video_id == video_id)
    return list(connection.scalars(statement))


def image_paths_between(connection: Connection, video_id: int, start: float, end: float) -> set[str]:
    """The images of a video's frames from `start` up to, not including, `end` (seconds)."""
    within = (Frame.video_id == video_id, Frame.timestamp >= start, Frame.timestamp < end)
    return set(connection.scalars(select(Frame.image_path).where(*within)))


def uses_image(connection: Connection, video_id: int, image_path: str) -> bool:
    """Whether a frame of the video refers to this image."""
    return bool(connection.scalar(select(exists().where(Frame.video_id == video_id, Frame.image_path == image_path))))


def video_file(connection: Connection, video_id: int) -> tuple[str, str] | None:
    """The path and the fingerprint of a video, None if there is no such video."""
    row = connection.execute(select(Video.path, Video.fingerprint).where(Video.id == video_id)).one_or_none()
    return None if row is None else (row.path, row.fingerprint)


def video_with_fingerprint(connection: Connection, fingerprint: str | None) -> tuple[int, str] | None:
    """The id and the title of the video with this fingerprint, None if there is none."""
    row = connection.execute(select(Video.id, Video.title).where(Video.fingerprint == fingerprint)).one_or_none()
    return None if row is None else (row.id, row.title)


def fingerprints(connection: Connection) -> Collection[str]:
    """The fingerprints of all videos."""
    return list(connection.scalars(select(Video.fingerprint)))
