"""Reads what an image shows from the JPEG itself: its number and its colours."""

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import simplejpeg

from tests.clips import (
    COLOURS,
    NUMBER_BITS,
    NUMBER_COLUMNS,
    NUMBER_ROWS,
    NUMBER_SHARE,
    band_colour,
    read_colour,
    read_number,
)

BLACK, WHITE = 70, 185  # a cell of a numbered image is darker or lighter than these
NEAR_COLOUR = 120  # largest difference, summed over the channels, between a band and its colour in COLOURS
PLAIN_COLOURS = {
    "black": (15, 15, 15),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "brown": (110, 70, 40),
    "pink": (240, 170, 190),
    "cyan": (50, 200, 210),
    **COLOURS,
}
ENOUGH_PIXELS = 80  # on the short edge; images are decoded no larger than this requires


@dataclass(frozen=True)
class Sight:
    """What an image shows."""

    number: int | None  # of a numbered clip's frame
    colours: tuple[str, ...]  # largest share first
    brightness: float  # mean, 0 to 255
    width: int
    height: int

    @property
    def text(self) -> str:
        if self.number is not None:
            return f"Frame number {self.number}: black and white squares above a {self.colours[0]} band."
        light = "A dark" if self.brightness < 85 else "A bright" if self.brightness > 170 else "An evenly lit"
        return f"{light} picture that is mostly {' and '.join(self.colours)}, brightness {self.brightness:.0f}."

    @property
    def tags(self) -> list[str]:
        return ([f"number {self.number}", "squares"] if self.number is not None else []) + list(self.colours)


def read_image(image: str) -> Sight:
    """Decode an image. Raises ValueError if it is not a JPEG in base64."""
    try:
        jpeg = base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise ValueError(f"illegal base64 data: {error}") from error
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    factor = min(1.0, ENOUGH_PIXELS / min(height, width))
    pixels = simplejpeg.decode_jpeg(
        jpeg, "RGB", fastdct=True, fastupsample=True,
        min_height=max(1, int(height * factor)), min_width=max(1, int(width * factor)), min_factor=1,
    )  # fmt: skip
    numbered = is_numbered(pixels)
    return Sight(
        number=read_number(pixels) if numbered else None,
        colours=(read_colour(pixels),) if numbered else colours_of(pixels),
        brightness=float(pixels.mean()),
        width=width,
        height=height,
    )


def is_numbered(rgb: np.ndarray) -> bool:
    """Whether the image is from a numbered clip: cells are black or white, and the band has a known colour."""
    height, width = rgb.shape[:2]
    if min(height, width) < 16:
        return False
    band = height * NUMBER_SHARE
    for bit in range(NUMBER_BITS):
        row, column = divmod(bit, NUMBER_COLUMNS)
        y, x = int(band * (row + 0.5) / NUMBER_ROWS), int(width * (column + 0.5) / NUMBER_COLUMNS)
        if BLACK < int(rgb[y, x].mean()) < WHITE:
            return False
    seen = np.array(band_colour(rgb), np.int16)
    return int(np.abs(seen - np.array(COLOURS[read_colour(rgb)])).sum()) < NEAR_COLOUR


def colours_of(rgb: np.ndarray) -> tuple[str, ...]:
    """The names of the one or two most frequent colours among about a hundred sampled pixels."""
    height, width = rgb.shape[:2]
    spots = rgb[:: max(1, height // 12), :: max(1, width // 12)].reshape(-1, 3).astype(np.int16)
    names = list(PLAIN_COLOURS)
    distances = np.abs(spots[:, None] - np.array([PLAIN_COLOURS[name] for name in names])).sum(axis=2)
    counts = np.bincount(distances.argmin(axis=1), minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:2]
    return tuple(names[place] for place in order if counts[place] * 5 >= len(spots))
