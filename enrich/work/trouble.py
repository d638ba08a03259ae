"""Trouble with a video's file, its pictures' folder or their disk: what waits, and what has failed for good."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from db import queue
from db.queries import VideoRow
from enrich.errors import VideoChangedError, VideoError, VideoMissingError
from enrich.library.library import Library
from enrich.settings import Settings

WAITING_SECONDS = 60  # how long a video waits for its file or for room on the disk
MEGABYTE = 1_000_000
IN_FLIGHT_MEGABYTES = 64  # of pictures that are still written after the disk was looked at


class DiskFullError(VideoError):
    """Less than the reserve is free on the pictures' disk."""


class PicturesError(VideoError):
    """The pictures' folder cannot be written to; it may be mended."""


class DecodingError(VideoError):
    """A codec or the encoder failed in a way nobody foresaw."""


class Stopped(Exception):  # noqa: N818  # not an error: somebody asked
    pass


WAITS = (VideoMissingError, VideoChangedError, DiskFullError, PicturesError)  # what may be mended meanwhile


@contextmanager
def trouble_named(library: Library, video: VideoRow) -> Iterator[None]:
    """Raise what goes wrong with one video as a VideoError, so that it does not end the night for all others."""
    try:
        yield
    except (VideoError, SQLAlchemyError, queue.LeaseLostError, Stopped):
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"the disk of {library.settings.home} is full: free some space") from error
        reason = error.strerror or str(error)
        raise PicturesError(f"{library.frames_folder} cannot be written to ({reason}): look at its disk") from error
    except Exception as error:
        raise DecodingError(f"{video.path} cannot be decoded ({type(error).__name__}: {error})") from error


def free_room(settings: Settings) -> int:
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
