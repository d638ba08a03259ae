"""One stored JPEG: whether it is whole, and whether it shows what it should."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from enrich.video.likeness import DEFAULT_LIKENESS, WHITE, largest_change
from enrich.video.luma import Luma, small_size

OTHER_LEVELS = 16.0  # of 255, in a window: more than another size or quality makes, less than what is kept differs by
SIZE_ROUNDING_PIXELS = 1


class State(StrEnum):
    """What is the matter with a JPEG."""

    GOOD = "good"
    MISSING = "missing"
    BROKEN = "broken"
    RESIZED = "resized"  # the same shape in another size: the settings may have been others when it was made
    SIZE = "size"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Seen:
    """A JPEG that could be decoded: its size, and its small luma."""

    width: int
    height: int
    luma: Luma


def look_at(jpeg: bytes) -> Seen | None:
    """Decode all of a JPEG, at reduced size; None if any of it is broken."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        across, down = small_size(width, height)
        gray = simplejpeg.decode_jpeg(
            jpeg, "GRAY", min_width=min(across, width), min_height=min(down, height), min_factor=1
        )
    except (ValueError, OSError):
        return None
    small = cv2.resize(np.asarray(gray, np.uint8)[:, :, 0], (across, down), interpolation=cv2.INTER_AREA)
    return Seen(width, height, np.asarray(small, np.uint8))


def state_by_size(path: Path, size: tuple[int, int]) -> State:
    """Whether a JPEG is there, whole, and of the size (width, height) its frame should have."""
    jpeg = _read(path)
    if jpeg is None:
        return State.MISSING
    seen = look_at(jpeg)
    return State.BROKEN if seen is None else _by_size((seen.width, seen.height), size)


def state_by_picture(path: Path, expected: bytes) -> State:
    """Whether a JPEG shows what `expected` shows, which was made from the very source frame just now."""
    jpeg = _read(path)
    if jpeg is None:
        return State.MISSING
    if jpeg == expected:
        return State.GOOD
    seen, wanted = look_at(jpeg), look_at(expected)
    if seen is None:
        return State.BROKEN
    if wanted is None:
        raise ValueError("a JPEG made just now cannot be decoded")
    state = _by_size((seen.width, seen.height), (wanted.width, wanted.height))
    if state is State.GOOD:
        return State.GOOD if largest_change(seen.luma, wanted.luma) <= OTHER_LEVELS else State.OTHER
    if state is State.RESIZED and _is_new_content(seen.luma, wanted.luma):
        return State.OTHER
    return state


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size in which an upright picture of this size is stored."""
    scale = min(1.0, edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _by_size(one: tuple[int, int], other: tuple[int, int]) -> State:
    if one == other:
        return State.GOOD
    scale = max(one) / max(other)
    most = SIZE_ROUNDING_PIXELS * max(1.0, scale)
    is_same_shape = all(abs(theirs * scale - ours) <= most for ours, theirs in zip(one, other, strict=True))
    return State.RESIZED if is_same_shape else State.SIZE


def _is_new_content(luma: Luma, wanted: Luma) -> bool:
    """Whether one shows what the other does not; edges that a change of size made softer or harder are left out."""
    height, width = wanted.shape
    same = np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return DEFAULT_LIKENESS.measure(wanted, same) < 1 - OTHER_LEVELS / WHITE


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
