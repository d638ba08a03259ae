"""Images as they are sent to a model: baseline JPEGs, no larger than the model can use, and no smaller than it takes.

Some models end their runner over an image with a short side or an extreme shape. Every describer therefore sends
images through `fit`: small ones are enlarged, and thin ones get bars.
"""

import logging
from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from enrich.errors import CallFailedError

log = logging.getLogger(__name__)

JPEG_QUALITY = 90
# Qwen 2.5 VL takes no side below 28 pixels, Qwen 3 VL none below 32, and neither a side 200 times the other. With twice
# that, an image has more than one token; with the long edges in use, its shape stays below 64:1.
MIN_SIDE_PIXELS = 64
MIN_STRIP_PIXELS = 8  # of the image itself, without bars
MIN_REDUCED_EDGE_PIXELS = 160  # smaller images are not worth a description
LINEAR_RESIZE_FACTOR = 0.7  # the decoder already shrinks to the next eighth; a small rest needs no area filter
MARKER = 0xFF
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three are tables and an extension
BASELINE_MARKERS = (0xC0, 0xC1)  # baseline, extended sequential
MARKERS_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))


def fit(jpeg: bytes, long_edge: int, short_edge: int | None = None) -> bytes:
    """Return a baseline JPEG that models take (see `fitted_size`); the same bytes if it already is one.

    Raises CallFailedError if the bytes cannot be decoded as JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        sent = fitted_size(width, height, long_edge, short_edge)
        if sent == (width, height) and is_baseline(jpeg):
            return jpeg
        size = _size_without_bars(width, height, long_edge, short_edge)
        pixels = _decode_at_least(jpeg, min(width, size[0]), min(height, size[1]))
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=_interpolation(pixels, size)), np.uint8)
        return encode(_letterboxed(pixels, sent))
    except (ValueError, OSError, cv2.error) as error:
        raise CallFailedError(unreadable_image(error)) from error


def fitted_size(width: int, height: int, long_edge: int, short_edge: int | None = None) -> tuple[int, int]:
    """The width and height at which an image is sent, bars included.

    Its sides are at most `long_edge` and `short_edge`, and at least MIN_SIDE_PIXELS. An image is enlarged only if a
    side is too short; where its shape does not allow that, bars are added.
    """
    inner = _size_without_bars(width, height, long_edge, short_edge)
    return max(MIN_SIDE_PIXELS, inner[0]), max(MIN_SIDE_PIXELS, inner[1])


def _size_without_bars(width: int, height: int, long_edge: int, short_edge: int | None) -> tuple[int, int]:
    """A strip is not thinned below MIN_STRIP_PIXELS: its content would be lost."""
    factor = min(long_edge / max(width, height), max(1.0, MIN_SIDE_PIXELS / min(width, height)))
    if short_edge is not None:
        factor = min(factor, short_edge / min(width, height))
    return max(MIN_STRIP_PIXELS, round(width * factor)), max(MIN_STRIP_PIXELS, round(height * factor))


def _interpolation(pixels: NDArray[np.uint8], size: tuple[int, int]) -> int:
    if size[0] > pixels.shape[1]:
        return cv2.INTER_CUBIC
    is_nearly_done = size[0] > pixels.shape[1] * LINEAR_RESIZE_FACTOR  # then the fast filter looks the same
    return cv2.INTER_LINEAR if is_nearly_done else cv2.INTER_AREA


def _letterboxed(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image in the middle of a black one of this size."""
    height, width = pixels.shape[:2]
    if size == (width, height):
        return pixels
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    boxed = np.zeros((size[1], size[0], 3), np.uint8)
    boxed[top : top + height, left : left + width] = pixels
    return boxed


class EdgeLimits:
    """The long edge of the images for each host: the model's, reduced once a host took no image of that size."""

    def __init__(self, edge: int) -> None:
        self._edge = edge
        self._reduced: dict[str, int] = {}

    def of(self, host: str) -> int:
        """The long edge for `host` in pixels."""
        return self._reduced.get(host, self._edge)

    def reduce(self, host: str, edge: int, reason: Exception) -> None:
        """`host` refused larger images for this reason, and took one with this long edge."""
        if edge < self.of(host):
            self._reduced[host] = edge
            log.warning("%s: images are sent with a long edge of %d pixels from now on: %s", host, edge, reason)


def reduced_edge(images: Sequence[bytes]) -> int | None:
    """The long edge to try after these images were refused as too large; None if smaller ones are not worth it."""
    edge = max((long_edge(jpeg) for jpeg in images), default=0) // 2
    return edge if edge >= MIN_REDUCED_EDGE_PIXELS else None


def long_edge(jpeg: bytes) -> int:
    """The long edge of a JPEG in pixels. Raises ValueError if it is none."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    return int(max(height, width))


def unreadable_image(error: Exception) -> str:
    """The message for a stored image that cannot be decoded."""
    return f"the stored image cannot be decoded as JPEG ({error}): run `everyframe verify` to check the library"


def decode(jpeg: bytes, edge: int) -> NDArray[np.uint8]:
    """The image as (height, width, RGB), decoded at reduced size if its long edge stays at least `edge` pixels.

    Raises ValueError if it cannot be decoded.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    factor = min(1.0, edge / max(height, width))
    return _decode_at_least(jpeg, max(1, round(width * factor)), max(1, round(height * factor)))


def _decode_at_least(jpeg: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode at the smallest eighth of its size that is not below `width` and `height`."""
    return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB", min_height=height, min_width=width, min_factor=1), np.uint8)


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
