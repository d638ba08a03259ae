"""What identifies a video by its content: a moved or renamed file keeps its fingerprint.

Whether a file can be read now, and why not.
"""

import hashlib
import os
from pathlib import Path

from enrich.errors import VideoMissingError

BLOCK_BYTES = 64 * 1024
BLOCKS = 16


def require_readable(path: Path) -> os.stat_result:
    """The file's status, or VideoMissingError that says why it cannot be read now."""
    try:
        status = path.stat()
        if path.is_dir():
            raise VideoMissingError(f"{path} is a folder: name a video file in it")
        with path.open("rb"):
            return status
    except FileNotFoundError:
        remedy = "check the name, put it back, or connect the drive it lies on"
        raise VideoMissingError(f"{path} is not there: {remedy}") from None
    except PermissionError:
        raise VideoMissingError(f"{path} may not be read: give yourself permission to read it") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise VideoMissingError(f"{path} cannot be read ({reason}): check the drive it lies on") from error


def fingerprint(path: Path | str) -> str:
    """`<size in bytes>-<hash>`: SHA-256 over 16 evenly spread blocks, the first and the last among them.

    Reads at most 1 MiB, so it is as quick for a film as for a clip; a change between the blocks that leaves
    the size as it is goes unnoticed. Raises VideoMissingError.
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
        reason = error.strerror or str(error)
        raise VideoMissingError(f"{path} cannot be read ({reason}): check the drive it lies on") from error
    return f"{size}-{digest.hexdigest()[:32]}"
