"""The files of a library that may be served: images of frames, and videos that are still the ones that were added.

Files are looked up by id. No part of a request becomes part of a path.
"""

from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine

from db import files
from db.engine import reading
from db.errors import StorageError
from enrich.errors import VideoMissingError
from enrich.settings import Settings
from enrich.video.fingerprint import have_same_bytes, is_same_video

STRIPS_FOLDER = "strips"  # images of source frames for viewing; may be deleted at any time
# The library is missing or unreadable (pages report that elsewhere), or the id exceeds the database's integers.
LOOKUP_ERRORS = (StorageError, OverflowError)


def image_file(engine: Engine, settings: Settings, frame_id: int) -> Path | None:
    """The JPEG of a kept frame; None if it is missing or outside the frames folder."""
    try:
        with reading(engine) as connection:
            name = files.image_path(connection, frame_id)
    except LOOKUP_ERRORS:
        return None
    return None if name is None else _inside(settings.frames_folder, settings.frames_folder / name)


def existing_images(engine: Engine, settings: Settings, frame_ids: Collection[int]) -> set[int]:
    """The frames among these whose JPEG exists."""
    try:
        with reading(engine) as connection:
            names = files.image_paths_of(connection, frame_ids)
    except StorageError:
        return set()
    return {found for found, name in names.items() if _inside(settings.frames_folder, settings.frames_folder / name)}


def video_file(engine: Engine, video_id: int) -> Path | None:
    """A video's file, at its first location where it is; None if it is missing or a different video."""
    try:
        with reading(engine) as connection:
            known = files.known_files(connection, video_id=video_id)
    except LOOKUP_ERRORS:
        return None
    return _first_found(known[0]) if known else None


def video_at_path(engine: Engine, path: Path) -> str | None:
    """The title of the video with this file's content, if that video's own file still exists."""
    with reading(engine) as connection:
        known = files.known_files(connection, size=path.stat().st_size)
    for video in known:
        if _has_fingerprint(path, video.fingerprint) and (own := _first_found(video)) is not None:
            with suppress(VideoMissingError):
                if have_same_bytes(own, path):
                    return video.title
    return None


def strip_file(settings: Settings, video_id: int, index: int) -> Path | None:
    """The JPEG of a source frame in the video's strip folder; None if there is none."""
    folder = strip_folder(settings, video_id)
    return _inside(folder, folder / f"{index}.jpg")


def strip_folder(settings: Settings, video_id: int) -> Path:
    """The folder for images of a video's source frames."""
    return settings.home / STRIPS_FOLDER / str(video_id)


def _first_found(video: files.KnownFile) -> Path | None:
    return next((Path(path) for path in video.paths if _has_fingerprint(Path(path), video.fingerprint)), None)


def _has_fingerprint(path: Path, known: str) -> bool:
    try:
        status = path.stat()
        return path.is_file() and _is_same_video(path, known, status.st_size, status.st_mtime_ns)
    except (OSError, VideoMissingError):
        return False


@lru_cache(maxsize=64)
def _is_same_video(path: Path, known: str, size: int, changed: int) -> bool:
    """Cached by size and modification time, because a player requests a video in many ranges."""
    del size, changed
    return is_same_video(path, known)


def _inside(folder: Path, path: Path) -> Path | None:
    """The file itself if it is inside the folder, also after links are resolved."""
    try:
        whole = path.resolve(strict=True)
    except OSError:
        return None
    return whole if whole.is_file() and whole.is_relative_to(folder.resolve()) else None
