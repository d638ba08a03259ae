"""Comparison of a stored JPEG with the image that its source frame gives now: same size, same picture."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from enrich.video.likeness import DEFAULT_LIKENESS, WHITE, largest_change
from enrich.video.signals import Luma, small_size

DIFFERENT_LEVELS = 16.0  # of 255, in a window: more than resizing or re-encoding changes, less than kept frames differ
SIZE_ROUNDING_PIXELS = 1


class ImageState(StrEnum):
    """The result of comparing a stored JPEG with its frame."""

    GOOD = "good"
    MISSING = "missing"
    BROKEN = "broken"
    RESIZED = "resized"  # the right shape in another size, perhaps from earlier settings
    SIZE = "size"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded JPEG: its size in pixels and its reduced luma."""

    width: int
    height: int
    luma: Luma


def decode_image(jpeg: bytes) -> DecodedImage | None:
    """Decode a JPEG completely, at reduced size; None if any part is broken."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        across, down = small_size(width, height)
        gray = simplejpeg.decode_jpeg(
            jpeg, "GRAY", min_width=min(across, width), min_height=min(down, height), min_factor=1
        )
    except (ValueError, OSError):
        return None
    small = cv2.resize(np.asarray(gray, np.uint8)[:, :, 0], (across, down), interpolation=cv2.INTER_AREA)
    return DecodedImage(width, height, np.asarray(small, np.uint8))


def check_image_size(path: Path, size: tuple[int, int]) -> ImageState:
    """Whether a JPEG exists, decodes, and has the size (width, height) expected of its frame."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    image = decode_image(jpeg)
    return ImageState.BROKEN if image is None else _compare_size((image.width, image.height), size)


def compare_image(path: Path, expected: bytes) -> ImageState:
    """Whether a JPEG shows the same as `expected`, a JPEG newly encoded from its source frame."""
    jpeg = _read(path)
    if jpeg is None:
        return ImageState.MISSING
    if jpeg == expected:
        return ImageState.GOOD
    image, wanted = decode_image(jpeg), decode_image(expected)
    if image is None:
        return ImageState.BROKEN
    if wanted is None:
        raise ValueError("a newly encoded JPEG cannot be decoded")
    state = _compare_size((image.width, image.height), (wanted.width, wanted.height))
    if state is ImageState.GOOD:
        return ImageState.GOOD if largest_change(image.luma, wanted.luma) <= DIFFERENT_LEVELS else ImageState.DIFFERENT
    if state is ImageState.RESIZED and _is_new_content(image.luma, wanted.luma):
        return ImageState.DIFFERENT
    return state


def shows_other_content(path: Path, expected: bytes) -> bool:
    """Whether a JPEG shows something else than `expected`, whatever its size. False if it cannot be decoded."""
    jpeg = _read(path)
    image, wanted = decode_image(jpeg) if jpeg is not None else None, decode_image(expected)
    if image is None or wanted is None:
        return False
    if (image.width, image.height) == (wanted.width, wanted.height):
        return largest_change(image.luma, wanted.luma) > DIFFERENT_LEVELS
    return _is_new_content(image.luma, wanted.luma)


def _compare_size(one: tuple[int, int], other: tuple[int, int]) -> ImageState:
    if one == other:
        return ImageState.GOOD
    scale = max(one) / max(other)
    most = SIZE_ROUNDING_PIXELS * max(1.0, scale)
    is_same_shape = all(abs(theirs * scale - ours) <= most for ours, theirs in zip(one, other, strict=True))
    return ImageState.RESIZED if is_same_shape else ImageState.SIZE


def _is_new_content(luma: Luma, wanted: Luma) -> bool:
    """Whether one shows content that the other does not, ignoring edges blurred or sharpened by resizing."""
    height, width = wanted.shape
    same = np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return DEFAULT_LIKENESS.measure(wanted, same) < 1 - DIFFERENT_LEVELS / WHITE


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
