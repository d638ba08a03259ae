"""Images as they are sent to a model: baseline JPEGs, no larger than the model can use."""

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from enrich.errors import CallFailedError

JPEG_QUALITY = 90
LINEAR_RESIZE_FACTOR = 0.7  # the decoder already shrinks to the next eighth; a small rest needs no area filter
MARKER = 0xFF
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three are tables and an extension
BASELINE_MARKERS = (0xC0, 0xC1)  # baseline, extended sequential
MARKERS_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))


def shrink(jpeg: bytes, edge: int) -> bytes:
    """Return a baseline JPEG with a long edge of at most `edge` pixels; the same bytes if it already is one.

    Raises CallFailedError if the bytes cannot be decoded as JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        if max(height, width) <= edge and is_baseline(jpeg):
            return jpeg
        pixels = decode(jpeg, edge)
        factor = edge / max(height, width)
        if factor < 1:
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            is_nearly_done = size[0] > pixels.shape[1] * LINEAR_RESIZE_FACTOR  # then the fast filter looks the same
            interpolation = cv2.INTER_LINEAR if is_nearly_done else cv2.INTER_AREA
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=interpolation), np.uint8)
        return encode(pixels)
    except (ValueError, OSError) as error:
        raise CallFailedError(unreadable_image(error)) from error


def unreadable_image(error: Exception) -> str:
    """The message for a stored image that cannot be decoded."""
    return f"the stored image cannot be decoded as JPEG ({error}): run `everyframe verify` to check the library"


def decode(jpeg: bytes, edge: int) -> NDArray[np.uint8]:
    """The image as (height, width, RGB), decoded at reduced size if its long edge stays at least `edge` pixels.

    Raises ValueError if it cannot be decoded.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    factor = min(1.0, edge / max(height, width))
    smallest = (max(1, round(height * factor)), max(1, round(width * factor)))
    return np.asarray(
        simplejpeg.decode_jpeg(jpeg, "RGB", min_height=smallest[0], min_width=smallest[1], min_factor=1), np.uint8
    )


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """A baseline JPEG of (height, width, RGB)."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), JPEG_QUALITY, "RGB", "420"))


def is_baseline(jpeg: bytes) -> bool:
    """Whether the JPEG is of the kind every decoder reads. A progressive one is not."""
    position = 2
    while position + 4 <= len(jpeg):
        if jpeg[position] != MARKER:
            return False
        kind = jpeg[position + 1]
        if kind in FRAME_MARKERS:
            return kind in BASELINE_MARKERS
        if kind == MARKER:  # padding
            position += 1
        else:
            position += 2 if kind in MARKERS_WITHOUT_LENGTH else 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return False


def warm_up_image() -> bytes:
    """A small image of eight coloured bars, used to load (warm up) a model."""
    colours = np.array(
        [[r, g, b] for r in (40, 220) for g in (40, 220) for b in (40, 220)],
        np.uint8,
    )
    return encode(np.repeat(np.repeat(colours[np.newaxis], 96, axis=0), 16, axis=1))
