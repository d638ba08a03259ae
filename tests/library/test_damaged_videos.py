"""Damage: what counts as damaged, and its words."""

from types import SimpleNamespace
from typing import Any

import pytest

from db.models import ExtractionStatus
from enrich.library.completion import damage_of, damaged_videos


def video(readable: int, failures: int, **values: Any) -> Any:
    row = {"title": "torn", "extraction_status": ExtractionStatus.EXTRACTED, "duration": 139.4, "fps": 10.0}
    return SimpleNamespace(**row | {"frame_count": readable, "decode_failures": failures} | values)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (video(77, 1317), "damaged: 77 of 1,394 frames readable"),
        (video(77, 1), "damaged: 77 of 1,394 frames readable"),  # its end is missing: judged by its length
        (video(696, 698), "damaged: 696 of 1,394 frames readable"),
        (video(697, 697), "697 of 1,394 frames readable"),
        (video(1380, 14), "1,380 of 1,394 frames readable"),
        (video(1000, 3, duration=None), "1,000 of 1,003 frames readable"),
        (video(1000, 3, fps=None), "1,000 of 1,003 frames readable"),
        (video(0, 5, duration=None), "damaged: 0 of 5 frames readable"),
    ],
)
def test_damage_names_readable_and_expected_frames(row, text):
    assert str(damage_of(row)) == text
    assert damaged_videos([row]) == ([("torn", text)] if text.startswith("damaged") else [])


@pytest.mark.parametrize(
    "row",
    [
        video(1394, 0),
        video(300, 0),  # a header with a wrong frame rate is no damage
        video(77, 1317, extraction_status=ExtractionStatus.EXTRACTING),
        video(1394, 0, extraction_status=ExtractionStatus.FAILED),
    ],
)
def test_a_video_without_decoder_errors_is_not_damaged(row):
    assert damage_of(row) is None
