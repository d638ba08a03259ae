"""Draws the sample clip of `everyframe demo`: five animated scenes with hard cuts, made in seconds on any machine."""

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

WIDTH_PIXELS = 640
HEIGHT_PIXELS = 360
FPS = 15
SCENE_FRAMES = 18  # 1.2 seconds; five scenes make 6 seconds
SUBPIXEL_BITS = 4  # cv2 draws at sixteenths of a pixel

Canvas: TypeAlias = np.ndarray
Colour: TypeAlias = tuple[int, int, int]  # red, green, blue
Scene: TypeAlias = Callable[[Canvas, float], None]  # draws the scene at a time from 0 (start) to 1 (end)


def draw_sample_clip(path: Path | str) -> Path:
    """Write the clip as MP4: 6 s, 640x360, H.264 (MPEG-4 if FFmpeg was built without an H.264 encoder)."""
    path = Path(path)
    try:
        _write(path, "libx264", {"preset": "veryfast", "crf": "23", "bf": "0"})
    except (av.FFmpegError, ValueError):
        _write(path, "mpeg4", {"qscale": "5"})
    return path


def sample_frames() -> Iterator[Canvas]:
    """The clip's frames, RGB."""
    for scene in (_ball, _house, _night, _caption, _car):
        for number in range(SCENE_FRAMES):
            canvas = np.empty((HEIGHT_PIXELS, WIDTH_PIXELS, 3), np.uint8)
            scene(canvas, number / (SCENE_FRAMES - 1))
            yield canvas


