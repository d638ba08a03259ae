"""The kept frames' JPEGs: their place on disk, and restoring a missing or broken one from its video.

Also where a video's file is now, and which errors of extraction are retryable.

A video may have several locations: copies of one file. The first that was recorded is used while the file is there,
otherwise the next one. Only the file that was added counts, so each location is checked by its fingerprint.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from db import files
from db.engine import reading, writing
from db.models import ExtractionStatus
from db.queries import FrameRow, VideoRow
from enrich.errors import (
    DecodingError,
    DiskFullError,
    ImageStorageError,
    VideoChangedError,
    VideoMissingError,
)
from enrich.library.library import Library
from enrich.library.media import strip_folder
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.fingerprint import fingerprint, is_outdated, is_same_video
from enrich.video.jpeg import JpegFormat, encode_jpeg, is_whole_jpeg, write_jpeg
from enrich.video.source import SAME_SECONDS, FrameNotFoundError, read_source_frame
from enrich.video.timeline import Clock
from enrich.video.video_file import ffmpeg_errors

RETRY_SECONDS = 60  # until a video with a missing file or a full disk is tried again
MEGABYTE = 1_000_000
IN_FLIGHT_MEGABYTES = 64  # room for images that are still being written when the disk is checked


class ExtractionStopped(Exception):  # noqa: N818  # a request, not an error
    """Extraction was asked to stop."""


RETRYABLE_ERRORS = (VideoMissingError, VideoChangedError, DiskFullError, ImageStorageError)


def require_same_file(video: VideoRow) -> None:
    """Check that the file at the video's path is still that video.

    Raises VideoMissingError if it is missing, VideoChangedError if it is another file.
    """
    if not is_same_video(video.path, video.fingerprint):
        raise VideoChangedError(
            f"{video.path} is not the file that was added: put it back, or add the new one with `everyframe add`, "
            "once it is copied completely"
        )


def clock_of(video: VideoRow) -> Clock:
    """What is known of the video's clock: it says how a frame can be reached."""
    if video.extraction_status is not ExtractionStatus.EXTRACTED or not video.epochs:
        return Clock.UNKNOWN
    if not video.is_steady:
        return Clock.REPEATS
    return Clock.RESTARTS if video.epochs > 1 else Clock.STEADY


def read_kept_frame(video: VideoRow, frame: FrameRow) -> SourceFrame:
    """The source frame of a kept frame: by its index, if that has its timestamp. Raises VideoError."""
    if frame.index is not None:
        near = (frame.index, frame.timestamp)
        with suppress(FrameNotFoundError):
            source = read_source_frame(video.path, index=frame.index, near=near, clock=clock_of(video))
            if abs(source.timestamp - frame.timestamp) <= SAME_SECONDS:
                return source
    return read_source_frame(video.path, timestamp=frame.timestamp, clock=clock_of(video))


def located(video: VideoRow) -> VideoRow:
    """The video with the path of its first location where its file is.

    Raises VideoMissingError or VideoChangedError, about the path that was used last, if it is at none of them.
    """
    # A path that is none of the locations was lost to another video: then the video has no other location.
    for path in video.locations if video.path in video.locations else [video.path]:
        found = replace(video, path=path)
        with suppress(VideoMissingError, VideoChangedError):
            require_same_file(found)
            return found
    require_same_file(video)
    return video


def retry_at(video: VideoRow, now: datetime) -> datetime:
    """When to try a video again after a retryable error: at once if its file is no longer here, but elsewhere."""
    with suppress(VideoMissingError, VideoChangedError):
        if located(video).path != video.path:
            return now
    return now + timedelta(seconds=RETRY_SECONDS)


def use_file(library: Library, video: VideoRow) -> VideoRow:
    """Like `located`. The path that is used now is stored, and a fingerprint of an older version is replaced."""
    found = located(video)
    new = newer_fingerprint(library, found)
    if found.path == video.path and new is None:
        return found
    with writing(library.engine) as connection:
        files.use_location(connection, found.id, found.path)
        if new is not None and files.set_fingerprint(connection, found.id, new, before=found.fingerprint):
            found = replace(found, fingerprint=new)
    return found


def newer_fingerprint(library: Library, video: VideoRow) -> str | None:
    """The fingerprint that replaces one of an older version; None if there is none.

    An older version also matches files that differ between its few blocks. So it is replaced only while the file is
    certainly the one that was added: it lies where it was added from, and was not modified since.
    """
    if not is_outdated(video.fingerprint):
        return None
    with reading(library.engine) as connection:
        is_first = files.is_first_location(connection, video.id, video.path)
    try:
        if not is_first or Path(video.path).stat().st_mtime > video.added_at.timestamp():
            return None
        return fingerprint(video.path)
    except (OSError, VideoMissingError):
        return None


def restore_image(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """Create a kept frame's JPEG again from the video, save it and return it. Raises VideoError."""
    video = located(video)
    jpeg = encode_frame(settings, video, read_kept_frame(video, frame))
    write_jpeg(settings.frames_folder / frame.image_path, jpeg)
    return jpeg


def load_image(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """A kept frame's JPEG, restored if it is missing or broken. Raises VideoError."""
    path = settings.frames_folder / frame.image_path
    return path.read_bytes() if is_whole_jpeg(path) else restore_image(settings, video, frame)


def jpeg_format(settings: Settings, video: VideoRow) -> JpegFormat:
    """How the video's frames are stored."""
    return JpegFormat(edge=settings.stored_edge, quality=settings.jpeg_quality, rotation=video.rotation)


def encode_frame(settings: Settings, video: VideoRow, source: SourceFrame) -> bytes:
    """A source frame as a stored JPEG: upright and in the stored size."""
    return encode_jpeg(source.av_frame, jpeg_format(settings, video), sample_aspect=source.sample_aspect)


def remove_images(library: Library, video: VideoRow) -> None:
    """Delete a removed video's images. The user's own file is never touched."""
    with reading(library.engine) as connection:
        used = files.image_folders(connection)  # older versions gave two videos of equal size one folder at times
    unused = [strip_folder(library.settings, video.id)]  # ids are reused, so their folders must go
    if video.image_folder and video.image_folder not in used:
        unused.append(library.frames_folder / video.image_folder)
    for folder in unused:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def translated_errors(library: Library, video: VideoRow) -> Iterator[None]:
    """Raise the foreseen problems with one video as a VideoError; others count as a failed attempt at it."""
    try:
        with ffmpeg_errors(video.path):
            yield
    except DecodingError:
        require_same_file(video)  # its drive may have been unplugged
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"the disk of {library.settings.home} is full: free some disk space") from error
        reason = error.strerror or str(error)
        raise ImageStorageError(
            f"{library.frames_folder} cannot be written to ({reason}): check its permissions and its disk"
        ) from error


def free_bytes(settings: Settings) -> int:
    """Bytes that images may still take on the library's disk; negative if the reserve is in use."""
    return shutil.disk_usage(settings.home).free - settings.disk_reserve_mb * MEGABYTE


def require_disk(library: Library) -> None:
    """Check that the reserve will stay free after the writes in flight. Raises DiskFullError."""
    free = shutil.disk_usage(library.settings.home).free // MEGABYTE
    reserve = library.settings.disk_reserve_mb
    if free < reserve + IN_FLIGHT_MEGABYTES:
        raise DiskFullError(
            f"only {free} MB are free on the disk of {library.settings.home}, and {reserve} MB are kept in reserve: "
            "free some disk space, or lower EVERYFRAME_DISK_RESERVE_MB"
        )
