"""Likeness: whether a source frame may be left to the kept frame before it.

Content that appeared or vanished counts; content that merely moved a little does not. A pixel counts by as much as it
lies outside the range of luma that the other picture has within 3 pixels of it (the grey-scale erosion and dilation of
mathematical morphology), seen from both pictures: a step of a walking person is inside that range, a person who was not
there is not. It is always measured against the kept frame, never against the last one seen, so that slow change adds
up. docs/likeness.md has the measurements behind it.

Surprise: whether something changed in a picture that was not changing there before.

A clock can be as coarse as the footage is calm, if what comes all of a sudden is kept at once: a person stepping in, a
caption, a flash. Each part of a picture remembers how much it changed lately; a change is a surprise where it exceeds
that by far. So flames, leaves and walking people surprise once, and then only by what is new; and what comes once is
remembered less than what goes on changing, so that it may surprise by going too. Not for several threads.
"""

import math
from enum import StrEnum
from typing import Protocol

import cv2
import numpy as np

from enrich.video.signals import Luma

WHITE = 255.0
MOVED_PIXELS = 3  # of the small picture, 1 % of its long edge
HALF = 2  # differences are averaged by this much before they are looked at
WINDOW_CELLS = 3  # and over windows of this many cells: 6x6 pixels, half the height of what must not be lost
_REACH = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * MOVED_PIXELS + 1, 2 * MOVED_PIXELS + 1))
FLOOR_LEVELS = 12.0  # of 255: a change below it surprises nobody
MEMORY_SECONDS = 0.4  # after which 1/e of a change is remembered
ONCE_SHARE = 0.6  # of a change is remembered, all of it if the part changed in the frame before too
REACH_CELLS = 9  # across; a cell is 2x2 pixels: what moves changes the cells beside it next,
REACH_CELLS_PER_SECOND = 120.0  # the farther, the longer the time between two pictures,
REACH_MOST_SECONDS = 0.2  # up to here


class LikenessLevel(StrEnum):
    """How alike frames must be for one of them to be left out."""

    STRICT = "strict"
    NORMAL = "normal"
    LOOSE = "loose"


# The largest new content, of 255, that each level leaves out.
NEW_LEVELS = {LikenessLevel.STRICT: 20, LikenessLevel.NORMAL: 30, LikenessLevel.LOOSE: 40}


class Likeness(Protocol):
    """A measure of likeness, and how much of it each level asks for."""

    def measure(self, kept: Luma, candidate: Luma) -> float:
        """From 0 (nothing in common) to 1 (the same picture)."""

    def threshold(self, level: LikenessLevel) -> float:
        """The least likeness at which the candidate may be left to the kept frame."""


class ContentLikeness:
    """1 minus the largest new or vanished content of a window of 6x6 pixels, as a share of white."""

    def measure(self, kept: Luma, candidate: Luma) -> float:
        if kept.shape != candidate.shape:
            return 0.0
        least, most = cv2.erode(kept, _REACH), cv2.dilate(kept, _REACH)
        appeared = cv2.max(cv2.subtract(candidate, most), cv2.subtract(least, candidate))
        least, most = cv2.erode(candidate, _REACH), cv2.dilate(candidate, _REACH)
        vanished = cv2.max(cv2.subtract(kept, most), cv2.subtract(least, kept))
        return 1.0 - float(windows(cv2.max(appeared, vanished)).max()) / WHITE

    def threshold(self, level: LikenessLevel) -> float:
        return 1.0 - NEW_LEVELS[level] / WHITE


def windows(difference: np.ndarray) -> np.ndarray:
    """The mean of a picture of differences in overlapping windows of 6x6 pixels, a cell for every 2x2 (uint8)."""
    height, width = difference.shape
    cells = cv2.resize(difference, (width // HALF, height // HALF), interpolation=cv2.INTER_AREA)
    return cv2.blur(cells, (WINDOW_CELLS, WINDOW_CELLS))


def largest_change(one: Luma, other: Luma) -> float:
    """The largest mean |difference| of a window, 0 to 255: whatever moved counts; 255 for other shapes."""
    return float(windows(cv2.absdiff(one, other)).max()) if one.shape == other.shape else WHITE


DEFAULT_LIKENESS: Likeness = ContentLikeness()


class ChangeDetector:
    """Looks at one video's frames in their order; `ratio`: how far a change must exceed those remembered."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._before: Luma | None = None
        self._time = 0.0
        self._memory: np.ndarray | None = None
        self._spread: np.ndarray | None = None  # the last change, in all cells it reaches

    def sees(self, timestamp: float, luma: Luma) -> bool:
        """Whether this frame surprises; False for the first, and where the stream changes its shape."""
        before, self._before = self._before, luma
        seconds, self._time = abs(timestamp - self._time), timestamp
        if before is None or before.shape != luma.shape or self._memory is None or self._spread is None:
            self._memory = self._spread = np.zeros_like(windows(luma))
            return False
        change = windows(cv2.absdiff(luma, before))
        usual = cv2.convertScaleAbs(self._memory, alpha=self._ratio, beta=FLOOR_LEVELS)
        surprise = bool(cv2.subtract(change, usual).any())
        side = int(REACH_CELLS + REACH_CELLS_PER_SECOND * min(seconds, REACH_MOST_SECONDS)) | 1
        spread = cv2.dilate(change, cv2.getStructuringElement(cv2.MORPH_RECT, (side, side)))
        faded = cv2.convertScaleAbs(self._memory, alpha=math.exp(-seconds / MEMORY_SECONDS))
        lasting = cv2.max(cv2.min(spread, self._spread), cv2.convertScaleAbs(spread, alpha=ONCE_SHARE))
        self._memory, self._spread = cv2.max(faded, lasting), spread
        return surprise
