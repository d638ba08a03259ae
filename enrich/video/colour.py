"""Colour conversion: the matrix, range, transfer curve and primaries of a frame, and HDR to SDR tone mapping.

Sources of the formulas: HLG and PQ to linear light, ITU-R BT.2100-2, tables 4 and 5; reference white at 203 cd/m² (75 %
of the HLG signal), ITU-R BT.2408-7; display gamma 2.4, ITU-R BT.1886; primaries, ITU-T H.273, table 2. The tone curve
is FFmpeg's "mobius" (libavfilter/vf_tonemap.c): linear up to a knee, then a hyperbola that ends at the peak.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

HD_WIDTH_PIXELS = 1280
HD_HEIGHT_PIXELS = 720
# Matrix coefficients by their code in ISO/IEC 23091-2, with swscale's names.
MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
            7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip
FULL_RANGE_FORMATS = ("pal", "mono", "bayer", "xyz", "grayf")
GREY_FORMATS = ("gray", "ya8", "ya16")
# Limited range has black at 16 and white at 235 (ITU-R BT.601 and later).
LIMITED_TO_FULL = np.clip((np.arange(256) - 16.0) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
HDR_CURVES = (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)  # HLG (used by phones) and PQ
REFERENCE_WHITE_NITS = 203
PEAK_NITS = 1000  # the peak of consumer cameras and screens; brighter light is clipped
KNEE = 0.15  # share of reference white; within ΔE 5 of FFmpeg's usual renderings, which differ by 8 (docs/colours.md)
SCREEN_GAMMA = 2.4
HLG_GAMMA = 1.2  # system gamma at a peak of 1,000 cd/m²
CODES = 1 << 16
SHADES = 1 << 12  # steps of the square root of light; finer than 8 bits at any brightness
D65 = (0.3127, 0.3290)
DCI_WHITE = (0.314, 0.351)
SCREEN_PRIMARIES = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65)  # BT.709
WIDE_PRIMARIES = {
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    ColorPrimaries.SMPTE431: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), DCI_WHITE),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}

Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class SourceColours:
    """A transfer curve and primaries outside what an SDR screen shows."""

    curve: ColorTrc | None  # None: SDR
    primaries: ColorPrimaries


def source_matrix(frame: VideoFrame) -> Colorspace:
    """The matrix named in the file, or the default of video players: BT.2020 for HDR, BT.709 for HD, else BT.601."""
    named = MATRICES.get(int(frame.colorspace))
    if named is not None:
        return named
    if frame.color_trc in HDR_CURVES:
        return Colorspace.BT2020
    is_hd = frame.width >= HD_WIDTH_PIXELS or frame.height >= HD_HEIGHT_PIXELS
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601


def source_range(frame: VideoFrame) -> ColorRange:
    """Full range if the file or its pixel format says so, else limited range. Grey is full unless the file says not."""
    name = frame.format.name
    if frame.color_range == ColorRange.JPEG or frame.format.is_rgb or name.startswith(("yuvj", *FULL_RANGE_FORMATS)):
        return ColorRange.JPEG
    is_named = frame.color_range == ColorRange.MPEG
    return ColorRange.JPEG if name.startswith(GREY_FORMATS) and not is_named else ColorRange.MPEG


def is_limited_grey(frame: VideoFrame) -> bool:
    """Whether the frame is grey in limited range, which swscale takes for full range."""
    return frame.format.name.startswith(GREY_FORMATS) and source_range(frame) == ColorRange.MPEG


def wide_colours(frame: VideoFrame) -> SourceColours | None:
    """The frame's HDR curve or wide primaries; None if an SDR screen shows it without conversion."""
    curve = next((curve for curve in HDR_CURVES if curve == frame.color_trc), None)
    wide = next((primaries for primaries in WIDE_PRIMARIES if primaries == frame.color_primaries), None)
    if curve is not None:
        is_narrow = frame.color_primaries == ColorPrimaries.BT709
        return SourceColours(curve, ColorPrimaries.BT709 if is_narrow else wide or ColorPrimaries.BT2020)
    return SourceColours(None, wide) if wide is not None else None


def to_screen(planes: NDArray[np.uint16], colours: SourceColours) -> NDArray[np.uint8]:
    """Convert full-range planes (3 × height × width, RGB, 16 bits) to 8-bit BT.709 pixels (height × width × 3).

    Works in linear light, where 1 is reference white. Highlights roll off by their strongest channel, which preserves
    hue. Colours outside BT.709 are clipped.
    """
    light: NDArray[np.float32] = _codes_to_light(colours.curve)[planes.reshape(3, -1)]
    if colours.curve == ColorTrc.ARIB_STD_B67:
        light *= np.power(_luminance_row(colours.primaries) @ light + np.float32(1e-9), np.float32(HLG_GAMMA - 1))
        light *= np.float32(PEAK_NITS / REFERENCE_WHITE_NITS)
    light = _to_bt709(colours.primaries) @ light
    if colours.curve is not None:
        light *= _tone_gain(light.max(axis=0))
    shades = np.sqrt(np.clip(light, 0, 1)) * np.float32(SHADES - 1)
    pixels: NDArray[np.uint8] = _shades_to_codes()[(shades + np.float32(0.5)).astype(np.uint16)]
    return np.ascontiguousarray(pixels.T.reshape(*planes.shape[1:], 3))


def _tone_gain(strongest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The factor that the tone curve applies, from each pixel's strongest channel."""
    peak, knee = PEAK_NITS / REFERENCE_WHITE_NITS, KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b**2 + 2 * b * knee + knee**2) / (b - a)
    light = np.clip(strongest, np.float32(knee), np.float32(peak))
    gain = np.float32(scale) * (light + np.float32(a)) / (light + np.float32(b)) / light
    return gain.astype(np.float32, copy=False)


@cache
def _codes_to_light(curve: ColorTrc | None) -> NDArray[np.float32]:
    """Linear light of each 16-bit code: 1 is reference white for PQ and SDR, the scene's peak for HLG."""
    code = np.linspace(0, 1, CODES)
    if curve == ColorTrc.SMPTE2084:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / REFERENCE_WHITE_NITS).astype(np.float32)
    if curve == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)  # noqa: PLR2004
    return (code**SCREEN_GAMMA).astype(np.float32)


@cache
def _shades_to_codes() -> NDArray[np.uint8]:
    shades = np.linspace(0, 1, SHADES)
    return np.round(255 * shades ** (2 / SCREEN_GAMMA)).astype(np.uint8)


@cache
def _to_bt709(primaries: ColorPrimaries) -> NDArray[np.float32]:
    """The matrix from linear RGB with these primaries to linear BT.709; white maps to white."""
    source = WIDE_PRIMARIES.get(primaries, SCREEN_PRIMARIES)
    return (np.linalg.inv(_to_xyz(SCREEN_PRIMARIES)) @ _to_xyz(source)).astype(np.float32)


@cache
def _luminance_row(primaries: ColorPrimaries) -> NDArray[np.float32]:
    row: NDArray[np.float64] = _to_xyz(WIDE_PRIMARIES.get(primaries, SCREEN_PRIMARIES))[1]
    return row.astype(np.float32)


def _to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ (SMPTE RP 177), with the white point mapped to D65."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    strengths = np.linalg.solve(columns[:, :3], columns[:, 3])
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]]) / columns[:, 3]
    matrix: NDArray[np.float64] = white[:, None] * columns[:, :3] * strengths
    return matrix
