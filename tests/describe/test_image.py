import numpy as np
import pytest
import simplejpeg

from enrich.describe.image import EdgeLimits, fit, fitted_size, is_baseline, reduced_edge, warm_up_image
from enrich.errors import CallFailedError
from tests.clips import read_number
from tests.describe.images import jpeg, numbered_jpeg, plain_jpeg, progressive


def size_of(jpeg):
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    return width, height


def test_large_image_is_shrunk_to_the_edge():
    small = fit(numbered_jpeg(1234, (1024, 576)), 336)
    assert size_of(small) == (336, 189)
    assert read_number(simplejpeg.decode_jpeg(small)) == 1234


def test_long_edge_counts_in_upright_images():
    assert size_of(fit(numbered_jpeg(5, (450, 800)), 400)) == (225, 400)


def test_small_baseline_image_is_passed_through():
    image = numbered_jpeg(5, (320, 180))
    assert fit(image, 320) is image


def test_small_image_is_never_enlarged():
    assert size_of(fit(numbered_jpeg(5, (320, 180)), 1344)) == (320, 180)


def test_progressive_image_becomes_baseline():
    before = progressive(numbered_jpeg(99, (320, 180)))
    assert not is_baseline(before)
    after = fit(before, 672)
    assert is_baseline(after)
    assert size_of(after) == (320, 180)
    assert read_number(simplejpeg.decode_jpeg(after)) == 99


def test_gray_image_can_be_shrunk():
    gray = simplejpeg.encode_jpeg(np.full((400, 600, 1), 90, np.uint8), 90, "GRAY")
    assert size_of(fit(gray, 300)) == (300, 200)


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ((16, 16), (64, 64)),
        ((27, 40), (64, 95)),
        ((1, 1), (64, 64)),
        ((64, 100), (64, 100)),
        ((7680, 8), (672, 64)),
        ((1344, 1), (672, 64)),
        ((8, 7680), (64, 672)),
        ((2, 100), (64, 672)),
        ((5000, 30), (672, 64)),
        ((1920, 800), (672, 280)),
    ],
)
def test_small_and_thin_images_get_sides_that_models_take(size, sent):
    fitted = fit(plain_jpeg((200, 40, 40), size), 672)
    assert size_of(fitted) == fitted_size(*size, 672) == sent
    assert fit(fitted, 672) is fitted


def test_tiny_image_is_enlarged_without_bars():
    sprite = np.zeros((16, 16, 3), np.uint8)
    sprite[:, 8:] = (250, 250, 250)
    pixels = simplejpeg.decode_jpeg(fit(jpeg(sprite), 672))
    assert pixels[:, :24].max() < 60
    assert pixels[:, 40:].min() > 200


def test_strip_keeps_its_rows_between_bars():
    """A ticker is only shortened: its upper and lower half stay apart."""
    ticker = np.full((8, 7680, 3), 250, np.uint8)
    ticker[4:] = (20, 20, 250)
    pixels = simplejpeg.decode_jpeg(fit(jpeg(ticker), 672)).astype(int)
    assert pixels[:24].max() < 40
    assert pixels[40:].max() < 40
    assert pixels[28:31, :, 0].min() > 200
    assert pixels[33:36, :, 0].max() < 80


def test_long_edge_is_halved_until_images_are_too_small():
    images = [fit(numbered_jpeg(1, (1024, 576)), 672)]
    assert reduced_edge(images) == 336
    assert reduced_edge([*images, fit(images[0], 336)]) == 336
    assert reduced_edge([fit(images[0], 168)]) is None


def test_long_edge_is_reduced_for_one_host_and_never_enlarged():
    limits = EdgeLimits(672)
    limits.reduce("a", 168, CallFailedError("prompt too long"))
    limits.reduce("a", 336, CallFailedError("prompt too long"))  # of a request that was sent before
    assert (limits.of("a"), limits.of("b")) == (168, 672)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 nothing more", numbered_jpeg(3)[:60]])
def test_invalid_jpeg_is_reported(data):
    with pytest.raises(CallFailedError, match="cannot be decoded as JPEG"):
        fit(data, 336)


def test_warm_up_image_is_small_and_baseline():
    card = warm_up_image()
    assert is_baseline(card)
    assert max(size_of(card)) <= 336
    assert len(card) < 4000
