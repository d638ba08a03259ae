"""What Claude takes in one request, and what a picture counts there: sizes, limits, tokens.

Source: https://platform.claude.com/docs/en/build-with-claude/vision and …/build-with-claude/batch-processing
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import cv2
import numpy as np
import simplejpeg

from enrich.describe.picture import decoded, encoded, is_baseline
from enrich.describe.quick.protocol import Labelled
from enrich.errors import CallFailedError

PATCH = 28  # pixels: a picture counts one token for each square of this edge that it touches
LONG_EDGE, SHORT_EDGE = 1280, 720  # pixels of a picture as it is sent: below all sizes that are scaled down on arrival
MOST_EDGE_OF_MANY = 2000  # pixels, once there are more than MANY pictures in a request
MANY = 20
MOST_REQUEST_BYTES = 32 * 1024 * 1024
MOST_BATCH_BYTES = 256 * 1024 * 1024
MOST_BATCH_REQUESTS = 100_000
PICTURES_A_REQUEST = 10  # our choice: answers come sooner and a lost request loses less; the prompt is a small share
FEWEST_EDGE = 8  # pixels


def picture_tokens(width: int, height: int) -> int:
    """What a picture of this size counts as input."""
    return ceil(width / PATCH) * ceil(height / PATCH)


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """The size a picture is sent at: within 1280×720 or 720×1280, never larger than it is."""
    factor = min(1.0, LONG_EDGE / max(width, height), SHORT_EDGE / min(width, height))
    return max(FEWEST_EDGE, round(width * factor)), max(FEWEST_EDGE, round(height * factor))


def fitted(jpeg: bytes) -> bytes:
    """The JPEG at the size it is sent, baseline; untouched where it already is so. Raises CallFailedError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        size = fitted_size(width, height)
        if size == (width, height) and is_baseline(jpeg):
            return jpeg
        pixels = decoded(jpeg, max(size))
        if (pixels.shape[1], pixels.shape[0]) != size:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        return encoded(pixels)
    except (ValueError, OSError, cv2.error) as error:
        raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error


def tokens_of(jpeg: bytes) -> int:
    """What the JPEG will count as input once it is fitted. Raises CallFailedError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except (ValueError, OSError) as error:
        raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error
    return picture_tokens(*fitted_size(width, height))


def weights(pictures: Sequence[Labelled]) -> dict[str, int]:
    """What each picture counts as input, by label: by this a request's bill is shared. Raises CallFailedError."""
    return {picture.label: tokens_of(picture.jpeg) for picture in pictures}


def cut(pictures: Sequence[Labelled], *, most_pictures: int) -> list[tuple[Labelled, ...]]:
    """The pictures in their order, as evenly as may be, in parts of what one request takes."""
    most = min(PICTURES_A_REQUEST, most_pictures)
    count = ceil(len(pictures) / most)
    ends = [round(place * len(pictures) / count) for place in range(count + 1)] if count else []
    return [tuple(pictures[start:end]) for start, end in pairwise(ends)]


def blank(jpeg: bytes) -> bytes:
    """A grey picture of the size at which the JPEG is sent: it counts the same, and shows nothing."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    width, height = fitted_size(width, height)
    return encoded(np.full((height, width, 3), 128, np.uint8))
