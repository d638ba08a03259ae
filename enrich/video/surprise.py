"""Surprise: whether something changed in a picture that was not changing there before.

A clock can be as coarse as the footage is calm, if what comes all of a sudden is kept at once: a person stepping in, a
caption, a flash. Each part of a picture remembers how much it changed lately; a change is a surprise where it exceeds
that by far. So flames, leaves and walking people surprise once, and then only by what is new; and what comes once is
remembered less than what goes on changing, so that it may surprise by going too. Not for several threads.
"""

import math

import cv2
import numpy as np

from enrich.video.likeness import windows
from enrich.video.luma import Luma

FLOOR_LEVELS = 12.0  # of 255: a change below it surprises nobody
MEMORY_SECONDS = 0.4  # after which 1/e of a change is remembered
ONCE_SHARE = 0.6  # of a change is remembered, all of it if the part changed in the frame before too
REACH_CELLS = 9  # across; a cell is 2x2 pixels: what moves changes the cells beside it next,
REACH_CELLS_PER_SECOND = 120.0  # the farther, the longer the time between two pictures,
REACH_MOST_SECONDS = 0.2  # up to here


class Surprises:
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
