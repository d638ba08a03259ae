import numpy as np
import pytest

from enrich.describe.baseline import BaselineDescriber, dominant_colours
from enrich.describe.describer import Image, MotionHint, Pass, Question
from enrich.errors import CallFailedError
from tests.describe.images import jpeg, numbered_jpeg, plain_jpeg

RNG = np.random.default_rng(3)


async def described(image, movement=None, **more):
    describer = BaselineDescriber()
    asked = Question((Image(image, 0, movement),), **more)
    call = await describer.describe(asked, host="local")
    description, warnings = describer.read(asked, call)
    assert warnings == ()
    return description


def stripes(width):
    """Black and white stripes, each so many pixels wide."""
    row = np.repeat(np.arange(256 // width) % 2 * 255, width).astype(np.uint8)
    return jpeg(np.repeat(np.tile(row, (144, 1))[:, :, None], 3, axis=2))


async def test_it_names_itself_so_that_nobody_takes_it_for_a_model():
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


def test_the_largest_colours_come_first_and_small_ones_are_left_out():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :55] = (40, 60, 200)
    image[:, 55:90] = (30, 160, 60)
    image[:, 90:] = (200, 30, 30)
    assert dominant_colours(image) == ("blue", "green")


@pytest.mark.parametrize(("level", "word"), [(10, "dark"), (60, "dim"), (120, "evenly lit"), (230, "bright")])
async def test_light_is_told(level, word):
    assert word in (await described(plain_jpeg((level, level, level)))).tags


async def test_warm_cold_and_black_and_white_are_told():
    assert "warm" in (await described(plain_jpeg((180, 120, 70)))).tags
    assert "cold" in (await described(plain_jpeg((70, 110, 180)))).tags
    tags = (await described(stripes(16))).tags
    assert "black and white" in tags
    assert not {"warm", "cold"} & set(tags)


async def test_sharp_and_blurred_and_plain_are_told():
    noise = RNG.integers(0, 255, (18, 32, 3), np.uint8)
    sharp = np.repeat(np.repeat(noise, 8, axis=0), 8, axis=1)
    ramp = np.clip(np.abs((np.arange(256) % 64) - 32) * 8, 0, 255).astype(np.uint8)
    soft = np.repeat(np.tile(ramp, (144, 1))[:, :, None], 3, axis=2)
    assert "sharp" in (await described(jpeg(sharp))).tags
    assert "blurred" in (await described(jpeg(soft))).tags
    assert "plain" in (await described(plain_jpeg((90, 90, 90)))).tags
    assert "sharp" not in (await described(plain_jpeg((90, 90, 90)))).tags


async def test_a_full_picture_is_called_busy():
    assert "busy" in (await described(stripes(4))).tags
    assert "busy" not in (await described(stripes(64))).tags


@pytest.mark.parametrize(
    ("movement", "words"),
    [
        (None, ""),
        (MotionHint(), ""),
        (MotionHint(motion=0.1), "hardly anything moves"),
        (MotionHint(motion=3.0), ""),
        (MotionHint(motion=20.0), "much moves"),
        (MotionHint(motion=60.0, starts_scene=True), "a new scene begins"),
    ],
)
async def test_what_was_measured_around_the_picture_is_told(movement, words):
    description = await described(numbered_jpeg(3), movement)
    assert description.activity == words
    assert words.lower() in description.text.lower()


async def test_the_size_of_the_picture_does_not_matter():
    assert (await described(numbered_jpeg(9, (1920, 1080)))).tags == (
        await described(numbered_jpeg(9, (640, 360)))
    ).tags


async def test_it_writes_english_whatever_is_asked_for_and_knows_no_context():
    asked = await described(numbered_jpeg(3), context="Erna", language="German")
    assert asked == await described(numbered_jpeg(3))


async def test_it_fills_only_the_quick_columns_and_needs_nothing():
    describer = BaselineDescriber()
    assert describer.target_pass is Pass.QUICK
    assert describer.hosts == ("local",)
    assert "no model" in (await describer.prepare("local")).sentence
    await describer.close()


async def test_its_calls_are_booked_like_any_other():
    describer = BaselineDescriber()
    call = await describer.describe(Question((Image(numbered_jpeg(1), 0),)), host="local")
    assert (call.describer, call.host, call.cost_usd) == ("baseline", "local", 0)
    assert 0 < call.latency_seconds < 1
    assert call.raw_reply


async def test_a_broken_picture_is_an_error_of_this_call():
    with pytest.raises(CallFailedError, match="no JPEG"):
        await described(b"nothing")
