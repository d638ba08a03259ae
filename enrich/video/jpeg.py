"""Encodes decoded frames as JPEGs (upright, square pixels, correct colours) and writes them durably to disk.

Interlaced frames are deinterlaced only where combing is visible: the two fields then show different moments, and only
the top field is used. Still content, and progressive video merely flagged as interlaced, keeps every row.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import simplejpeg
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from enrich.private_files import write_durably
from enrich.video.colour import (
    LIMITED_TO_FULL,
    SourceColours,
    is_limited_grey,
    source_matrix,
    source_range,
    to_screen,
    wide_colours,
)
from enrich.video.container import RIGHT_ANGLE, upright_size
from enrich.video.video_file import ffmpeg_errors

COMB_LEVELS = 10  # of 255: how much a row must be brighter, or darker, than both its neighbours
BLOCK_PIXELS = 8
MIN_COMBED_SHARE = 0.2  # of the pixels of a block
EIGHT_BITS = 8
FULL_TURN = 360  # degrees
TICK = Fraction(1, 1000)  # the filters' time base, which is not used
START_OF_IMAGE = b"\xff\xd8\xff"
END_OF_IMAGE = b"\xff\xd9"
MARGIN_ROWS = 2
MIN_STRIP_PIXELS = 8  # of the short side of a stored image
SMALLEST_SCALE = 8  # decode at 1/8, libjpeg's smallest size: only success counts
Sample = TypeVar("Sample", np.uint8, np.uint16)


@dataclass(frozen=True, slots=True)
class JpegFormat:
    """How the frames of one video are stored."""

    edge: int  # pixels of the long side, at most; frames are never enlarged
    quality: int  # 1 to 100
    rotation: int = 0  # degrees clockwise that turn a decoded frame upright, if the frame itself does not say


class Deinterlacer:
    """Deinterlaces the frames of one video; reuses its filter graphs. Not thread-safe."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, int, int, bool], Graph] = {}

    @ffmpeg_errors("a frame")
    def deinterlace(self, frame: VideoFrame) -> VideoFrame:
        """The frame itself, or its top field (half the height) if its fields show different moments."""
        if not frame.interlaced_frame:
            return frame
        is_combed = _is_combed(frame)
        key = (frame.format.name, frame.width, frame.height, is_combed)
        if key not in self._graphs:
            self._graphs[key] = _graph(frame, is_combed=is_combed)
        self._graphs[key].vpush(frame)
        return self._graphs[key].vpull()


