"""Pictures as a model is sent them: baseline JPEGs no larger than what it sees."""

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from enrich.errors import CallFailedError

QUALITY = 90
LITTLE = 0.7  # the decoder itself shrinks to the nearest eighth above
MARKER = 0xFF
FRAME_KINDS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three are tables and an extension
BASELINE_KINDS = (0xC0, 0xC1)  # baseline, extended sequential
KINDS_ALONE = (0x01, *range(0xD0, 0xDA))  # markers with no length after them


def shrunk(jpeg: bytes, edge: int) -> bytes:
    """The JPEG with its long edge at most `edge` pixels, baseline; untouched where it already is so.

    Raises CallFailedError if the bytes are no JPEG that can be decoded.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        if max(height, width) <= edge and is_baseline(jpeg):
            return jpeg
        pixels = decoded(jpeg, edge)
        factor = edge / max(height, width)
        if factor < 1:
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            little = size[0] > pixels.shape[1] * LITTLE  # then the fast way looks the same
            how = cv2.INTER_LINEAR if little else cv2.INTER_AREA
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
        return encoded(pixels)
    except (ValueError, OSError) as error:
        raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error


def decoded(jpeg: bytes, edge: int) -> NDArray[np.uint8]:
    """The picture as (height, width, RGB), decoded at reduced size where its long edge stays at least `edge` pixels.

    Raises ValueError if it cannot be decoded.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    factor = min(1.0, edge / max(height, width))
    smallest = (max(1, round(height * factor)), max(1, round(width * factor)))
    return np.asarray(
        simplejpeg.decode_jpeg(jpeg, "RGB", min_height=smallest[0], min_width=smallest[1], min_factor=1), np.uint8
    )


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """A baseline JPEG of (height, width, RGB)."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, "RGB", "420"))


def is_baseline(jpeg: bytes) -> bool:
    """Whether the JPEG is of the kind every decoder reads; progressive ones are not."""
    position = 2
    while position + 4 <= len(jpeg):
        if jpeg[position] != MARKER:
            return False
        kind = jpeg[position + 1]
        if kind in FRAME_KINDS:
            return kind in BASELINE_KINDS
        if kind == MARKER:  # padding
            position += 1
        else:
            position += 2 if kind in KINDS_ALONE else 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return False


def colour_card() -> bytes:
    """A small picture of eight coloured bars, to warm a model up with."""
    colours = np.array(
        [[r, g, b] for r in (40, 220) for g in (40, 220) for b in (40, 220)],
        np.uint8,
    )
    return encoded(np.repeat(np.repeat(colours[np.newaxis], 96, axis=0), 16, axis=1))
