"""A decoded picture as a JPEG: upright, square pixels, true colours, durable on disk.

Interlaced pictures without combs: where the two fields show two moments, the upper one alone is taken.

A picture is only halved if combs are seen in it: what stands still, and film that is merely flagged as interlaced,
keeps every row.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import simplejpeg
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from enrich.video.colour import Colours, beyond_screen, for_screen, source_matrix, source_range
from enrich.video.container import RIGHT_ANGLE, is_mirrored, upright_size

COMB_STEP = 10  # of 255: how much a row must differ from both its neighbours, to the same side
BLOCK_PIXELS = 8
COMBED_SHARE = 0.2  # of a block
EIGHT_BITS = 8
TICK = Fraction(1, 1000)  # of the filters' clock, which nobody reads
START_OF_IMAGE = b"\xff\xd8\xff"
END_OF_IMAGE = b"\xff\xd9"
PART_SUFFIX = ".part"
MARGIN_ROWS = 2
SMALLEST_EIGHTH = 8  # as small as libjpeg decodes: only whether it can counts
Sample = TypeVar("Sample", np.uint8, np.uint16)


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


class JpegEncoder:
    """Turns pictures of one video into JPEGs; keeps the scaler between them. For one thread at a time."""

    def __init__(self, *, rotation: int, edge: int, quality: int, sample_aspect: Fraction = Fraction(1)) -> None:
        self._rotation = rotation
        self._edge = edge
        self._quality = quality
        self._sample_aspect = sample_aspect
        self._scaler = VideoReformatter()
        self._deinterlacer = Deinterlacer()

    def encode(self, frame: VideoFrame) -> bytes:
        """Baseline JPEG, 4:2:0, at most `edge` pixels on the long side, never enlarged, in a screen's colours."""
        colours = beyond_screen(frame)
        if colours is not None:
            return self._encode_converted(frame, colours)
        planes = []
        for plane in self._scaled(frame, "yuv420p", Colorspace.ITU601).planes:
            rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a plane is a buffer
            planes.append(_with_margin(self._upright(frame, rows.reshape(plane.height, -1)[:, : plane.width])))
        data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=self._quality)
        return data

    def _encode_converted(self, frame: VideoFrame, colours: Colours) -> bytes:
        """HDR and wide gamuts: converted in 16 bits, once the picture is small."""
        planes = {}
        scaled = self._scaled(frame, "gbrp16le", Colorspace.ITU709)
        for name, plane in zip("gbr", scaled.planes, strict=True):
            rows = np.frombuffer(plane, "<u2")  # type: ignore[call-overload]  # a plane is a buffer
            planes[name] = self._upright(frame, rows.reshape(plane.height, -1)[:, : plane.width])
        pixels = for_screen(np.stack([planes[name] for name in "rgb"]), colours)
        data: bytes = simplejpeg.encode_jpeg(pixels, self._quality, "RGB", "420")
        return data

    def _scaled(self, frame: VideoFrame, form: str, matrix: Colorspace) -> VideoFrame:
        """The picture of one moment, small, in full range, not yet upright."""
        width, height = upright_size(frame.width, frame.height, 0, self._sample_aspect)
        scale = min(1.0, self._edge / max(width, height))
        moment = self._deinterlacer.one_moment(frame)
        is_field = moment.height < frame.height
        return self._scaler.reformat(
            moment,
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            format=form,
            src_colorspace=source_matrix(frame),
            dst_colorspace=matrix,
            src_color_range=source_range(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=(Interpolation.BICUBIC if is_field else Interpolation.AREA) | Interpolation.ACCURATE_RND,
            threads=1,
        )

    def _upright(self, frame: VideoFrame, plane: NDArray[Sample]) -> NDArray[Sample]:
        return np.rot90(np.flipud(plane) if is_mirrored(frame) else plane, -self._rotation // RIGHT_ANGLE)


def _with_margin(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plane, contiguous, with its last row repeated behind it: of odd sizes simplejpeg reads on past the end."""
    room = np.empty((plane.shape[0] + MARGIN_ROWS, plane.shape[1]), np.uint8)
    room[:-MARGIN_ROWS] = plane
    room[-MARGIN_ROWS:] = plane[-1]
    return room[:-MARGIN_ROWS]


def encode_jpeg(
    frame: VideoFrame, *, rotation: int, edge: int, quality: int, sample_aspect: Fraction = Fraction(1)
) -> bytes:
    """One picture as a JPEG; see JpegEncoder for many."""
    return JpegEncoder(rotation=rotation, edge=edge, quality=quality, sample_aspect=sample_aspect).encode(frame)


def write_jpeg(path: Path, data: bytes, *, is_folder_synced: bool = True) -> None:
    """Puts a JPEG on disk whole or not at all: it survives a power cut once this returns.

    Who writes many may leave the folder out and call `sync_folder` once for all of them.
    """
    part = path.with_name(path.name + PART_SUFFIX)
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if is_folder_synced:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a folder's entries durable, where the system can (Windows cannot open folders)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_whole_jpeg(path: Path) -> bool:
    """Whether the file is there and decodes from its first byte to its last; some 7 ms."""
    try:
        data = path.read_bytes()
        if not (data.startswith(START_OF_IMAGE) and data.endswith(END_OF_IMAGE)):
            return False
        simplejpeg.decode_jpeg(data, colorspace="GRAY", min_factor=SMALLEST_EIGHTH)
    except (OSError, ValueError):  # simplejpeg raises what libjpeg only warns of
        return False
    return True
