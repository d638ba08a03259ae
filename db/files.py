"""Where the files of a library are: the images of kept frames, and the locations and fingerprints of videos.

Image paths are relative to the frames folder. Paths of videos are stored as the file system gives them, titles in
Unicode's form NFC. Call every function inside `reading(engine)`, those that change something inside `writing(engine)`.
"""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, insert, or_, select, update

from db import queries, store
from db.models import ExtractionStatus, Frame, Location, Task, TaskKind, TaskStatus, Video


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


def image_folders(connection: Connection) -> set[str]:
    """The folders of all videos' images, below the frames folder."""
    return set(connection.scalars(select(Video.image_folder)))


def find_video(connection: Connection, wanted: str, *, path: str | None = None) -> queries.VideoRow:
    """Find a video by id, location (`path`: `wanted` as an absolute path) or a unique part of its title.

    Raises NoSuchVideoError.
    """
    if not wanted.strip():  # such as an unset shell variable: it would match every title
        raise queries.NoSuchVideoError("no video was named: run `everyframe list` to see all videos")
    every = connection.execute(select(Video.id, Video.path, Video.title).order_by(Video.id)).all()
    places = connection.execute(select(Location.video_id, Location.path).order_by(Location.id)).all()
    at_paths = [(row.id, row.path) for row in every], [(row.video_id, row.path) for row in places]
    paths = {text for text in (wanted, path) if text}
    normalized = {caseless(text, keeps_case=True) for text in paths}
    exact = [row.id for row in every if str(row.id) == wanted]
    # Two files may have names that differ only in how their accents are written.
    for found in at_paths:
        exact = exact or [video_id for video_id, known in found if known in paths]
    for found in at_paths:
        exact = exact or [video_id for video_id, known in found if caseless(known, keeps_case=True) in normalized]
    parts = [row for row in every if caseless(wanted) in caseless(row.title)]
    same = [row for row in parts if caseless(wanted) == caseless(row.title)]
    if exact:
        return queries.video(connection, exact[-1])  # the newest, if its file replaced that of an older video
    if len(same) == 1 or len(parts) == 1:
        return queries.video(connection, (same or parts)[0].id)
    if not parts:
        raise queries.NoSuchVideoError(f"no video is called {wanted!r}: run `everyframe list` to see all videos")
    names = ", ".join(f"{row.id} {row.title}" for row in parts[:5])
    raise queries.NoSuchVideoError(f"{wanted!r} matches {len(parts)} videos ({names}): use the number")


def caseless(text: str, *, keeps_case: bool = False) -> str:
    """Text for comparisons, regardless of case and of how accents are written: as one character, or as combining ones.

    macOS and some cameras write names with combining accents, which keyboards do not.
    """
    text = unicodedata.normalize("NFC", text)
    return text if keeps_case else unicodedata.normalize("NFC", text.casefold())


@dataclass(frozen=True, slots=True)
class KnownFile:
    """Where a video's file was found, in the order in which the paths are tried, and its fingerprint."""

    video_id: int
    title: str
    fingerprint: str
    paths: list[str]


def known_files(connection: Connection, *, video_id: int | None = None, size: int | None = None) -> list[KnownFile]:
    """The files of one video, or of the videos whose file has this size in bytes."""
    videos = select(Video.id, Video.title, Video.fingerprint, Video.path)
    if video_id is not None:
        videos = videos.where(Video.id == video_id)
    if size is not None:  # as every version of fingerprints begins: see enrich.video.fingerprint
        videos = videos.where(
            or_(Video.fingerprint.startswith(f"{size}-"), Video.fingerprint.contains(f"-{size}-", autoescape=True))
        )
    found = []
    for row in connection.execute(videos.order_by(Video.id)).all():
        places = select(Location.path).where(Location.video_id == row.id).order_by(Location.id)
        paths = list(connection.scalars(places))
        found.append(KnownFile(row.id, row.title, row.fingerprint, paths if row.path in paths else [row.path]))
    return found


def record_location(connection: Connection, video_id: int, path: str, *, now: datetime) -> None:
    """Record that a video's file is at this path, too. A path belongs to the video found there last."""
    owner = connection.scalar(select(Location.video_id).where(Location.path == path))
    if owner == video_id:
        return
    store.release_path(connection, path)
    connection.execute(insert(Location).values(video_id=video_id, path=path, added_at=now))


def use_location(connection: Connection, video_id: int, path: str) -> None:
    """Use this location of a video from now on."""
    connection.execute(update(Video).where(Video.id == video_id, Video.path != path).values(path=path))


def set_chapter(connection: Connection, video_id: int, recording: str | None, chapter: int | None) -> None:
    """Set the recording that a video is a chapter of, which follows from its path."""
    connection.execute(update(Video).where(Video.id == video_id).values(recording=recording, chapter=chapter))


def prefer_location(connection: Connection, video_id: int, path: str, *, now: datetime) -> None:
    """Make this path the first location of a video, before those known already, and use it."""
    mine = (Location.video_id == video_id, Location.path != path)
    others = connection.execute(select(Location.path, Location.added_at).where(*mine).order_by(Location.id)).all()
    connection.execute(delete(Location).where(*mine))
    record_location(connection, video_id, path, now=now)
    for other in others:
        connection.execute(insert(Location).values(video_id=video_id, path=other.path, added_at=other.added_at))
    use_location(connection, video_id, path)


def is_first_location(connection: Connection, video_id: int, path: str) -> bool:
    """Whether the video was added from this path."""
    same = (Location.video_id == Video.id, Location.added_at == Video.added_at)
    return bool(connection.scalar(select(exists().where(Video.id == video_id, *same, Location.path == path))))


def set_fingerprint(connection: Connection, video_id: int, fingerprint: str, *, before: str) -> bool:
    """Replace a video's fingerprint if it is still `before` and no video has the new one. Returns whether it was."""
    if connection.scalar(select(exists().where(Video.fingerprint == fingerprint))):
        return False
    changed = update(Video).where(Video.id == video_id, Video.fingerprint == before)
    return bool(connection.execute(changed.values(fingerprint=fingerprint)).rowcount)


def change_sampling(connection: Connection, video_id: int, sampling: str) -> bool:
    """Change the sampling of a video whose extraction has not begun. Returns whether it has not."""
    waits = exists().where(Task.video_id == video_id, Task.kind == TaskKind.EXTRACT, Task.status == TaskStatus.TODO)
    not_begun = Video.extraction_status.in_((ExtractionStatus.PENDING, ExtractionStatus.SKIMMED))
    changed = update(Video).where(Video.id == video_id, not_begun, waits).values(sampling=sampling)
    return bool(connection.execute(changed).rowcount)
