import numpy as np
import pytest

from enrich.describe.baseline import BaselineDescriber, dominant_colours
from enrich.describe.describer import Image, MotionHint, Pass, Question
from enrich.errors import CallFailedError
from tests.describe.images import jpeg, numbered_jpeg, plain_jpeg

RNG = np.random.default_rng(3)


async def described(image, motion_hint=None, **more):
    describer = BaselineDescriber()
    asked = Question((Image(image, 0, motion_hint),), **more)
    call = await describer.describe(asked, host="local")
    description, warnings = describer.read(asked, call)
    assert warnings == ()
    return description


def stripes(width):
    """Black and white stripes of this width in pixels."""
    row = np.repeat(np.arange(256 // width) % 2 * 255, width).astype(np.uint8)
    return jpeg(np.repeat(np.tile(row, (144, 1))[:, :, None], 3, axis=2))


async def test_baseline_text_names_itself():
    assert (await described(numbered_jpeg(3))).text.startswith("Baseline, no model:")


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((250, 250, 250), "white"),
        ((5, 5, 5), "black"),
        ((128, 128, 128), "grey"),
        ((200, 30, 30), "red"),
        ((30, 160, 60), "green"),
        ((40, 60, 200), "blue"),
        ((220, 200, 40), "yellow"),
        ((140, 40, 160), "purple"),
        ((230, 130, 30), "orange"),
        ((40, 200, 220), "cyan"),
        ((250, 170, 190), "pink"),
        ((100, 60, 30), "brown"),
        ((225, 205, 170), "beige"),
    ],
)
async def test_colours_have_plain_names(colour, name):
    description = await described(plain_jpeg(colour))
    assert f"mostly {name}." in description.text
    assert name in description.tags


def test_largest_colours_come_first_and_small_ones_are_dropped():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :55] = (40, 60, 200)
    image[:, 55:90] = (30, 160, 60)
    image[:, 90:] = (200, 30, 30)
    assert dominant_colours(image) == ("blue", "green")


@pytest.mark.parametrize(("level", "word"), [(10, "dark"), (60, "dim"), (120, "evenly lit"), (230, "bright")])
async def test_light_is_described(level, word):
    assert word in (await described(plain_jpeg((level, level, level)))).tags


async def test_warm_cold_and_black_and_white_are_described():
    assert "warm" in (await described(plain_jpeg((180, 120, 70)))).tags
    assert "cold" in (await described(plain_jpeg((70, 110, 180)))).tags
    tags = (await described(stripes(16))).tags
    assert "black and white" in tags
    assert not {"warm", "cold"} & set(tags)


async def test_sharp_blurred_and_plain_are_described():
    noise = RNG.integers(0, 255, (18, 32, 3), np.uint8)
    sharp = np.repeat(np.repeat(noise, 8, axis=0), 8, axis=1)
    ramp = np.clip(np.abs((np.arange(256) % 64) - 32) * 8, 0, 255).astype(np.uint8)
    soft = np.repeat(np.tile(ramp, (144, 1))[:, :, None], 3, axis=2)
    assert "sharp" in (await described(jpeg(sharp))).tags
    assert "blurred" in (await described(jpeg(soft))).tags
    assert "plain" in (await described(plain_jpeg((90, 90, 90)))).tags
    assert "sharp" not in (await described(plain_jpeg((90, 90, 90)))).tags


async def test_detailed_image_is_called_busy():
    assert "busy" in (await described(stripes(4))).tags
    assert "busy" not in (await described(stripes(64))).tags


@pytest.mark.parametrize(
    ("motion_hint", "words"),
    [
        (None, ""),
        (MotionHint(), ""),
        (MotionHint(motion=0.1), "hardly anything moves"),
        (MotionHint(motion=3.0), ""),
        (MotionHint(motion=20.0), "much moves"),
        (MotionHint(motion=60.0, starts_scene=True), "a new scene begins"),
    ],
)
async def test_motion_hint_is_described(motion_hint, words):
    description = await described(numbered_jpeg(3), motion_hint)
    assert description.activity == words
    assert words.lower() in description.text.lower()


async def test_image_size_does_not_matter():
    assert (await described(numbered_jpeg(9, (1920, 1080)))).tags == (
        await described(numbered_jpeg(9, (640, 360)))
    ).tags


async def test_language_and_context_are_ignored():
    asked = await described(numbered_jpeg(3), context="Erna", language="German")
    assert asked == await described(numbered_jpeg(3))


async def test_baseline_is_for_the_quick_pass_and_needs_nothing():
    describer = BaselineDescriber()
    assert describer.target_pass is Pass.QUICK
    assert describer.hosts == ("local",)
    assert "no model" in (await describer.prepare("local")).sentence
    await describer.close()


async def test_baseline_calls_are_recorded():
    describer = BaselineDescriber()
    call = await describer.describe(Question((Image(numbered_jpeg(1), 0),)), host="local")
    assert (call.describer, call.host, call.cost_usd) == ("baseline", "local", 0)
    assert 0 < call.latency_seconds < 1
    assert call.raw_reply


async def test_broken_image_fails_the_call_only():
    with pytest.raises(CallFailedError, match="cannot be decoded as JPEG"):
        await described(b"nothing")
