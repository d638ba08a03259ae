"""Which files of a library may be shown: pictures of its frames, and films that are still the ones that were added.

Everything is looked up by id; nothing that comes from a request becomes part of a path.
"""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from db import files
from db.engine import reading
from enrich.errors import VideoMissingError
from enrich.settings import Settings
from enrich.video.fingerprint import fingerprint

STRIPS_FOLDER = "strips"  # source frames that were decoded to be looked at; may be deleted at any time
# There is no library yet, or none that can be read: pages say so. Or the id is longer than any number of a database.
UNREADABLE = (DatabaseError, OverflowError)


def image_file(engine: Engine, settings: Settings, frame_id: int) -> Path | None:
    """The JPEG of a kept frame, None if there is none, or none within the frames folder."""
    try:
        with reading(engine) as connection:
            name = files.image_path(connection, frame_id)
    except UNREADABLE:
        return None
    return None if name is None else _inside(settings.frames_folder, settings.frames_folder / name)


def existing_images(engine: Engine, settings: Settings, frame_ids: Collection[int]) -> set[int]:
    """Those of some kept frames whose JPEG lies where it should."""
    try:
        with reading(engine) as connection:
            names = files.image_paths_of(connection, frame_ids)
    except DatabaseError:
        return set()
    return {found for found, name in names.items() if _inside(settings.frames_folder, settings.frames_folder / name)}


def video_file(engine: Engine, video_id: int) -> Path | None:
    """A video's file, None if it is gone or another film lies there now."""
    try:
        with reading(engine) as connection:
            known = files.video_file(connection, video_id)
    except UNREADABLE:
        return None
    if known is None:
        return None
    path = Path(known[0])
    return path if path.is_file() and _found_fingerprint(path) == known[1] else None


def video_at_path(engine: Engine, path: Path) -> str | None:
    """The title of the video that a file is by its content, if that video's own file is still in its place."""
    found = _found_fingerprint(path)
    with reading(engine) as connection:
        known = files.video_with_fingerprint(connection, found)
    return known[1] if known is not None and video_file(engine, known[0]) is not None else None


def strip_file(settings: Settings, video_id: int, index: int) -> Path | None:
    """The JPEG of a source frame that was decoded to be looked at, None if it was not."""
    folder = strip_folder(settings, video_id)
    return _inside(folder, folder / f"{index}.jpg")


def strip_folder(settings: Settings, video_id: int) -> Path:
    """Where a video's source frames lie that were decoded to be looked at."""
    return settings.home / STRIPS_FOLDER / str(video_id)


def _found_fingerprint(path: Path) -> str | None:
    try:
        status = path.stat()
        return _fingerprint(path, status.st_size, status.st_mtime_ns)
    except (OSError, VideoMissingError):
        return None


@lru_cache(maxsize=64)
def _fingerprint(path: Path, size: int, changed: int) -> str:
    """A film is asked for in many ranges; it is read again only if its size or its time has changed."""
    del size, changed
    return fingerprint(path)


def _inside(folder: Path, path: Path) -> Path | None:
    """A file that really lies in the folder: no link out of it."""
    try:
        whole = path.resolve(strict=True)
    except OSError:
        return None
    return whole if whole.is_file() and whole.is_relative_to(folder.resolve()) else None
