"""Whether a file can be read now, and why not."""

import os
from pathlib import Path

from enrich.errors import VideoMissingError


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
