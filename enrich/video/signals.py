"""What is measured on each decoded frame: difference hash, sharpness, brightness, motion, scene cut.

A scene begins where three things hold at once: the luma changes by 8 of 255 on average, that is 3 times as much
as it did over the last 12 frames (so shaking and pans do not count), and the two pictures hardly correlate (so
a flash, a fade or a dialog over a dimmed page do not count). Tuned on the hard cuts of real clips; dissolves and
cuts between pictures of the same luma go unseen.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from enrich.video.luma import Luma

HASH_SIDE = 8
CUT_FLOOR_LEVELS = 8.0  # of 255
CUT_RATIO = 3.0
CUT_CORRELATION = 0.6
CUT_WINDOW_FRAMES = 12
SCENE_MIN_FRAMES = 6  # a cut so soon after another is the end of a flash


@dataclass(frozen=True, slots=True)
class Signals:
    """The measurements of one frame."""

    dhash: int  # 64 bits, unsigned
    sharpness: float  # variance of the Laplacian of the small luma
    brightness: float  # mean luma, 0 to 255
    motion: float  # mean |change of luma| against the frame before, 0 to 255; 0 for the first
    is_cut: bool  # a new scene begins with this frame; False for the first


class SignalMeter:
    """Measures one video's frames in their order."""

    def __init__(self) -> None:
        self._before: Luma | None = None
        self._motions: deque[float] = deque(maxlen=CUT_WINDOW_FRAMES)
        self._since_cut = 0

    def measure(self, luma: Luma) -> Signals:
        """The signals of the next frame."""
        before, self._before = self._before, luma
        if before is None:
            motion, is_cut = 0.0, False
        elif before.shape != luma.shape:  # the stream changed its shape
            motion, is_cut = 0.0, True
        else:
            motion = cv2.norm(luma, before, cv2.NORM_L1) / luma.size
            is_cut = self._cuts(before, luma, motion)
        return Signals(difference_hash(luma), laplacian_variance(luma), cv2.mean(luma)[0], motion, is_cut)

    def _cuts(self, before: Luma, luma: Luma, motion: float) -> bool:
        usual = sum(self._motions) / len(self._motions) if self._motions else 0.0
        self._motions.append(motion)
        self._since_cut += 1
        is_sudden = motion >= CUT_FLOOR_LEVELS and motion >= CUT_RATIO * usual
        if not is_sudden or self._since_cut < SCENE_MIN_FRAMES or correlation(before, luma) >= CUT_CORRELATION:
            return False
        self._since_cut = 0
        self._motions.clear()
        return True


def correlation(one: Luma, other: Luma) -> float:
    """Pearson's correlation of the pixels of two pictures; 0 where one of them is flat."""
    result = cv2.matchTemplate(one.astype(np.float32), other.astype(np.float32), cv2.TM_CCOEFF_NORMED)
    return float(result[0, 0]) if one.std() > 0 and other.std() > 0 else 0.0


def laplacian_variance(luma: Luma) -> float:
    """The mean square minus the squared mean; cv2.meanStdDev gives the same and takes ten times as long."""
    edges = cv2.Laplacian(luma, cv2.CV_16S)
    return cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - cv2.mean(edges)[0] ** 2


def difference_hash(luma: Luma) -> int:
    """64 bits: whether each of 8x8 cells is brighter than its left neighbour (Krawetz's dHash)."""
    height, width = luma.shape
    rows, columns = area_weights(HASH_SIDE, height), area_weights(HASH_SIDE + 1, width)
    cells = np.rint(rows @ luma.astype(np.float32) @ columns.T)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


@lru_cache
def area_weights(cells: int, pixels: int) -> np.ndarray:
    """The share of each pixel in the mean of each cell, (cells, pixels): cv2's INTER_AREA, seven times as fast."""
    edges = np.arange(cells + 1)[:, None] * pixels / cells
    covered = np.clip(edges - np.arange(pixels), 0, 1)  # of each pixel, left of each edge
    return (np.diff(covered, axis=0) * cells / pixels).astype(np.float32)
