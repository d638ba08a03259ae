"""What identifies a video by its content: a moved or renamed file keeps its fingerprint."""

import hashlib
from pathlib import Path

from enrich.errors import VideoMissingError
from enrich.video.readable import require_readable

BLOCK_BYTES = 64 * 1024
BLOCKS = 16


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
