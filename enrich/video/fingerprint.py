"""Fingerprints identify a video by its content, so a moved, renamed or copied file has the fingerprint of its original.

A fingerprint is text that begins with its version. Libraries hold fingerprints of every version, so that fingerprints
are compared by `is_same_video`, never as text:

    2-<size>-<hash>      a sample of the file: the version that new videos get
    whole-<size>-<hash>  every byte: for files that have the same sample and are not the same
    <size>-<hash>        version 1, before there were versions: 16 blocks
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enrich.errors import VideoMissingError

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
SAMPLED, WHOLE, FIRST_VERSION = "2", "whole", ""
HASH_CHARACTERS = 32
READ_BYTES = 1024 * 1024
# Up to this size the sample is the whole file: reading it takes about as long as seeking to all blocks.
WHOLE_FILE_BYTES = 16 * 1024 * 1024
EDGE_BYTES = 64 * 1024  # of the start and of the end, where containers have their index
BLOCKS, BLOCK_BYTES = 257, 4096  # evenly spaced, so that any changed stretch of a 256th of the file meets a block
FIRST_VERSION_BLOCKS, FIRST_VERSION_BLOCK_BYTES = 16, 64 * 1024


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A fingerprint in its parts; `version` is one of SAMPLED, WHOLE and FIRST_VERSION, or one that is unknown here."""

    version: str
    size: int  # bytes
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Fingerprint | None":
        """The parts of a stored fingerprint; None if it is none."""
        *version, size, digest = ["", *text.split("-")][-3:] if "-" in text else ["", "", ""]
        return cls(version[0], int(size), digest) if size.isdecimal() else None

    def __str__(self) -> str:
        return "-".join(part for part in (self.version, str(self.size), self.digest) if part)


def require_readable(path: Path) -> os.stat_result:
    """The file's status. Raises VideoMissingError, which says why the file cannot be read."""
    try:
        status = path.stat()
        if path.is_dir():
            raise VideoMissingError(f"{path} is a folder: choose a video file in it")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe blocks until something writes to it
            raise VideoMissingError(f"{path} is not a regular file: choose a video file")
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
    """The fingerprint of a file, in the version that new videos get. Raises VideoMissingError.

    Reads at most 16 MiB; of a larger file 1.2 MiB, in order of position. Every change that alters the size or the index
    of the container is found, and any other in at least a 256th of the file.
    """
    return _fingerprint(Path(path), SAMPLED)


def whole_fingerprint(path: Path | str) -> str:
    """A fingerprint of every byte, however large the file is. Raises VideoMissingError."""
    return _fingerprint(Path(path), WHOLE)


def is_same_video(path: Path | str, known: str) -> bool:
    """Whether the file has a stored fingerprint, of whichever version. Raises VideoMissingError.

    A version that is not known here, of a later EveryFrame, matches no file.
    """
    stored = Fingerprint.parse(known)
    path = Path(path)
    size = require_readable(path).st_size
    if stored is None or stored.size != size or stored.version not in (SAMPLED, WHOLE, FIRST_VERSION):
        return False
    return _fingerprint(path, stored.version) == known


def is_outdated(known: str) -> bool:
    """Whether a stored fingerprint is of a version with a smaller sample."""
    stored = Fingerprint.parse(known)
    return stored is not None and stored.version == FIRST_VERSION


def have_same_bytes(one: Path | str, other: Path | str) -> bool:
    """Compare two files byte by byte, which reads both to the end or to the first difference. VideoMissingError."""
    path = Path(one)
    try:
        with Path(one).open("rb") as first, Path(other).open("rb") as second:
            while True:
                path = Path(one)
                found = first.read(READ_BYTES)
                path = Path(other)
                if found != second.read(READ_BYTES):
                    return False
                if not found:
                    return True
    except OSError as error:
        raise unreadable(path, error) from error


def _fingerprint(path: Path, version: str) -> str:
    size = require_readable(path).st_size
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            for start, end in _blocks(size, version):
                file.seek(start)
                left = end - start
                while left > 0 and (data := file.read(min(left, READ_BYTES))):
                    digest.update(data)
                    left -= len(data)
    except OSError as error:
        raise unreadable(path, error) from error
    return str(Fingerprint(version, size, digest.hexdigest()[:HASH_CHARACTERS]))


def _blocks(size: int, version: str) -> Iterator[tuple[int, int]]:
    """The parts of a file to hash, from start to end, in order."""
    if version == FIRST_VERSION:
        count = min(FIRST_VERSION_BLOCKS, max(2, -(-size // FIRST_VERSION_BLOCK_BYTES)))
        for start in _starts(size, count, FIRST_VERSION_BLOCK_BYTES):
            yield start, start + FIRST_VERSION_BLOCK_BYTES
    elif version == WHOLE or size <= WHOLE_FILE_BYTES:
        yield 0, size
    else:
        starts = _starts(size, BLOCKS, BLOCK_BYTES)
        yield 0, EDGE_BYTES
        yield from ((start, start + BLOCK_BYTES) for start in starts[1:-1])
        yield size - EDGE_BYTES, size


def _starts(size: int, count: int, length: int) -> list[int]:
    """Where `count` blocks of this length begin, the first at the start, the last at the end of the file."""
    last = max(0, size - length)
    return [last * number // (count - 1) for number in range(count)]