def _write(path: Path, codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=Fraction(FPS), options=options))
        stream.width, stream.height, stream.pix_fmt = WIDTH_PIXELS, HEIGHT_PIXELS, "yuv420p"
        for number, canvas in enumerate(sample_frames()):
            frame = av.VideoFrame.from_ndarray(canvas, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _gradient(canvas: Canvas, top: Colour, bottom: Colour, first: int = 0, last: int = HEIGHT_PIXELS) -> None:
    """Rows `first` to `last` fade from one colour to the other."""
    share = np.linspace(0, 1, last - first)[:, None, None]
    canvas[first:last] = np.array(top) * (1 - share) + np.array(bottom) * share


def _disc(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    scale = 1 << SUBPIXEL_BITS
    centre = (round(x * scale), round(y * scale))
    cv2.circle(canvas, centre, round(radius * scale), colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _box(canvas: Canvas, x: float, y: float, size: tuple[float, float], colour: Colour) -> None:
    width, height = size
    cv2.rectangle(canvas, (round(x), round(y)), (round(x + width), round(y + height)), colour, -1)


def _shape(canvas: Canvas, points: Sequence[tuple[float, float]], colour: Colour) -> None:
    cv2.fillPoly(canvas, [np.array(points).round().astype(np.int32)], colour, cv2.LINE_AA)


def _text(canvas: Canvas, text: str, y: int, size: float, colour: Colour) -> None:
    """A line of text, centred."""
    thickness = round(1.6 * size)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, size, thickness)
    origin = ((WIDTH_PIXELS - width) // 2, y)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_DUPLEX, size, colour, thickness, cv2.LINE_AA)


def _ball(canvas: Canvas, time: float) -> None:
    """A red ball bounces over a green meadow."""
    _gradient(canvas, (140, 200, 245), (225, 242, 252), 0, 230)
    _gradient(canvas, (96, 180, 72), (46, 122, 44), 230)
    for x, y in ((60, 270), (150, 330), (260, 290), (390, 335), (480, 275), (590, 320)):
        for angle in range(0, 360, 72):
            turn = math.radians(angle)
            _disc(canvas, x + 6 * math.cos(turn), y + 6 * math.sin(turn), 4, (255, 255, 255))
        _disc(canvas, x, y, 4, (250, 205, 60))
    along = 90 + 460 * time
    height = 150 * abs(math.cos(time * 2.5 * math.pi))
    shadow = max(0.35, 1 - height / 260)
    cv2.ellipse(
        canvas, (round(along), 300), (round(44 * shadow), round(9 * shadow)), 0, 0, 360, (36, 96, 36), -1, cv2.LINE_AA
    )
    _disc(canvas, along, 258 - height, 42, (204, 30, 36))
    _disc(canvas, along - 14, 244 - height, 12, (240, 120, 120))


def _house(canvas: Canvas, time: float) -> None:
    """A yellow house with a red roof under the sun; smoke rises."""
    _gradient(canvas, (92, 170, 240), (200, 230, 250), 0, 280)
    _gradient(canvas, (120, 190, 90), (80, 150, 60), 280)
    for ray in range(12):
        turn = math.radians(ray * 30 + 30 * time)
        tip = (540 + 78 * math.cos(turn), 76 + 78 * math.sin(turn))
        sides = [(540 + 48 * math.cos(turn + off), 76 + 48 * math.sin(turn + off)) for off in (-0.13, 0.13)]
        _shape(canvas, [*sides, tip], (255, 214, 70))
    _disc(canvas, 540, 76, 42, (255, 205, 40))
    _box(canvas, 350, 96, (26, 70), (150, 80, 60))
    for puff in range(4):
        rise = (puff / 4 + time) % 1
        shade = round(235 - 30 * rise)
        _disc(canvas, 363 + 34 * rise, 84 - 70 * rise, 8 + 12 * rise, (shade, shade, shade))
    _box(canvas, 210, 180, (200, 130), (245, 222, 150))
    _shape(canvas, [(190, 182), (310, 96), (430, 182)], (178, 52, 44))
    _box(canvas, 286, 236, (46, 74), (112, 70, 42))
    _disc(canvas, 323, 274, 3, (240, 200, 80))
    for x in (230, 352):
        _box(canvas, x, 204, (40, 40), (255, 255, 255))
        _box(canvas, x + 4, 208, (32, 32), (120, 190, 230))
        _box(canvas, x + 18, 204, (4, 40), (255, 255, 255))
        _box(canvas, x, 222, (40, 4), (255, 255, 255))
    _box(canvas, 96, 232, (20, 78), (110, 72, 44))
    for x, y, radius in ((106, 190, 48), (74, 216, 32), (138, 216, 32)):
        _disc(canvas, x, y, radius, (52, 128, 58))


def _night(canvas: Canvas, time: float) -> None:
    """A night sky with a moon and stars over mountains; a star falls."""
    _gradient(canvas, (6, 8, 34), (36, 44, 98))
    sky = np.random.default_rng(7)
    for x, y, size, phase in zip(*sky.random((4, 90)), strict=True):
        glow = round(150 + 105 * math.sin(6 * (phase + time)) ** 2)
        _disc(canvas, x * WIDTH_PIXELS, y * 240, 0.7 + 1.1 * size, (glow, glow, round(glow * 0.92)))
    _disc(canvas, 470, 92, 50, (246, 240, 212))
    _disc(canvas, 496, 78, 44, (16, 19, 52))
    head = (120 + 240 * time, 40 + 90 * time)
    for step in range(24):
        fade = 1 - step / 24
        colour = (round(30 + 225 * fade), round(34 + 216 * fade), round(80 + 140 * fade))
        _disc(canvas, head[0] - 3 * step, head[1] - 1.1 * step, 2.6 * fade, colour)
    far = [(0, 330), (120, 220), (230, 310), (350, 200), (470, 300), (560, 240), (640, 310), (640, 360), (0, 360)]
    _shape(canvas, far, (22, 26, 54))
    _shape(canvas, [(0, 352), (180, 290), (380, 345), (520, 300), (640, 340), (640, 360), (0, 360)], (10, 12, 28))
    _shape(canvas, [(330, 218), (350, 200), (371, 218), (358, 214), (349, 222), (341, 214)], (220, 226, 240))


def _caption(canvas: Canvas, time: float) -> None:
    """A card with words on it; a line grows below them."""
    _gradient(canvas, (250, 244, 228), (240, 226, 198))
    cv2.rectangle(canvas, (28, 28), (WIDTH_PIXELS - 29, HEIGHT_PIXELS - 29), (122, 38, 52), 3)
    cv2.rectangle(canvas, (38, 38), (WIDTH_PIXELS - 39, HEIGHT_PIXELS - 39), (122, 38, 52), 1)
    _text(canvas, "HAPPY BIRTHDAY", 150, 1.9, (122, 38, 52))
    _text(canvas, "Grandma is 80 today", 218, 1.1, (70, 60, 54))
    half = round(30 + 180 * time)
    _box(canvas, WIDTH_PIXELS / 2 - half, 254, (2 * half, 4), (206, 150, 60))
    for side in (-1, 1):
        _disc(canvas, WIDTH_PIXELS / 2 + side * (half + 12), 256, 7, (206, 150, 60))


def _car(canvas: Canvas, time: float) -> None:
    """A blue car drives through a town in the evening."""
    _gradient(canvas, (250, 150, 90), (255, 214, 150), 0, 240)
    town = np.random.default_rng(3)
    x = -10
    while x < WIDTH_PIXELS:
        width, height = int(town.integers(50, 90)), int(town.integers(70, 170))
        _box(canvas, x, 240 - height, (width, height), (96, 62, 88))
        for row in range(240 - height + 12, 226, 22):
            for column in range(x + 9, x + width - 12, 18):
                lit = town.integers(2)
                _box(canvas, column, row, (8, 10), (255, 226, 120) if lit else (70, 44, 70))
        x += width + 4
    _gradient(canvas, (84, 84, 92), (58, 58, 64), 240)
    for stripe in range(-1, 6):
        _box(canvas, stripe * 130 + 40, 318, (70, 7), (240, 236, 220))
    left = -40 + 480 * time
    _shape(canvas, [(left + x, y) for x, y in ((52, 232), (78, 192), (160, 192), (192, 232))], (30, 74, 178))
    _shape(canvas, [(left + x, y) for x, y in ((64, 230), (84, 199), (116, 199), (116, 230))], (190, 224, 244))
    _shape(canvas, [(left + x, y) for x, y in ((123, 230), (123, 199), (156, 199), (180, 230))], (190, 224, 244))
    _shape(canvas, [(left + x, y) for x, y in ((14, 276), (14, 242), (30, 230), (214, 232), (234, 248), (236, 276))],
           (38, 92, 210))  # fmt: skip
    _box(canvas, left + 118, 246, (18, 4), (190, 200, 220))
    _disc(canvas, left + 228, 254, 7, (255, 240, 170))
    _box(canvas, left + 12, 248, (7, 12), (220, 40, 40))
    for wheel in (62, 188):
        _disc(canvas, left + wheel, 278, 25, (24, 24, 28))
        _disc(canvas, left + wheel, 278, 13, (178, 182, 190))
        for spoke in range(5):
            turn = math.radians(72 * spoke) + time * 19
            end = (round(left + wheel + 12 * math.cos(turn)), round(278 + 12 * math.sin(turn)))
            cv2.line(canvas, (round(left + wheel), 278), end, (90, 94, 100), 2, cv2.LINE_AA)
