"""Makes clips for tests, and decodes videos independently for comparison.

`numbered_clip` draws each frame's number into its image, large enough to be read from a JPEG of 336 pixels, so that a
test (or a stand-in for a vision model) can tell which frame an image shows. PyAV writes most clips; the ffmpeg program
of `imageio-ffmpeg`, another build than PyAV's, is the independent decoder.
"""

import os
import random
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import imageio_ffmpeg
import numpy as np
import pytest

NUMBER_ROWS = 2
NUMBER_COLUMNS = 8
NUMBER_BITS = NUMBER_ROWS * NUMBER_COLUMNS
NUMBER_SHARE = 0.7  # of the height; the rest is the coloured band
CLOCK_HZ = 90_000
FLV_VIDEO_TAG = 9
MPEG4_CLOCK_HZ = 50_000  # MPEG-4 part 2 counts in 16 bits

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 200),
    "yellow": (220, 200, 40),
    "purple": (140, 40, 160),
    "orange": (230, 130, 30),
}


def colour_name(number: int) -> str:
    """The name of the band's colour in the frame with this number; it changes every 10 frames."""
    return list(COLOURS)[number // 10 % len(COLOURS)]


def numbered_image(number: int, size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """An RGB image of size (width, height): 2 rows of 8 black or white cells, and a coloured band below."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    band = round(height * NUMBER_SHARE)
    for bit in range(NUMBER_BITS):
        row, column = divmod(bit, NUMBER_COLUMNS)
        if number >> (NUMBER_BITS - 1 - bit) & 1:
            top, bottom = (band * edge // NUMBER_ROWS for edge in (row, row + 1))
            left, right = (width * edge // NUMBER_COLUMNS for edge in (column, column + 1))
            image[top:bottom, left:right] = 255
    image[band:] = COLOURS[colour_name(number)]
    return image


def read_number(rgb: np.ndarray) -> int:
    """The number in an upright image of a numbered clip, of any size."""
    height, width = rgb.shape[:2]
    gray = rgb.astype(np.float32).mean(axis=2)
    band = height * NUMBER_SHARE
    number = 0
    for bit in range(NUMBER_BITS):
        row, column = divmod(bit, NUMBER_COLUMNS)
        y = band * (row + 0.5) / NUMBER_ROWS
        x = width * (column + 0.5) / NUMBER_COLUMNS
        half_y, half_x = band / NUMBER_ROWS / 4, width / NUMBER_COLUMNS / 4
        cell = gray[int(y - half_y) : int(y + half_y) + 1, int(x - half_x) : int(x + half_x) + 1]
        number = number << 1 | int(cell.mean() > 127)
    return number


def band_colour(rgb: np.ndarray) -> tuple[int, int, int]:
    """The mean colour of the middle of a numbered image's band."""
    height, width = rgb.shape[:2]
    band = rgb[round(height * 0.8) : round(height * 0.92), width // 4 : width * 3 // 4]
    red, green, blue = band.reshape(-1, 3).mean(axis=0)
    return round(red), round(green), round(blue)


def read_colour(rgb: np.ndarray) -> str:
    """The name of the colour in `COLOURS` nearest to the band's."""
    seen = np.array(band_colour(rgb), np.float32)
    return min(COLOURS, key=lambda name: float(np.abs(seen - np.array(COLOURS[name])).sum()))


def read_jpeg(jpeg: Path | str | bytes) -> np.ndarray:
    """A JPEG, or a file with one, as RGB."""
    data = jpeg if isinstance(jpeg, bytes) else Path(jpeg).read_bytes()
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, f"{jpeg!r} is not a JPEG"
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a clip is encoded."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rotation: int = 0  # degrees clockwise that turn the stored images upright
    sample_aspect: Fraction | None = None  # width of a pixel divided by its height
    gop: int = 12
    bframes: int = 0
    matrix: str | None = None  # bt709, smpte170m or bt2020nc
    is_matrix_named: bool = True  # in the header
    full_range: bool = False
    options: dict[str, str] | None = None  # of the codec
    tags: dict[str, str] | None = None

    @property
    def clock_hz(self) -> int:
        return MPEG4_CLOCK_HZ if self.codec == "mpeg4" else 25 if self.codec == "mpeg2video" else CLOCK_HZ

    @property
    def codec_options(self) -> dict[str, str]:
        named = {"g": str(self.gop), "bf": str(self.bframes)}
        if self.codec == "libx264":
            named |= {"preset": "veryfast", "crf": "18"}
        if self.matrix is not None and self.is_matrix_named:
            named["colorspace"] = self.matrix
        named["color_range"] = "pc" if self.full_range else "tv"
        return named | (self.options or {})


def image_clip(
    path: Path, images: Iterable[np.ndarray], *, fps: float = 25, times: Sequence[float] | None = None, **encoding: Any
) -> Path:
    """A clip of upright RGB images; `encoding` as in `Encoding`.

    `times` are seconds, one per image, and replace the constant rate.
    """
    how = Encoding(**encoding)
    clock = how.clock_hz
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"} if how.tags else {}) as container:
        container.metadata.update(how.tags or {})
        stream = None
        for number, upright in enumerate(images):
            stored = np.ascontiguousarray(np.rot90(upright, how.rotation // 90))
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream(how.codec, rate=rate, options=how.codec_options)
                stream.height, stream.width = stored.shape[:2]
                stream.pix_fmt = how.pix_fmt
                stream.codec_context.time_base = Fraction(1, clock)
                if how.sample_aspect is not None:
                    stream.codec_context.sample_aspect_ratio = how.sample_aspect
                if how.rotation:
                    stream.set_display_rotation(-how.rotation)
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(
                format=how.pix_fmt,
                dst_colorspace={"bt709": "ITU709", "smpte170m": "ITU601", "bt2020nc": "BT2020"}.get(how.matrix or ""),
                dst_color_range="JPEG" if how.full_range else "MPEG",
                threads=1,  # with threads, swscale sometimes corrupts rows of odd 10-bit frames
            )
            seconds = times[number] if times is not None else number / fps
            frame.pts = round(seconds * clock)
            frame.time_base = Fraction(1, clock)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
    return path


def numbered_clip(
    path: Path, *, frames: int = 30, size: tuple[int, int] = (320, 180), first: int = 0, **how: object
) -> Path:
    """A clip whose images show their numbers, from `first` on; other arguments as in `image_clip`."""
    return image_clip(path, (numbered_image(first + n, size) for n in range(frames)), **how)


def overwrite_packets(path: Path, *, after: int, every: int = 1) -> int:
    """Overwrite the video packets of a file after the first `after`, every n-th of them, with noise; returns how many.

    The container stays whole, as after a failed disk or a torn copy: what is lost are frames.
    """
    noise, data, count = random.Random(1), bytearray(path.read_bytes()), 0
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets[after::every]:
        assert position is not None
        data[position : position + size] = noise.randbytes(size)
        count += 1
    path.write_bytes(data)
    return count


def insert_box(data: bytes, path: Sequence[bytes], box: bytes) -> bytes:
    """An MP4 with a box added at the end of the one at `path`; its index must come after its frames."""
    changed, start, end = bytearray(data), 0, len(data)
    parents = []
    for name in path:
        while changed[start + 4 : start + 8] != name:
            start += int.from_bytes(changed[start : start + 4], "big")
            assert start < end, name
        parents.append(start)
        end = start + int.from_bytes(changed[start : start + 4], "big")
        start += 8 + {b"stsd": 8, b"avc1": 78}.get(name, 0)
    for at in parents:
        changed[at : at + 4] = (int.from_bytes(changed[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    return bytes(changed[:end] + box + changed[end:])


VIDEO_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")


def insert_element(data: bytes, path: Sequence[int], element: bytes) -> bytes:
    """A Matroska file with an element added at the end of the first one at `path`; its positions become wrong."""
    if not path:
        return data + element
    at = 0
    while at < len(data):
        start = at + 9 - data[at].bit_length()  # of the size
        content = start + 9 - data[start].bit_length()
        size = int.from_bytes(data[start:content], "big") & ((1 << 7 * (content - start)) - 1)
        if int.from_bytes(data[at:start], "big") == path[0]:
            inner = insert_element(data[content : content + size], path[1:], element)
            size_of_inner = b"\x01" + len(inner).to_bytes(7, "big")
            return data[:start] + size_of_inner + inner + data[content + size :]
        at = content + size
    raise AssertionError(f"no element {path[0]:x}")


def set_flv_times(path: Path, seconds: Sequence[float]) -> Path:
    """Give the pictures of an FLV file these times, in the order of the file; no muxer writes times that go back."""
    data, position = bytearray(path.read_bytes()), 13  # the header, and the size of no tag
    times = iter(seconds)
    while position < len(data):
        if data[position] == FLV_VIDEO_TAG:
            time = round(next(times) * 1000).to_bytes(4, "big")
            data[position + 4 : position + 8] = time[1:] + time[:1]
        position += 11 + int.from_bytes(data[position + 1 : position + 4], "big") + 4
    path.write_bytes(data)
    return path


def run_ffmpeg(*arguments: str | Path) -> str:
    """Run the independent ffmpeg and return its log; fails if it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@dataclass(frozen=True)
class Truth:
    """The result of the independent decoder: the pts of every frame, in seconds from the first."""

    times: list[float]

    @property
    def frames(self) -> int:
        return len(self.times)


def decode_independently(path: Path) -> Truth:
    """Decode the first video stream that is not an attached image, with another build of FFmpeg."""
    log = run_ffmpeg(
        "-copyts", "-i", path, "-map", "0:V:0", "-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-"
    )  # fmt: skip
    base = re.search(r"config in time_base: (\d+)/(\d+)", log)
    assert base, log
    tick = Fraction(int(base[1]), int(base[2]))
    ticks = [int(pts) for pts in re.findall(r"\] n: *\d+ pts: *(-?\d+) ", log)]
    return Truth([float((pts - ticks[0]) * tick) for pts in ticks])


def shared_case(name: str) -> Path:
    """A small file out of people's bug reports, which is not part of the project; skips the test if it is missing."""
    videos = shared_videos()
    path = videos.parent / "cases" / name if videos is not None else None
    if path is None or not path.exists():
        pytest.skip("no shared cases beside the repository")
    return path


def shared_cases() -> Path | None:
    """The folder of small files made after bug reports, which is not part of the project; None if it is missing."""
    named = os.environ.get("EVERYFRAME_TEST_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder / "cases" if (folder / "cases").is_dir() else None


def shared_videos() -> Path | None:
    """The folder of real footage, which is not part of the project; None if it is missing."""
    named = os.environ.get("EVERYFRAME_TEST_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder / "videos" if (folder / "videos").is_dir() else None
