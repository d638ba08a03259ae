import numpy as np
import pytest
import simplejpeg

from enrich.describe.image import is_baseline, shrink, warm_up_image
from enrich.errors import CallFailedError
from tests.clips import read_number
from tests.describe.images import numbered_jpeg, plain_jpeg, progressive


def size_of(jpeg):
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    return width, height


def test_large_image_is_shrunk_to_the_edge():
    small = shrink(numbered_jpeg(1234, (1024, 576)), 336)
    assert size_of(small) == (336, 189)
    assert read_number(simplejpeg.decode_jpeg(small)) == 1234


def test_long_edge_counts_in_upright_images():
    assert size_of(shrink(numbered_jpeg(5, (450, 800)), 400)) == (225, 400)


def test_small_baseline_image_is_passed_through():
    image = numbered_jpeg(5, (320, 180))
    assert shrink(image, 320) is image


def test_small_image_is_never_enlarged():
    assert size_of(shrink(numbered_jpeg(5, (320, 180)), 1344)) == (320, 180)


def test_progressive_image_becomes_baseline():
    before = progressive(numbered_jpeg(99, (320, 180)))
    assert not is_baseline(before)
    after = shrink(before, 672)
    assert is_baseline(after)
    assert size_of(after) == (320, 180)
    assert read_number(simplejpeg.decode_jpeg(after)) == 99


def test_gray_image_can_be_shrunk():
    gray = simplejpeg.encode_jpeg(np.full((400, 600, 1), 90, np.uint8), 90, "GRAY")
    assert size_of(shrink(gray, 300)) == (300, 200)


def test_extremely_wide_image_keeps_one_row():
    assert size_of(shrink(plain_jpeg((9, 9, 9), (2000, 2)), 100)) == (100, 1)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 nothing more", numbered_jpeg(3)[:60]])
def test_invalid_jpeg_is_reported(data):
    with pytest.raises(CallFailedError, match="cannot be decoded as JPEG"):
        shrink(data, 336)


def test_warm_up_image_is_small_and_baseline():
    card = warm_up_image()
    assert is_baseline(card)
    assert max(size_of(card)) <= 336
    assert len(card) < 4000
