"""True colours: which matrix, range, curve and primaries a picture has, and how HDR becomes what a screen shows.

Formulas: HLG and PQ to light, ITU-R BT.2100-2, tables 4 and 5; reference white at 203 cd/m², ITU-R BT.2408-7, where
HLG's 75 % lies; screens' gamma of 2.4, ITU-R BT.1886; primaries, ITU-T H.273, table 2. The tone curve is FFmpeg's
"mobius" (libavfilter/vf_tonemap.c): a straight line up to a knee, then a hyperbola that ends at the peak.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

HD_WIDTH_PIXELS = 1280
HD_HEIGHT_PIXELS = 720
# ISO/IEC 23091-2 numbers of the matrices files name, as swscale calls them.
MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
            7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip
HDR_CURVES = (ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084)  # HLG, as phones film; PQ
REFERENCE_WHITE_NITS = 203
PEAK_NITS = 1000  # brighter light is clipped: what consumer cameras and screens go up to
KNEE = 0.15  # of reference white: within ΔE 5 of every usual rendering of FFmpeg's (docs/colours.md), which differ by 8
SCREEN_GAMMA = 2.4
HLG_GAMMA = 1.2  # at a peak of 1,000 cd/m²
CODES = 1 << 16
SHADES = 1 << 12  # steps of the square root of light; finer than 8 bits of any brightness
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
class Colours:
    """A curve and primaries that an ordinary screen does not have."""

    curve: ColorTrc | None  # None: an ordinary one
    primaries: ColorPrimaries


def source_matrix(frame: VideoFrame) -> Colorspace:
    """The matrix the file names; if it names none, players' choice: BT.2020 for HDR, BT.709 for HD, else BT.601."""
    named = MATRICES.get(int(frame.colorspace))
    if named is not None:
        return named
    if frame.color_trc in HDR_CURVES:
        return Colorspace.BT2020
    is_hd = frame.width >= HD_WIDTH_PIXELS or frame.height >= HD_HEIGHT_PIXELS
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601


def source_range(frame: VideoFrame) -> ColorRange:
    """Full range where the file or its pixel format says so, else limited."""
    full = frame.color_range == ColorRange.JPEG or frame.format.is_rgb
    return ColorRange.JPEG if full or frame.format.name.startswith(("yuvj", "gray", "pal")) else ColorRange.MPEG


def beyond_screen(frame: VideoFrame) -> Colours | None:
    """The picture's HDR curve or wide primaries; None for what a screen shows as it is."""
    curve = next((curve for curve in HDR_CURVES if curve == frame.color_trc), None)
    wide = next((primaries for primaries in WIDE_PRIMARIES if primaries == frame.color_primaries), None)
    if curve is not None:
        is_narrow = frame.color_primaries == ColorPrimaries.BT709
        return Colours(curve, ColorPrimaries.BT709 if is_narrow else wide or ColorPrimaries.BT2020)
    return Colours(None, wide) if wide is not None else None


def for_screen(planes: NDArray[np.uint16], colours: Colours) -> NDArray[np.uint8]:
    """Pictures of 3 × height × width (red, green, blue; full range) as height × width × 3 for an ordinary screen.

    Light is linear, 1 for reference white; highlights roll off by their strongest channel, so that hues stay; what no
    screen can show is clipped.
    """
    light: NDArray[np.float32] = _light_of_codes(colours.curve)[planes.reshape(3, -1)]
    if colours.curve == ColorTrc.ARIB_STD_B67:
        light *= np.power(_luminance_row(colours.primaries) @ light + np.float32(1e-9), np.float32(HLG_GAMMA - 1))
        light *= np.float32(PEAK_NITS / REFERENCE_WHITE_NITS)
    light = _to_screen(colours.primaries) @ light
    if colours.curve is not None:
        light *= _gain(light.max(axis=0))
    shades = np.sqrt(np.clip(light, 0, 1)) * np.float32(SHADES - 1)
    pixels: NDArray[np.uint8] = _code_of_shades()[(shades + np.float32(0.5)).astype(np.uint16)]
    return np.ascontiguousarray(pixels.T.reshape(*planes.shape[1:], 3))


def _gain(strongest: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the tone curve multiplies light by."""
    peak, knee = PEAK_NITS / REFERENCE_WHITE_NITS, KNEE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    scale = (b**2 + 2 * b * knee + knee**2) / (b - a)
    light = np.clip(strongest, np.float32(knee), np.float32(peak))
    gain = np.float32(scale) * (light + np.float32(a)) / (light + np.float32(b)) / light
    return gain.astype(np.float32, copy=False)


@cache
def _light_of_codes(curve: ColorTrc | None) -> NDArray[np.float32]:
    """The light of each 16-bit code: of PQ and SDR 1 for reference white, of HLG 1 for the scene's peak."""
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
def _code_of_shades() -> NDArray[np.uint8]:
    shades = np.linspace(0, 1, SHADES)
    return np.round(255 * shades ** (2 / SCREEN_GAMMA)).astype(np.uint8)


@cache
def _to_screen(primaries: ColorPrimaries) -> NDArray[np.float32]:
    """The matrix from light of these primaries to that of a screen's; white stays white."""
    source = WIDE_PRIMARIES.get(primaries, SCREEN_PRIMARIES)
    return (np.linalg.inv(_to_xyz(SCREEN_PRIMARIES)) @ _to_xyz(source)).astype(np.float32)


@cache
def _luminance_row(primaries: ColorPrimaries) -> NDArray[np.float32]:
    row: NDArray[np.float64] = _to_xyz(WIDE_PRIMARIES.get(primaries, SCREEN_PRIMARIES))[1]
    return row.astype(np.float32)


def _to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """From linear RGB to XYZ (SMPTE RP 177), the white taken for a screen's."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    strengths = np.linalg.solve(columns[:, :3], columns[:, 3])
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]]) / columns[:, 3]
    matrix: NDArray[np.float64] = white[:, None] * columns[:, :3] * strengths
    return matrix