def _graph(frame: VideoFrame, *, is_combed: bool) -> Graph:
    """A filter for the top field, or one that clears the interlaced flag: else swscale scales each field separately."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
    field_filter = graph.add("field", "type=top") if is_combed else graph.add("setfield", "mode=prog")
    graph.link_nodes(source, field_filter, graph.add("buffersink")).configure()
    return graph


def _is_combed(frame: VideoFrame) -> bool:
    """Whether some block shows combing: every other row brighter, or darker, than both its neighbours."""
    luma = _luma(frame)
    if luma is None:
        return True
    rows = luma[: luma.shape[0] // 2 * 2]
    upper, lower, next_upper = rows[0:-2:2], rows[1:-2:2], rows[2::2]
    up, down = upper - lower, next_upper - lower
    combs = (np.minimum(up, down) > COMB_LEVELS) | (np.maximum(up, down) < -COMB_LEVELS)
    height, width = (length // BLOCK_PIXELS * BLOCK_PIXELS for length in combs.shape)
    if not height or not width:
        return bool(combs.mean() > MIN_COMBED_SHARE)
    blocks = combs[:height, :width].reshape(height // BLOCK_PIXELS, BLOCK_PIXELS, width // BLOCK_PIXELS, BLOCK_PIXELS)
    return bool(blocks.mean(axis=(1, 3)).max() >= MIN_COMBED_SHARE)


def _luma(frame: VideoFrame) -> NDArray[np.int16] | None:
    """The luma in 8 bits; None if the pixel format has no luma plane."""
    component = frame.format.components[0]
    if frame.format.is_rgb or not frame.format.is_planar or frame.format.is_big_endian:
        return None
    plane = frame.planes[0]
    kind = np.uint8 if component.bits <= EIGHT_BITS else np.uint16
    samples = np.frombuffer(plane, kind)  # type: ignore[call-overload]  # a plane is a buffer
    rows = samples.reshape(plane.height, -1)[:, : plane.width]
    shift = max(0, component.bits - EIGHT_BITS)
    luma: NDArray[np.int16] = (rows >> shift).astype(np.int16)
    return luma


def display_matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    """The nine numbers that turn the frame upright; None if it has none, or PyAV cannot read them."""
    try:
        # `frame.side_data` would create a reference cycle with the frame, which then lives until the next collection.
        matrix = SideDataContainer(frame)["DISPLAYMATRIX"]  # type: ignore[call-arg]  # the stubs have no __init__
    except KeyError:
        return None
    except ValueError:  # PyAV 18 fails on side data it does not know, such as that of spatial video
        return None
    return np.frombuffer(bytes(matrix), np.int32)


def upright_rotation(frame: VideoFrame, otherwise: int = 0) -> int:
    """Degrees clockwise, to the nearest quarter, that turn the decoded frame upright; first it is unmirrored.

    `otherwise` is returned if the frame does not say, since some streams say it only now and then.
    """
    counterclockwise = frame.rotation
    if abs(counterclockwise) > FULL_TURN:  # of a matrix of zeros
        return otherwise
    degrees = round(-counterclockwise / RIGHT_ANGLE) * RIGHT_ANGLE % FULL_TURN
    return degrees if degrees or display_matrix(frame) is not None else otherwise


def is_mirrored(frame: VideoFrame) -> bool:
    """Whether the display matrix mirrors the frame, as front cameras record it."""
    matrix = display_matrix(frame)
    if matrix is None:
        return False
    a, b, _, c, d, *_ = matrix.astype(np.float64)
    return bool(a * d - b * c < 0)


class JpegEncoder:
    """Encodes the frames of one video; reuses its scaler. Not thread-safe.

    `sample_aspect` is the width of a pixel divided by its height. `rotation` is the last
    frame's, None before the first.
    """

    def __init__(self, jpeg: JpegFormat, *, sample_aspect: Fraction = Fraction(1)) -> None:
        self._format = jpeg
        self._sample_aspect = sample_aspect
        self._scaler = VideoReformatter()
        self._deinterlacer = Deinterlacer()
        self.rotation: int | None = None

    @ffmpeg_errors("a frame")
    def encode(self, frame: VideoFrame) -> bytes:
        """A baseline JPEG, 4:2:0, at most `edge` pixels on the long side, in SDR colours."""
        colours = wide_colours(frame)
        if colours is not None:
            return self._encode_converted(frame, colours)
        planes = []
        orientation = self._orientation(frame)
        for plane in self._scaled(frame, "yuv420p", Colorspace.ITU601).planes:
            rows = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a plane is a buffer
            planes.append(_with_margin(orientation.upright(rows.reshape(plane.height, -1)[:, : plane.width])))
        if is_limited_grey(frame):
            planes[0][:] = LIMITED_TO_FULL[planes[0]]
        data: bytes = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=self._format.quality)
        return data

    def _encode_converted(self, frame: VideoFrame, colours: SourceColours) -> bytes:
        """Encode HDR and wide-gamut frames: scale first, then convert the colours in 16 bits."""
        planes = {}
        orientation = self._orientation(frame)
        scaled = self._scaled(frame, "gbrp16le", Colorspace.ITU709)
        for name, plane in zip("gbr", scaled.planes, strict=True):
            rows = np.frombuffer(plane, "<u2")  # type: ignore[call-overload]  # a plane is a buffer
            planes[name] = orientation.upright(rows.reshape(plane.height, -1)[:, : plane.width])
        pixels = to_screen(np.stack([planes[name] for name in "rgb"]), colours)
        data: bytes = simplejpeg.encode_jpeg(pixels, self._format.quality, "RGB", "420")
        return data

    def _scaled(self, frame: VideoFrame, form: str, matrix: Colorspace) -> VideoFrame:
        """The frame deinterlaced, scaled and in full range, but not yet upright."""
        width, height = upright_size(frame.width, frame.height, 0, self._sample_aspect)
        width, height = stored_size(width, height, self._format.edge)
        progressive = self._deinterlacer.deinterlace(frame)
        is_field = progressive.height < frame.height
        return self._scaler.reformat(
            progressive,
            width=width,
            height=height,
            format=form,
            src_colorspace=source_matrix(frame),
            dst_colorspace=matrix,
            src_color_range=source_range(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=(Interpolation.BICUBIC if is_field else Interpolation.AREA) | Interpolation.ACCURATE_RND,
            threads=1,
        )

    def _orientation(self, frame: VideoFrame) -> "_Orientation":
        self.rotation = upright_rotation(frame, self._format.rotation)
        return _Orientation(is_mirrored(frame), self.rotation)


@dataclass(frozen=True, slots=True)
class _Orientation:
    """How a decoded frame lies."""

    is_mirrored: bool
    rotation: int

    def upright(self, plane: NDArray[Sample]) -> NDArray[Sample]:
        return np.rot90(np.flipud(plane) if self.is_mirrored else plane, -self.rotation // RIGHT_ANGLE)


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size of the stored image of an upright frame: at most `edge` pixels on the long side, never enlarged.

    A strip is not thinned below MIN_STRIP_PIXELS, since its content would be lost: its shape gives way.
    """
    scale = min(1.0, edge / max(width, height, 1))
    short = max(1, min(width, height, MIN_STRIP_PIXELS))
    return max(short, round(width * scale)), max(short, round(height * scale))


def _with_margin(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A contiguous copy, with its last row repeated after the end: simplejpeg reads past the end of odd sizes."""
    padded = np.empty((plane.shape[0] + MARGIN_ROWS, plane.shape[1]), np.uint8)
    padded[:-MARGIN_ROWS] = plane
    padded[-MARGIN_ROWS:] = plane[-1]
    return padded[:-MARGIN_ROWS]


def encode_jpeg(frame: VideoFrame, jpeg: JpegFormat, *, sample_aspect: Fraction = Fraction(1)) -> bytes:
    """Encode one frame; use JpegEncoder for many."""
    return JpegEncoder(jpeg, sample_aspect=sample_aspect).encode(frame)


def write_jpeg(path: Path, data: bytes, *, is_folder_synced: bool = True) -> None:
    """Write a JPEG atomically and durably: it survives a power cut once this returns.

    With `is_folder_synced=False`, the caller syncs the folder with `private_files.sync_folder`, once for many files.
    """
    write_durably(path, data, is_folder_synced=is_folder_synced)


def is_whole_jpeg(path: Path) -> bool:
    """Whether the file exists and decodes completely; takes about 7 ms."""
    try:
        data = path.read_bytes()
        if not (data.startswith(START_OF_IMAGE) and data.endswith(END_OF_IMAGE)):
            return False
        simplejpeg.decode_jpeg(data, colorspace="GRAY", min_factor=SMALLEST_SCALE)
    except (OSError, ValueError):  # simplejpeg raises where libjpeg only warns
        return False
    return True
