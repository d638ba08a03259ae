"""Likeness: whether a source frame may be represented by the previous kept frame; and detection of sudden changes.

Likeness counts content that appeared or vanished, not content that moved a little. A pixel counts by how far its luma
lies outside the range that the other frame has within 3 pixels of it (grey-scale erosion and dilation of mathematical
morphology), in both directions. A step of a walking person stays inside that range; a person who was not there does
not. Frames are always compared with the kept frame, never with the previous one, so slow change adds up.
docs/likeness.md has the measurements.

A change is sudden where it far exceeds the recent changes in the same part of the frame: a person stepping in, a
caption, a flash. Each cell remembers how much it changed lately, so flames, leaves and walking people count as sudden
only once, and afterwards only through what is new. A single change is remembered less than a lasting one, so that
its end can be sudden too. ChangeDetector is not thread-safe.
"""

import math
from enum import StrEnum
from typing import Protocol

import cv2
import numpy as np

from enrich.video.checkpoint import State
from enrich.video.signals import Luma

WHITE = 255.0
MOVEMENT_PIXELS = 3  # in the reduced luma: 1 % of its long edge
CELL_PIXELS = 2  # differences are averaged over cells of this side first,
WINDOW_CELLS = 3  # then over windows of this many cells: 6x6 pixels, half the height of the smallest thing to be seen
_NEIGHBOURHOOD = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * MOVEMENT_PIXELS + 1, 2 * MOVEMENT_PIXELS + 1))
MIN_SUDDEN_LEVELS = 12.0  # of 255; a smaller change is never sudden
MEMORY_SECONDS = 0.4  # time constant: after it, 1/e of a change is remembered
SINGLE_CHANGE_SHARE = 0.6  # of a change is remembered; all of it if the cell also changed in the frame before
# A moving object changes the neighbouring cells next, the farther away, the longer the time between two frames.
REACH_CELLS = 9  # width of the neighbourhood that a change spreads to
REACH_CELLS_PER_SECOND = 120.0
MAX_REACH_SECONDS = 0.2


class LikenessLevel(StrEnum):
    """How alike two frames must be for one of them to be left out."""

    STRICT = "strict"
    NORMAL = "normal"
    LOOSE = "loose"


# The largest amount of new content, of 255, at which each level still leaves a frame out.
MAX_NEW_LEVELS = {LikenessLevel.STRICT: 20, LikenessLevel.NORMAL: 30, LikenessLevel.LOOSE: 40}


class Likeness(Protocol):
    """A measure of likeness and its threshold for each level."""

    def measure(self, kept: Luma, candidate: Luma) -> float:
        """From 0 (nothing in common) to 1 (the same image)."""

    def threshold(self, level: LikenessLevel) -> float:
        """The smallest likeness at which the kept frame may represent the candidate."""


class ContentLikeness:
    """1 minus the largest new or vanished content in any window of 6x6 pixels, as a share of white."""

    def measure(self, kept: Luma, candidate: Luma) -> float:
        if kept.shape != candidate.shape:
            return 0.0
        low, high = cv2.erode(kept, _NEIGHBOURHOOD), cv2.dilate(kept, _NEIGHBOURHOOD)
        appeared = cv2.max(cv2.subtract(candidate, high), cv2.subtract(low, candidate))
        low, high = cv2.erode(candidate, _NEIGHBOURHOOD), cv2.dilate(candidate, _NEIGHBOURHOOD)
        vanished = cv2.max(cv2.subtract(kept, high), cv2.subtract(low, kept))
        return 1.0 - float(window_means(cv2.max(appeared, vanished)).max()) / WHITE

    def threshold(self, level: LikenessLevel) -> float:
        return 1.0 - MAX_NEW_LEVELS[level] / WHITE


def window_means(difference: np.ndarray) -> np.ndarray:
    """The mean difference in overlapping windows of 6x6 pixels, one value per 2x2 pixels (uint8)."""
    height, width = difference.shape
    cells = cv2.resize(difference, (width // CELL_PIXELS, height // CELL_PIXELS), interpolation=cv2.INTER_AREA)
    return cv2.blur(cells, (WINDOW_CELLS, WINDOW_CELLS))


def largest_change(one: Luma, other: Luma) -> float:
    """The largest mean |difference| in any window, 0 to 255; 255 if the shapes differ. Movement counts fully."""
    return float(window_means(cv2.absdiff(one, other)).max()) if one.shape == other.shape else WHITE


DEFAULT_LIKENESS: Likeness = ContentLikeness()


class ChangeDetector:
    """Finds sudden changes in one video's frames, in order. A change must exceed the remembered ones by `ratio`."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._previous: Luma | None = None
        self._time = 0.0
        self._memory: np.ndarray | None = None
        self._spread: np.ndarray | None = None  # the last change, spread to the cells it can reach

    def is_sudden(self, timestamp: float, luma: Luma) -> bool:
        """Whether this frame changes suddenly; False for the first frame and where the frame size changes."""
        previous, self._previous = self._previous, luma
        seconds, self._time = abs(timestamp - self._time), timestamp
        if previous is None or previous.shape != luma.shape or self._memory is None or self._spread is None:
            self._memory = self._spread = np.zeros_like(window_means(luma))
            return False
        change = window_means(cv2.absdiff(luma, previous))
        usual = cv2.convertScaleAbs(self._memory, alpha=self._ratio, beta=MIN_SUDDEN_LEVELS)
        is_sudden = bool(cv2.subtract(change, usual).any())
        side = int(REACH_CELLS + REACH_CELLS_PER_SECOND * min(seconds, MAX_REACH_SECONDS)) | 1
        spread = cv2.dilate(change, cv2.getStructuringElement(cv2.MORPH_RECT, (side, side)))
        faded = cv2.convertScaleAbs(self._memory, alpha=math.exp(-seconds / MEMORY_SECONDS))
        lasting = cv2.max(cv2.min(spread, self._spread), cv2.convertScaleAbs(spread, alpha=SINGLE_CHANGE_SHARE))
        self._memory, self._spread = cv2.max(faded, lasting), spread
        return is_sudden

    def state(self) -> State:
        """The state after the last frame."""
        return {"previous": self._previous, "time": self._time, "memory": self._memory, "spread": self._spread}

    def restore(self, state: State) -> None:
        """Continue from a saved state."""
        self._previous, self._time = state["previous"], state["time"]
        self._memory, self._spread = state["memory"], state["spread"]
