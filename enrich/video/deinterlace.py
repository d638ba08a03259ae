"""Interlaced pictures without combs: where the two fields show two moments, the upper one alone is taken.

A picture is only halved if combs are seen in it: what stands still, and film that is merely flagged as interlaced,
keeps every row.
"""

from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

COMB_STEP = 10  # of 255: how much a row must differ from both its neighbours, to the same side
BLOCK_PIXELS = 8
COMBED_SHARE = 0.2  # of a block
EIGHT_BITS = 8
TICK = Fraction(1, 1000)  # of the filters' clock, which nobody reads


class Deinterlacer:
    """For the pictures of one video; keeps its filters between them. For one thread at a time."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int, int, bool], Graph] = {}

    def one_moment(self, frame: VideoFrame) -> VideoFrame:
        """The picture itself, or its upper field (half as high) if its fields show different moments."""
        if not frame.interlaced_frame:
            return frame
        is_combed = _is_combed(frame)
        key = (frame.format.name, frame.width, frame.height, is_combed)
        if key not in self._graphs:
            self._graphs[key] = _graph(frame, is_combed=is_combed)
        self._graphs[key].vpush(frame)
        return self._graphs[key].vpull()


def _graph(frame: VideoFrame, *, is_combed: bool) -> Graph:
    """The upper field; or the picture as it is, no longer flagged: swscale would scale its fields one by one."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
    wanted = graph.add("field", "type=top") if is_combed else graph.add("setfield", "mode=prog")
    graph.link_nodes(source, wanted, graph.add("buffersink")).configure()
    return graph


def _is_combed(frame: VideoFrame) -> bool:
    """Whether rows differ from both their neighbours, all to the same side, somewhere in the picture."""
    luma = _luma(frame)
    if luma is None:
        return True
    rows = luma[: luma.shape[0] // 2 * 2]
    upper, lower, next_upper = rows[0:-2:2], rows[1:-2:2], rows[2::2]
    up, down = upper - lower, next_upper - lower
    combs = (np.minimum(up, down) > COMB_STEP) | (np.maximum(up, down) < -COMB_STEP)
    height, width = (length // BLOCK_PIXELS * BLOCK_PIXELS for length in combs.shape)
    if not height or not width:
        return bool(combs.mean() > COMBED_SHARE)
    blocks = combs[:height, :width].reshape(height // BLOCK_PIXELS, BLOCK_PIXELS, width // BLOCK_PIXELS, BLOCK_PIXELS)
    return bool(blocks.mean(axis=(1, 3)).max() >= COMBED_SHARE)


def _luma(frame: VideoFrame) -> NDArray[np.int16] | None:
    """The luma in 8 bits; None of pictures that have no plane of it."""
    component = frame.format.components[0]
    if frame.format.is_rgb or not frame.format.is_planar or frame.format.is_big_endian:
        return None
    plane = frame.planes[0]
    kind = np.uint8 if component.bits <= EIGHT_BITS else np.uint16
    samples = np.frombuffer(plane, kind)  # type: ignore[call-overload]  # a plane is a buffer
    picture = samples.reshape(plane.height, -1)[:, : plane.width]
    shift = max(0, component.bits - EIGHT_BITS)
    luma: NDArray[np.int16] = (picture >> shift).astype(np.int16)
    return luma
