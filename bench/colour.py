"""Colour accuracy of kept frames: patches in many colour spaces, stored as JPEG, compared with FFmpeg's own filters.

    python -m bench.colour          prints the table of docs/colours.md

Clips are made with PyAV's encoders, lossless where the codec can. Measured is the path from the file to the decoded
JPEG. The reference comes from another build of FFmpeg (imageio-ffmpeg's), which has zscale.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from bench.ciede2000 import delta_e, lab, linear
from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg
from tests.clips import image_clip, read_jpeg

QUALITY = 85  # the settings' own
PATCH_PIXELS = 40
COLUMNS = 8
LIMIT = 5.0
WHITE_NITS, PEAK_NITS = 203, 1000
# The 24 colours of the ColorChecker in sRGB, and those of the tests.
COLOURS = np.array([
    (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170), (214, 126, 44),
    (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46), (56, 61, 150), (70, 148, 73),
    (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161), (243, 243, 242), (200, 200, 200), (160, 160, 160),
    (122, 122, 121), (85, 85, 85), (52, 52, 52), (200, 30, 30), (30, 160, 60), (40, 60, 200), (220, 200, 40),
    (255, 255, 255), (0, 0, 0), (230, 130, 30), (140, 40, 160),
])  # fmt: skip
HIGHLIGHTS = np.array([(2.0, 2.0, 2.0), (4.0, 4.0, 4.0), (3.0, 1.5, 0.5)])  # times reference white
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087

PLAIN = "zscale=min={matrix}:rin={range}:m=gbr:r=pc,format=gbrp"
TO_709 = "zscale=p=bt709:t=bt709:m=gbr:r=pc,format=gbrp"
TONE_MAPPED = (
    "zscale=t=linear:npl={white},format=gbrpf32le,zscale=p=bt709,tonemap={curve}:desat=0,"
    "zscale=t=bt709:r=pc,format=gbrp"
)
HDR = TONE_MAPPED.format(white=WHITE_NITS, curve="mobius")
OTHER_HDR = {
    "hable, 100 cd/m²": TONE_MAPPED.format(white=100, curve="hable"),
    "reinhard, 203 cd/m²": TONE_MAPPED.format(white=WHITE_NITS, curve="reinhard"),
    "scale": "scale=out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709:out_range=pc,format=gbrp",
}


@dataclass(frozen=True)
class Space:
    """A way to store colours: how the clip is made, and the filters that make the reference."""

    name: str
    reference: str
    suffix: str = "mkv"
    how: dict[str, Any] = field(default_factory=dict)
    curve: str | None = None
    patch: int = PATCH_PIXELS


def plain(name: str, matrix: str, *, full: bool = False, patch: int = PATCH_PIXELS, **how: Any) -> Space:
    """An SDR colour space with BT.709 primaries."""
    zscale = {"bt709": "709", "smpte170m": "170m", "bt2020nc": "2020_ncl"}[matrix]
    reference = PLAIN.format(matrix=zscale, range="pc" if full else "tv")
    how = {"codec": "libx264", "options": {"qp": "0"}} | how | {"matrix": matrix, "full_range": full}
    return Space(name, reference, "mp4", how, patch=patch)


def _hevc(**tags: str) -> dict[str, Any]:
    options = {"x265-params": "lossless=1:log-level=none"} | tags
    return {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": options}


def _bt2020(curve: str) -> dict[str, Any]:
    return {"matrix": "bt2020nc"} | _hevc(color_primaries="bt2020", color_trc=curve)


SPACES = [
    plain("BT.601, limited", "smpte170m"),
    plain("BT.601, full", "smpte170m", full=True),
    plain("BT.709, limited", "bt709"),
    plain("BT.709, full", "bt709", full=True),
    plain("BT.2020 matrix alone, limited", "bt2020nc"),
    plain("BT.2020 matrix alone, full", "bt2020nc", full=True),
    plain("untagged, 320×160", "smpte170m", is_matrix_named=False),
    plain("untagged, 1280×640", "bt709", is_matrix_named=False, patch=160),
    plain("BT.709, 4:2:2", "bt709", pix_fmt="yuv422p"),
    plain("BT.709, 4:4:4", "bt709", pix_fmt="yuv444p"),
    plain("BT.709, 10 bit HEVC", "bt709", **_hevc()),
    plain("BT.709, 10 bit HEVC, full", "bt709", full=True, **_hevc()),
    plain("Motion JPEG, yuvj420p", "smpte170m", full=True, codec="mjpeg", pix_fmt="yuvj420p", options={"q": "1"}),
    Space("RGB (FFV1)", "format=gbrp", how={"codec": "ffv1", "pix_fmt": "bgr0"}),
    Space(
        "grey (FFV1)", "scale=out_range=pc,format=gbrp", how={"codec": "ffv1", "pix_fmt": "gray", "full_range": True}
    ),
    Space(
        "BT.601 with EBU primaries",
        TO_709,
        how={"matrix": "smpte170m", "options": {"qp": "0", "color_primaries": "bt470bg", "color_trc": "bt709"}},
    ),
    Space("BT.2020 SDR, 10 bit HEVC", TO_709, "mp4", _bt2020("bt2020-10")),
    Space(
        "Display P3, HEVC", TO_709, "mp4", {"matrix": "bt709"} | _hevc(color_primaries="smpte432", color_trc="bt709")
    ),
    Space("HLG, BT.2020, 10 bit HEVC", HDR, "mp4", _bt2020("arib-std-b67"), curve="hlg"),
    Space("PQ, BT.2020, 10 bit HEVC", HDR, "mp4", _bt2020("smpte2084"), curve="pq"),
]


def patches(space: Space) -> np.ndarray:
    """The clip's frame: 8 patches per row; HDR has patches brighter than reference white at the end."""
    colours = COLOURS
    if space.curve is not None:
        light = np.concatenate([linear(COLOURS), HIGHLIGHTS])
        light = np.concatenate([light, np.zeros((-len(light) % COLUMNS, 3))]) @ TO_BT2020.T * WHITE_NITS
        colours = np.round(255 * {"pq": _pq, "hlg": _hlg}[space.curve](light)).astype(int)
    rows = colours.reshape(-1, COLUMNS, 3).astype(np.uint8)
    return np.repeat(np.repeat(rows, space.patch, axis=0), space.patch, axis=1)


