"""Fingerprints identify a video by its content, so a moved or renamed file keeps its fingerprint."""

import errno
import hashlib
import os
from pathlib import Path

from enrich.errors import VideoMissingError

BLOCK_BYTES = 64 * 1024
BLOCKS = 16
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)


def require_readable(path: Path) -> os.stat_result:
    """The file's status. Raises VideoMissingError, which says why the file cannot be read."""
    try:
        status = path.stat()
        if path.is_dir():
            raise VideoMissingError(f"{path} is a folder: choose a video file in it")
        with path.open("rb"):
            return status
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> VideoMissingError:
    """The error of a file that cannot be read: why, and the next step."""
    if error.errno in GONE:
        return VideoMissingError(f"{path} does not exist: check the path, restore the file, or connect its drive")
    if isinstance(error, PermissionError):
        return VideoMissingError(f"{path} cannot be read (permission denied): allow your user to read it")
    remedy = "check its drive or network share"
    if error.errno == errno.EIO:
        remedy = "check its drive; if it always fails there, copy the file again from the original"
    return VideoMissingError(f"{path} cannot be read ({error.strerror or error}): {remedy}")


def fingerprint(path: Path | str) -> str:
    """`<size in bytes>-<hash>`: SHA-256 over 16 evenly spaced blocks, including the first and the last.

    Reads at most 1 MiB, whatever the file's size. A change between the blocks that keeps the file size is not detected.
    Raises VideoMissingError.
    """
    path = Path(path)
    size = require_readable(path).st_size
    digest = hashlib.sha256()
    last = max(0, size - BLOCK_BYTES)
    blocks = min(BLOCKS, max(2, -(-size // BLOCK_BYTES)))
    offsets = [last * number // (blocks - 1) for number in range(blocks)]
    try:
        with path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                digest.update(file.read(BLOCK_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error
    return f"{size}-{digest.hexdigest()[:32]}"
