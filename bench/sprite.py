"""Sprites: objects, people and captions that are painted onto reduced luma frames."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Luma = np.ndarray  # a reduced luma frame
Paint = Callable[[Luma, float], Luma]  # a reduced luma and its time to the luma with the event
Area = Callable[[float, tuple[int, ...]], np.ndarray]  # a time and a shape to a mask
Track = Callable[[float], tuple[float, float]]  # a time to the left and top of a sprite


@dataclass(frozen=True, eq=False)
class Sprite:
    """Luma and opacity of what is added, at its size in the reduced luma (float32)."""

    luma: np.ndarray
    alpha: np.ndarray
    is_plain: bool = False  # its luma is a deviation from a level chosen later
    is_boxed: bool = False

    def at(self, spot: Track) -> Paint:
        """Paint with the top left corner at `spot`, at subpixel positions, clipped to the frame."""

        def paint(luma: Luma, time: float) -> Luma:
            placed = self._placed(spot(time), luma.shape)
            if placed is None:
                return luma
            box, alpha, value = placed
            result = luma.copy()
            behind = luma[box].astype(np.float32)
            result[box] = as_bytes(behind + alpha * (value - behind))
            return result

        return paint

    def area(self, spot: Track) -> Area:
        return lambda time, shape: self.mask(spot(time), shape)

    def box(self, spot: tuple[float, float]) -> Area:
        """The bounding rectangle, which is a caption's area."""
        whole = Sprite(self.luma, np.ones_like(self.alpha))
        return whole.area(lambda _: spot)

    def mask(self, spot: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
        mask = np.zeros(shape, bool)
        placed = self._placed(spot, shape)
        if placed is not None:
            mask[placed[0]] = placed[1] > 0.5
        return mask

    def _placed(
        self, spot: tuple[float, float], shape: tuple[int, ...]
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
        left, top = math.floor(spot[0]), math.floor(spot[1])
        high, wide = self.alpha.shape[0] + 1, self.alpha.shape[1] + 1
        y, x = slice(max(0, top), min(shape[0], top + high)), slice(max(0, left), min(shape[1], left + wide))
        if y.start >= y.stop or x.start >= x.stop:
            return None
        translation = np.float32([[1, 0, spot[0] - left], [0, 1, spot[1] - top]])
        alpha = cv2.warpAffine(self.alpha, translation, (wide, high))
        value = cv2.warpAffine(self.luma, translation, (wide, high), borderMode=cv2.BORDER_REPLICATE)
        inner = np.s_[y.start - top : y.stop - top, x.start - left : x.stop - left]
        return (y, x), alpha[inner], value[inner]


def as_bytes(values: np.ndarray) -> Luma:
    """Rounded and clipped to 8 bits."""
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
