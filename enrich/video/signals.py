"""What is measured on each decoded frame: difference hash, sharpness, brightness, motion, scene cut.

A scene begins where three things hold at once: the luma changes by 8 of 255 on average, that is 3 times as much
as it did over the last 12 frames (so shaking and pans do not count), and the two pictures hardly correlate (so
a flash, a fade or a dialog over a dimmed page do not count). Tuned on the hard cuts of real clips; dissolves and
cuts between pictures of the same luma go unseen.

The small luma picture all signals and likenesses are computed from.

It has 320 pixels on the long edge, 8 bits, full range (0 black, 255 white), in the orientation the codec has, and
sides that are multiples of 20, so that blocks of 20x20 pixels tile it.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

LONG_EDGE_PIXELS = 320
BLOCK_PIXELS = 20
SOURCE_ROWS = 1  # rows of the source, at least, that one row of the small picture is made of
BYTE_BITS = 8
WORD_BITS = 16
Luma: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
HASH_SIDE = 8
CUT_FLOOR_LEVELS = 8.0  # of 255
CUT_RATIO = 3.0
CUT_CORRELATION = 0.6
CUT_WINDOW_FRAMES = 12
SCENE_MIN_FRAMES = 6  # a cut so soon after another is the end of a flash


cv2.setNumThreads(1)  # its own threads only fight with the decoder's

# ITU-R BT.601 and later: limited range has black at 16 and white at 235.
_EXPANDED = np.clip((np.arange(256) - 16.0) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)


def small_size(width: int, height: int) -> tuple[int, int]:
    """The small picture's width and height for a source of this size."""
    scale = LONG_EDGE_PIXELS / max(width, height)

    def side(pixels: int) -> int:
        return max(BLOCK_PIXELS, round(pixels * scale / BLOCK_PIXELS) * BLOCK_PIXELS)

    return side(width), side(height)


class LumaShrinker:
    """Makes small luma pictures of any pixel format; keeps a scaler for formats without a plain Y plane."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def shrink(self, picture: VideoFrame) -> Luma:
        """The small luma of a decoded picture, about 0.2 ms for 1080p with 8-bit planar or 10-bit YUV."""
        size = small_size(picture.width, picture.height)
        name = picture.format.name
        bits = _plain_luma_bits(name)
        if bits is None:
            return self._by_scaler(picture, size)
        plane = picture.planes[0]
        kind = np.uint8 if bits == BYTE_BITS else np.dtype("<u2")
        rows = np.frombuffer(plane, kind)  # type: ignore[call-overload]  # a plane is a buffer
        rows = rows.reshape(plane.height, -1)[:, : picture.width]
        step = max(1, picture.height // (size[1] * SOURCE_ROWS))
        small = cv2.resize(rows[::step], size, interpolation=cv2.INTER_AREA)
        if bits != BYTE_BITS:
            small = cv2.convertScaleAbs(small, alpha=1 / (1 << (bits - BYTE_BITS)))
        is_full_range = picture.color_range == ColorRange.JPEG or name.startswith(("yuvj", "gray"))
        return small if is_full_range else cv2.LUT(small, _EXPANDED)  # type: ignore[return-value]

    def _by_scaler(self, picture: VideoFrame, size: tuple[int, int]) -> Luma:
        gray = self._scaler.reformat(
            picture,
            width=size[0],
            height=size[1],
            format="gray",
            interpolation=Interpolation.AREA,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plane = gray.planes[0]
        rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
        return np.ascontiguousarray(rows.reshape(plane.height, -1)[:, : gray.width])


@lru_cache
def _plain_luma_bits(name: str) -> int | None:
    """How many bits reach white in the first plane of a pixel format if that is plain luma, else None."""
    kind = VideoFormat(name)
    if not name.startswith(("yuv4", "yuvj4", "yuva4", "nv12", "nv21", "gray", "p01", "p21")):
        return None
    if kind.is_big_endian or not (kind.is_planar or name.startswith("gray")):
        return None
    bits = kind.components[0].bits
    if name.startswith(("p01", "p21")):  # the value lies in the upper bits of its word
        return WORD_BITS
    return bits if BYTE_BITS <= bits <= WORD_BITS else None


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
