"""The kept frames' JPEGs: where they lie, and how one that is missing or broken is made again from its video.

Trouble with a video's file, its pictures' folder or their disk: what waits, and what has failed for good.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from db import queue
from db.queries import FrameRow, VideoRow
from enrich.errors import VideoChangedError, VideoError, VideoMissingError
from enrich.library.library import Library
from enrich.library.media import strip_folder
from enrich.settings import Settings
from enrich.video.decode import SourceFrame
from enrich.video.fingerprint import fingerprint
from enrich.video.jpeg import JpegFormat, encode_jpeg, is_whole_jpeg, write_jpeg
from enrich.video.source import read_source_frame

FOLDER_NAME_LENGTH = 16
WAITING_SECONDS = 60  # how long a video waits for its file or for room on the disk
MEGABYTE = 1_000_000
IN_FLIGHT_MEGABYTES = 64  # of pictures that are still written after the disk was looked at


def folder_name(video_fingerprint: str) -> str:
    """The folder of a video's pictures, below the frames folder: by fingerprint, since row ids are used again."""
    return video_fingerprint[:FOLDER_NAME_LENGTH]


def require_same_file(video: VideoRow) -> None:
    """Check that the file under the video's path is that video.

    Raises VideoMissingError if it is gone, VideoChangedError if another file lies there.
    """
    if fingerprint(video.path) != video.fingerprint:
        raise VideoChangedError(
            f"{video.path} is not the file that was added: put it back, or `everyframe add` the new one"
        )


def restore_image(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """Make a kept frame's JPEG anew from the video, and keep it. Raises VideoError."""
    require_same_file(video)
    known = (frame.index, frame.timestamp) if frame.index is not None else None
    source = read_source_frame(video.path, timestamp=frame.timestamp, near=known)
    jpeg = jpeg_of(settings, video, source)
    write_jpeg(settings.frames_folder / frame.image_path, jpeg)
    return jpeg


def load_image(settings: Settings, video: VideoRow, frame: FrameRow) -> bytes:
    """A kept frame's JPEG, made anew if it is missing or broken. Raises VideoError."""
    path = settings.frames_folder / frame.image_path
    return path.read_bytes() if is_whole_jpeg(path) else restore_image(settings, video, frame)


def jpeg_format(settings: Settings, video: VideoRow) -> JpegFormat:
    """How the video's frames are stored."""
    return JpegFormat(edge=settings.stored_edge, quality=settings.jpeg_quality, rotation=video.rotation)


def jpeg_of(settings: Settings, video: VideoRow, source: SourceFrame) -> bytes:
    """A source frame as a kept picture looks: upright, in the stored size."""
    return encode_jpeg(source.av_frame, jpeg_format(settings, video), sample_aspect=source.sample_aspect)


def remove_images(settings: Settings, video: VideoRow) -> None:
    """Delete a removed video's pictures. The user's own file is never touched."""
    folder: Path = settings.frames_folder / folder_name(video.fingerprint)
    for unused in (folder, strip_folder(settings, video.id)):  # ids are used again
        shutil.rmtree(unused, ignore_errors=True)


class DiskFullError(VideoError):
    """Less than the reserve is free on the pictures' disk."""


class ImageStorageError(VideoError):
    """The pictures' folder cannot be written to; it may be mended."""


class DecodingError(VideoError):
    """A codec or the encoder failed in a way nobody foresaw."""


class ExtractionStopped(Exception):  # noqa: N818  # not an error: somebody asked
    pass


WAITS = (VideoMissingError, VideoChangedError, DiskFullError, ImageStorageError)  # what may be mended meanwhile


@contextmanager
def translated_errors(library: Library, video: VideoRow) -> Iterator[None]:
    """Raise what goes wrong with one video as a VideoError, so that it does not end the night for all others."""
    try:
        yield
    except (VideoError, SQLAlchemyError, queue.LeaseLostError, ExtractionStopped):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"the disk of {library.settings.home} is full: free some space") from error
        reason = error.strerror or str(error)
        raise ImageStorageError(f"{library.frames_folder} cannot be written to ({reason}): look at its disk") from error
    except Exception as error:
        raise DecodingError(f"{video.path} cannot be decoded ({type(error).__name__}: {error})") from error


def free_bytes(settings: Settings) -> int:
    """Bytes that pictures may still take on the library's disk; negative where the reserve is touched already."""
    return shutil.disk_usage(settings.home).free - settings.disk_reserve_mb * MEGABYTE


def require_disk(library: Library) -> None:
    """Check that the reserve is free, and will be once what is in flight is written. Raises DiskFullError."""
    free = shutil.disk_usage(library.settings.home).free // MEGABYTE
    reserve = library.settings.disk_reserve_mb
    if free < reserve + IN_FLIGHT_MEGABYTES:
        raise DiskFullError(
            f"only {free} MB are free on the disk of {library.settings.home}, {reserve} MB are kept in reserve: "
            "free some space, or lower EVERYFRAME_DISK_RESERVE_MB"
        )
