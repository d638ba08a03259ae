"""Likeness and `distinct`: they keep what a person would describe differently, and no more."""

import time

import cv2
import numpy as np
import pytest

from enrich.video.distinct import MOVEMENT_SECONDS, PACES
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel, largest_change
from enrich.video.sampling import parse_sampling
from enrich.video.signals import SignalMeter

FPS = 25
SHAPE = (180, 320)
NORMAL = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)


def textured(seed=1, shape=SHAPE, low=90, high=160):
    """An image with soft structure, like footage."""
    noise = np.random.default_rng(seed).normal(0, 1, (shape[0] // 12, shape[1] // 12)).astype(np.float32)
    soft = cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(soft, None, low, high, cv2.NORM_MINMAX).astype(np.uint8)


def with_box(luma, left, top, *, width=8, height=15, level=30):
    """An object of 8 % of the image height, brighter than its background by `level`."""
    image = luma.astype(np.int16)
    image[top : top + height, left : left + width] += level
    return np.clip(image, 0, 255).astype(np.uint8)


def kept_of(lumas, level="normal", fps=FPS, times=None):
    """The numbers of the frames that are kept."""
    chooser, meter = parse_sampling(f"distinct:{level}").chooser(), SignalMeter()
    times = times or [number / fps for number in range(len(lumas))]
    return [n for n, luma in enumerate(lumas) if chooser.keep(times[n], luma, meter.measure(luma)) or n == 0]


def noisy(luma, seed, deviation=3.0):
    noise = np.random.default_rng(seed).normal(0, deviation, luma.shape)
    return np.clip(luma + noise, 0, 255).astype(np.uint8)


def pan(frames, pixels_a_frame, seed=2, low=0, high=255):
    wide = textured(seed, (180, 320 + int(frames * pixels_a_frame) + 12), low, high)
    return [np.ascontiguousarray(wide[:, int(n * pixels_a_frame) :][:, :320]) for n in range(frames)]


def test_likeness_is_1_for_the_same_image_and_0_for_another_shape():
    still = textured()
    assert DEFAULT_LIKENESS.measure(still, still) == 1
    assert DEFAULT_LIKENESS.measure(still, still[:, :160]) == 0


def test_an_object_of_8_percent_height_is_new_at_any_position():
    still = textured()
    for left, top in ((0, 0), (13, 7), (101, 93), (155, 66), (312, 165)):
        changed = with_box(still, left, top, level=80)
        assert DEFAULT_LIKENESS.measure(still, changed) < NORMAL
        assert DEFAULT_LIKENESS.measure(changed, still) < NORMAL  # that it is gone is as new


def test_small_movement_is_alike_and_large_movement_is_not():
    """To a plain difference of windows, both are new."""
    still, stepped, walked = (np.ascontiguousarray(textured(4, (180, 360), 0, 255)[:, x : x + 320]) for x in (0, 3, 30))
    assert DEFAULT_LIKENESS.measure(still, stepped) > NORMAL > DEFAULT_LIKENESS.measure(still, walked)
    assert largest_change(still, stepped) > 255 * (1 - NORMAL)


def test_stricter_levels_have_higher_thresholds():
    strict, normal, loose = (DEFAULT_LIKENESS.threshold(level) for level in LikenessLevel)
    assert 1 > strict > normal > loose > 0
    assert [PACES[level].seconds for level in LikenessLevel] == sorted(PACES[level].seconds for level in LikenessLevel)


def test_noise_keeps_no_frame():
    assert kept_of([noisy(textured(), seed) for seed in range(100)]) == [0]


def test_a_faint_object_in_a_still_scene_is_kept_in_and_out():
    """Blocks of 20x20 saw nothing: it covers a third of one at most."""
    still = textured()
    frames = [with_box(still, 155, 66, level=40) if 30 <= n < 45 else still for n in range(80)]
    assert kept_of([noisy(frame, n, 1.0) for n, frame in enumerate(frames)]) == [0, 30, 45]
    frames = [with_box(still, 155, 66, level=30) if 30 <= n < 45 else still for n in range(140)]
    assert kept_of(frames) == [0, 30, 80]  # what is as faint as can be may stay for 2 s


def test_an_object_visible_for_200_ms_is_kept_in_moving_footage():
    frames = pan(100, 1.5, low=60, high=190)
    clean = kept_of(frames)
    for start in range(40, 60):
        shown = list(frames)
        for n in range(start, start + 5):
            shown[n] = with_box(frames[n], 60, 80, width=20, height=20, level=70)
        kept = kept_of(shown)
        assert any(start <= n < start + 5 for n in kept), start
        after = max(n for n in kept if n <= start + 5 + 9)
        assert after >= start + 5, "and is over in time"
        assert len(kept) <= len(clean) + 4


def test_moving_footage_is_kept_at_the_level_s_rate():
    frames = pan(150, 8.0)
    for level in LikenessLevel:
        gaps = np.diff(kept_of(frames, level)) / FPS
        assert np.median(gaps) == pytest.approx(PACES[level].seconds, abs=1 / FPS)


def test_slow_movement_keeps_a_frame_every_two_seconds():
    """Each step is within the tolerance for movement, but the steps add up."""
    small = [np.roll(textured(seed=4, low=0, high=255), 2 * (n % 2), axis=1) for n in range(300)]
    drift = pan(300, 0.12)
    for frames in (drift, small):
        for level in LikenessLevel:
            kept = [*kept_of(frames, level), len(frames)]
            assert max(np.diff(kept)) / FPS <= MOVEMENT_SECONDS + 2 / FPS


def test_a_slow_fade_adds_up_against_the_kept_frame():
    light = [cv2.convertScaleAbs(textured(), alpha=1 - n / 100) for n in range(75)]
    kept = kept_of([textured()] * 25 + light + [light[-1]] * 50)
    assert len(kept) > 2
    assert largest_change(light[-1], ([textured()] * 25 + light)[min(kept[-1], 99)]) <= 30


def test_cuts_are_exempt_from_every_pace():
    one, two, three = (textured(seed, low=0, high=255) for seed in (5, 6, 7))
    assert kept_of([one] * 30 + [two] * 7 + [three] * 7 + [one] * 20, "loose") == [0, 30, 37, 44]


def test_a_sudden_change_right_after_a_kept_frame_is_not_lost():
    still = textured()
    one, both = with_box(still, 40, 40, level=90), with_box(with_box(still, 40, 40, level=90), 250, 120, level=90)
    assert kept_of([still] * 30 + [one] + [both] * 40) == [0, 30, 33]  # 0.12 s later


def test_a_flash_shorter_than_the_minimum_interval_keeps_nothing():
    still = textured()
    one, flash = with_box(still, 40, 40, level=90), with_box(with_box(still, 40, 40, level=90), 250, 120, level=90)
    assert kept_of([still] * 30 + [one] + [flash] + [one] * 40) == [0, 30]


def test_jumping_or_standing_timestamps_lose_nothing():
    still, changed = textured(), with_box(textured(), 155, 66, level=90)
    frames = [still] * 40 + [changed] * 40
    again = [n / FPS + 3600 for n in range(30)] + [n / FPS for n in range(50)]
    assert kept_of(frames, times=again) == [0, 40]
    assert kept_of(frames, times=[0.0] * 80) == [0]


def test_a_stream_may_change_its_frame_size():
    wide, tall = textured(), textured(shape=(320, 180))
    assert kept_of([wide] * 20 + [tall] * 20 + [wide] * 20) == [0, 20, 40]


def test_a_frame_costs_less_than_a_millisecond():
    frames = [noisy(frame, n, 1.0) for n, frame in enumerate(pan(200, 4.0))]
    chooser, meter = parse_sampling("distinct:normal").chooser(), SignalMeter()
    signals = [meter.measure(frame) for frame in frames]
    start = time.thread_time()
    for number, frame in enumerate(frames):
        chooser.keep(number / FPS, frame, signals[number])
    assert (time.thread_time() - start) / len(frames) < 0.001


def test_likeness_falls_with_the_largest_change():
    plain, white = np.full(SHAPE, 100, np.uint8), np.full(SHAPE, 255, np.uint8)
    dot = with_box(plain, 40, 40, width=20, height=20, level=100)
    assert DEFAULT_LIKENESS.measure(plain, dot) == pytest.approx(1 - 100 / 255, abs=0.01)
    assert DEFAULT_LIKENESS.measure(plain, white) < DEFAULT_LIKENESS.measure(plain, dot)