def make_clip(space: Space, folder: Path) -> Path:
    """A clip of the space's patches."""
    path = folder / f"{len(list(folder.iterdir()))}.{space.suffix}"
    return image_clip(path, [patches(space)] * 2, **space.how)


def kept_colours(path: Path, space: Space) -> np.ndarray:
    """The mean colours of the patches in the stored JPEG, as sRGB."""
    with SourceFrames(path) as frames:
        frame = next(iter(frames)).av_frame
    jpeg = path.with_suffix(".jpg")
    jpeg.write_bytes(encode_jpeg(frame, JpegFormat(edge=max(frame.width, frame.height), quality=QUALITY)))
    return means(read_jpeg(jpeg), space.patch)


def reference_colours(path: Path, space: Space, filters: str) -> np.ndarray:
    """The mean colours of the patches according to FFmpeg's filters."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path), "-vf", filters]
    command += ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gbrp", "-"]
    planes = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    shape = patches(space).shape
    return means(planes.reshape(3, *shape[:2])[[2, 0, 1]].transpose(1, 2, 0), space.patch)


def means(frame: np.ndarray, patch: int) -> np.ndarray:
    """The mean colour of the middle of each patch."""
    height, width, _ = frame.shape
    cells = frame.reshape(height // patch, patch, width // patch, patch, 3).astype(np.float64)
    edge = patch // 4
    return cells[:, edge:-edge, :, edge:-edge].mean(axis=(1, 3)).reshape(-1, 3)


def differences(space: Space, folder: Path, filters: str | None = None) -> np.ndarray:
    """ΔE of each patch of the stored JPEG to the reference."""
    path = make_clip(space, folder)
    reference = reference_colours(path, space, filters or space.reference)
    return delta_e(lab(kept_colours(path, space)), lab(reference))


def main() -> None:
    """Measure and print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for row in table():
        print(row, flush=True)


def table() -> Iterator[str]:
    """Rows of the table, in Markdown."""
    yield "| colours | reference | mean ΔE | largest |"
    yield "|---|---|---:|---:|"
    with tempfile.TemporaryDirectory() as name:
        for space in SPACES:
            for filters in (space.reference, *(OTHER_HDR.values() if space.curve else ())):
                found = differences(space, Path(name), filters)
                yield f"| {space.name} | `{filters}` | {found.mean():.2f} | {found.max():.2f} |"


def _pq(nits: np.ndarray) -> np.ndarray:
    """BT.2100, table 4."""
    light = np.clip(nits / 10_000, 0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * light) / (1 + 2392 / 128 * light)) ** (2523 / 32)


def _hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100, table 5, for a screen of 1,000 cd/m²."""
    shown = np.clip(nits / PEAK_NITS, 1e-9, None)
    scene = shown * (shown @ np.array([0.2627, 0.6780, 0.0593]))[:, None] ** ((1 - 1.2) / 1.2)
    log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.clip(np.where(scene <= 1 / 12, np.sqrt(3 * scene), log), 0, 1)


if __name__ == "__main__":
    main()
