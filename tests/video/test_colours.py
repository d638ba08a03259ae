"""Kept frames have the colours that FFmpeg's own filters give, in every colour space."""

import pytest

from bench.colour import LIMIT, OTHER_HDR, SPACES, differences

SDR_LIMIT = 1.0

HDR_SPACES = [space for space in SPACES if space.curve]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_colour_patches_match_ffmpeg_filters(space, tmp_path):
    found = differences(space, tmp_path)
    assert len(found) >= 32
    assert found.mean() <= (LIMIT if space.curve else SDR_LIMIT)


@pytest.mark.parametrize(
    "filters",
    [pytest.param(OTHER_HDR[name], id=name, marks=pytest.mark.slow if name == "scale" else ()) for name in OTHER_HDR],
)  # swscale takes seconds to work out its table
@pytest.mark.parametrize("space", HDR_SPACES, ids=lambda space: space.curve)
def test_hdr_is_close_to_the_usual_tone_mappings(space, filters, tmp_path):
    assert differences(space, tmp_path, filters).mean() <= LIMIT
