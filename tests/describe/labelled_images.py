"""Labelled images for tests of the quick pass."""

from enrich.describe.quick.protocol import LabelledImage
from tests.describe.images import numbered_jpeg


def labelled(*numbers: int, size: tuple[int, int] = (320, 180)) -> list[LabelledImage]:
    """Numbered images; number 7 has the label F7."""
    return [LabelledImage(f"F{number}", numbered_jpeg(number, size), number / 25) for number in numbers]
