"""The kept frames' JPEGs: their place on disk, and restoring a missing or broken one from its video.

Also which errors of extraction are retryable.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import JpegFormat, encode_jpeg, is_whole_jpeg, write_jpeg
from enrich.video.source import SAME_SECONDS, FrameNotFoundError, read_source_frame
from enrich.video.timeline import Clock
from enrich.video.video_file import ffmpeg_errors

FOLDER_NAME_CHARACTERS = 16
RETRY_SECONDS = 60  # until a video with a missing file or a full disk is tried again
MEGABYTE = 1_000_000
IN_FLIGHT_MEGABYTES = 64  # room for images that are still being written when the disk is checked


class ExtractionStopped(Exception):  # noqa: N818  # a request, not an error
    """Extraction was asked to stop."""


RETRYABLE_ERRORS = (VideoMissingError, VideoChangedError, DiskFullError, ImageStorageError)


def image_folder_name(video_fingerprint: str) -> str:
    """The folder of a video's images below the frames folder: by fingerprint, since row ids are reused."""
    return video_fingerprint[:FOLDER_NAME_CHARACTERS]


def require_same_file(video: VideoRow) -> None:
    """Check that the file at the video's path is still that video.

    Raises VideoMissingError if it is missing, VideoChangedError if it is another file.
    """
    if fingerprint(video.path) != video.fingerprint:
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


def restore_image(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """Create a kept frame's JPEG again from the video, save it and return it. Raises VideoError."""
    require_same_file(video)
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


def remove_images(settings: Settings, video: VideoRow) -> None:
    """Delete a removed video's images. The user's own file is never touched."""
    folder: Path = settings.frames_folder / image_folder_name(video.fingerprint)
    for unused in (folder, strip_folder(settings, video.id)):  # ids are reused, so their folders must go
        shutil.rmtree(unused, ignore_errors=True)


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
