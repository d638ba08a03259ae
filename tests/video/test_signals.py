from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from enrich.video.signals import LumaShrinker, SignalMeter, difference_hash, small_size
from tests.clips import numbered_image

EIGHT_BITS = ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuvj420p"]
OTHERS = ["yuv420p10le", "yuv422p12le", "p010le", "yuv420p10be", "gray", "gray10le", "rgb24", "bgr0", "gbrp", "yuyv422"]


def ramp(size=(640, 360)):
    """Grey values from 16 to 240 from left to right, black below the middle."""
    width, height = size
    image = np.repeat(np.linspace(16, 240, width, dtype=np.uint8)[None, :], height, axis=0)
    image[height // 2 :] = 0
    return np.repeat(image[:, :, None], 3, axis=2)


def as_frame(rgb, pix_fmt="yuv420p"):
    full = pix_fmt.startswith(("yuvj", "gray", "rgb", "bgr", "gbr"))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    return frame.reformat(format=pix_fmt, dst_color_range="JPEG" if full else "MPEG", threads=1)


@pytest.mark.parametrize("pix_fmt", EIGHT_BITS + OTHERS)
@pytest.mark.parametrize("size", [(640, 360), (321, 181)])
def test_every_pixel_format_gives_the_same_luma_from_0_to_255(pix_fmt, size):
    luma = LumaShrinker().shrink(as_frame(ramp(size), pix_fmt))
    expected = cv2.resize(ramp(size)[:, :, 0], luma.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    rows = [*range(luma.shape[0] // 2 - 4), *range(luma.shape[0] // 2 + 4, luma.shape[0])]
    assert luma.dtype == np.uint8
    assert np.abs(luma[rows].astype(int) - expected[rows]).max() <= 4


@pytest.mark.parametrize(
    ("size", "small"),
    [((1920, 1080), (320, 180)), ((1080, 1920), (180, 320)), ((64, 48), (320, 240)), ((4000, 20), (320, 20))],
)
def test_the_reduced_luma_keeps_the_aspect_ratio(size, small):
    assert small_size(*size) == small
    assert LumaShrinker().shrink(as_frame(ramp(size))).shape == small[::-1]


def lumas(*images):
    shrinker = LumaShrinker()
    return [shrinker.shrink(as_frame(image)) for image in images]


def solid(level):
    return np.full((180, 320, 3), level, np.uint8)


def noise(seed, low=0, high=255):
    small = np.random.default_rng(seed).integers(low, high, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (320, 180), interpolation=cv2.INTER_CUBIC)


def test_brightness_motion_and_sharpness_match_their_definitions():
    meter = SignalMeter()
    black, white, same = (meter.measure(luma) for luma in lumas(solid(0), solid(255), solid(255)))
    assert (black.brightness, black.motion) == (pytest.approx(0, abs=1), 0)
    assert (white.brightness, white.motion) == (pytest.approx(255, abs=1), pytest.approx(255, abs=2))
    assert same.motion == 0
    sharp, blurred = lumas(text := numbered_image(0b1010_0101), cv2.GaussianBlur(text, (0, 0), 9))
    assert SignalMeter().measure(sharp).sharpness > 3 * SignalMeter().measure(blurred).sharpness


def test_difference_hash_distance_follows_image_similarity():
    one, brighter, other = lumas(noise(1, 60, 180), np.clip(noise(1, 60, 180) + 20, 0, 255).astype(np.uint8), noise(2))
    assert 0 <= difference_hash(one) < 1 << 64
    assert (difference_hash(one) ^ difference_hash(brighter)).bit_count() <= 4
    assert (difference_hash(one) ^ difference_hash(other)).bit_count() >= 16
    assert difference_hash(lumas(ramp()[:180])[0]) == (1 << 64) - 1


@pytest.mark.parametrize("shape", [(180, 320), (320, 180), (20, 320), (260, 320)])
def test_hash_and_sharpness_match_the_reference_formulas(shape):
    luma = cv2.resize(noise(3)[:, :, 0], shape[::-1], interpolation=cv2.INTER_CUBIC)
    cells = cv2.resize(luma, (9, 8), interpolation=cv2.INTER_AREA)
    assert difference_hash(luma) == int("".join("01"[int(bit)] for bit in (cells[:, 1:] > cells[:, :-1]).flat), 2)
    variance = cv2.Laplacian(luma, cv2.CV_64F).var()
    assert SignalMeter().measure(luma).sharpness == pytest.approx(variance, rel=1e-9)


def cuts(images):
    meter = SignalMeter()
    return [number for number, luma in enumerate(lumas(*images)) if meter.measure(luma).is_cut]


def test_a_hard_cut_is_detected_and_the_first_frame_is_none():
    assert cuts([noise(1)] * 10 + [noise(2)] * 10 + [noise(3)] * 10) == [10, 20]


def test_a_flash_a_fade_and_a_pan_are_no_cuts():
    flash = np.clip(noise(1).astype(int) + 90, 0, 255).astype(np.uint8)
    assert cuts([noise(1)] * 10 + [flash] + [noise(1)] * 10) == []
    fade = [(noise(1) * share).astype(np.uint8) for share in np.linspace(1, 0, 20)]
    assert cuts([noise(1)] * 10 + fade) == []
    wide = cv2.resize(noise(4), (1600, 900), interpolation=cv2.INTER_CUBIC)
    assert cuts([wide[200:380, step * 12 : step * 12 + 320] for step in range(60)]) == []


def test_constantly_changing_frames_are_one_scene():
    assert cuts([noise(seed) for seed in range(40)]) == []


def test_a_cut_within_a_shaking_scene_is_found():
    random = np.random.default_rng(5)

    def shaking(seed):
        wide = cv2.resize(noise(seed), (360, 220), interpolation=cv2.INTER_CUBIC)
        for _ in range(15):
            x, y = random.integers(0, 12, 2)
            yield wide[y : y + 180, x : x + 320]

    assert cuts([*shaking(1), *shaking(2)]) == [15]


def test_padding_rows_are_not_part_of_the_frame():
    frame = av.VideoFrame(322, 182, "yuv420p")
    frame.time_base = Fraction(1, 25)
    for number, plane in enumerate(frame.planes):
        data = np.zeros((plane.height, plane.line_size), np.uint8)
        data[:, : plane.width] = 235 if number == 0 else 128
        plane.update(data.tobytes())
    assert LumaShrinker().shrink(frame).min() == 255
