"""Measures each decoded frame: difference hash, sharpness, brightness, motion and scene cuts.

All signals, and likeness, are computed from a reduced luma image: 320 pixels on the long edge, 8 bits, full range (0
black, 255 white), in the codec's orientation. Its sides are multiples of 20, so that blocks of 20x20 pixels tile it.

A scene begins where three conditions hold at once. The mean luma change is at least 8 of 255. It is at least 3 times
the mean over the last 12 frames, which excludes camera shake and pans. The two frames hardly correlate, which excludes
flashes, fades and dialogs over a dimmed page. The thresholds are tuned on hard cuts in real clips; dissolves and cuts
between frames of the same luma are not detected.
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

from enrich.video.checkpoint import State
from enrich.video.colour import LIMITED_TO_FULL, source_matrix, source_range
from enrich.video.video_file import ffmpeg_errors

LONG_EDGE_PIXELS = 320
BLOCK_PIXELS = 20
BITS_PER_BYTE = 8
WORD_BITS = 16
Luma: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
HASH_SIDE = 8
CUT_FLOOR_LEVELS = 8.0  # of 255
CUT_RATIO = 3.0
CUT_CORRELATION = 0.6
CUT_WINDOW_FRAMES = 12
SCENE_MIN_FRAMES = 6  # a cut sooner after another is the end of a flash

cv2.setNumThreads(1)  # OpenCV's threads would only compete with the decoder's


def small_size(width: int, height: int) -> tuple[int, int]:
    """The width and height of the reduced luma for a source of this size."""
    scale = LONG_EDGE_PIXELS / max(width, height)

    def side(pixels: int) -> int:
        return max(BLOCK_PIXELS, round(pixels * scale / BLOCK_PIXELS) * BLOCK_PIXELS)

    return side(width), side(height)


class LumaShrinker:
    """Reduces frames of any pixel format to their luma; reuses a scaler for formats without a plain Y plane."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def shrink(self, frame: VideoFrame) -> Luma:
        """The reduced luma of a decoded frame; takes about 0.2 ms for 1080p in 8-bit planar or 10-bit YUV."""
        size = small_size(frame.width, frame.height)
        name = frame.format.name
        bits = _plain_luma_bits(name)
        if bits is None:
            return self._by_scaler(frame, size)
        plane = frame.planes[0]
        kind = np.uint8 if bits == BITS_PER_BYTE else np.dtype("<u2")
        rows = np.frombuffer(plane, kind)  # type: ignore[call-overload]  # a plane is a buffer
        rows = rows.reshape(plane.height, -1)[:, : frame.width]
        step = max(1, frame.height // size[1])
        small = cv2.resize(rows[::step], size, interpolation=cv2.INTER_AREA)
        if bits != BITS_PER_BYTE:
            small = cv2.convertScaleAbs(small, alpha=1 / (1 << (bits - BITS_PER_BYTE)))
        is_full_range = source_range(frame) == ColorRange.JPEG
        return small if is_full_range else cv2.LUT(small, LIMITED_TO_FULL)  # type: ignore[return-value]

    @ffmpeg_errors("a frame")
    def _by_scaler(self, frame: VideoFrame, size: tuple[int, int]) -> Luma:
        gray = self._scaler.reformat(
            frame,
            width=size[0],
            height=size[1],
            format="gray",
            interpolation=Interpolation.AREA,
            src_colorspace=source_matrix(frame),
            src_color_range=source_range(frame),
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plane = gray.planes[0]
        rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
        return np.ascontiguousarray(rows.reshape(plane.height, -1)[:, : gray.width])


@lru_cache
def _plain_luma_bits(name: str) -> int | None:
    """The bit depth of a pixel format's first plane if that is plain luma, else None."""
    kind = VideoFormat(name)
    if not name.startswith(("yuv4", "yuvj4", "yuva4", "nv12", "nv21", "gray", "p01", "p21")):
        return None
    if kind.is_big_endian or not (kind.is_planar or name.startswith("gray")):
        return None
    bits = kind.components[0].bits
    if name.startswith(("p01", "p21")):  # the value is in the upper bits of its word
        return WORD_BITS
    return bits if BITS_PER_BYTE <= bits <= WORD_BITS else None


@dataclass(frozen=True, slots=True)
class Signals:
    """The measurements of one frame."""

    dhash: int  # 64 bits, unsigned
    sharpness: float  # variance of the Laplacian of the reduced luma
    brightness: float  # mean luma, 0 to 255
    motion: float  # mean |luma difference| from the previous frame, 0 to 255; 0 for the first
    is_cut: bool  # this frame begins a new scene; False for the first


class SignalMeter:
    """Measures one video's frames, in order."""

    def __init__(self) -> None:
        self._previous: Luma | None = None
        self._motions: deque[float] = deque(maxlen=CUT_WINDOW_FRAMES)
        self._since_cut = 0

    def measure(self, luma: Luma) -> Signals:
        """The signals of the next frame."""
        previous, self._previous = self._previous, luma
        if previous is None:
            motion, is_cut = 0.0, False
        elif previous.shape != luma.shape:  # the frame size changed
            motion, is_cut = 0.0, True
        else:
            motion = cv2.norm(luma, previous, cv2.NORM_L1) / luma.size
            is_cut = self._is_cut(previous, luma, motion)
        return Signals(difference_hash(luma), laplacian_variance(luma), cv2.mean(luma)[0], motion, is_cut)

    def state(self) -> State:
        """The state after the last frame measured, with its luma as `previous`."""
        return {"previous": self._previous, "motions": list(self._motions), "since_cut": self._since_cut}

    def restore(self, state: State) -> None:
        """Continue from a saved state."""
        self._previous, self._since_cut = state["previous"], state["since_cut"]
        self._motions = deque(state["motions"], maxlen=CUT_WINDOW_FRAMES)

    def _is_cut(self, previous: Luma, luma: Luma, motion: float) -> bool:
        usual = sum(self._motions) / len(self._motions) if self._motions else 0.0
        self._motions.append(motion)
        self._since_cut += 1
        is_sudden = motion >= CUT_FLOOR_LEVELS and motion >= CUT_RATIO * usual
        if not is_sudden or self._since_cut < SCENE_MIN_FRAMES or correlation(previous, luma) >= CUT_CORRELATION:
            return False
        self._since_cut = 0
        self._motions.clear()
        return True


def correlation(one: Luma, other: Luma) -> float:
    """Pearson's correlation of two images' pixels; 0 if one of them is uniform."""
    result = cv2.matchTemplate(one.astype(np.float32), other.astype(np.float32), cv2.TM_CCOEFF_NORMED)
    return float(result[0, 0]) if one.std() > 0 and other.std() > 0 else 0.0


def laplacian_variance(luma: Luma) -> float:
    """Mean square minus squared mean; ten times as fast as cv2.meanStdDev, with the same result."""
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
    """The weight of each pixel in each cell's mean, shape (cells, pixels); like INTER_AREA, seven times as fast."""
    edges = np.arange(cells + 1)[:, None] * pixels / cells
    covered = np.clip(edges - np.arange(pixels), 0, 1)  # of each pixel, left of each edge
    return (np.diff(covered, axis=0) * cells / pixels).astype(np.float32)
