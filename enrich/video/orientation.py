"""Which way up a picture is, from its display matrix: turned, mirrored, and in which size people see it."""

from fractions import Fraction

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame

RIGHT_ANGLE = 90
FULL_TURN = 360


def upright_rotation(picture: VideoFrame) -> int:
    """Degrees clockwise that turn the decoded picture upright; a mirrored one is flipped upside down before."""
    return round(-picture.rotation / RIGHT_ANGLE) * RIGHT_ANGLE % FULL_TURN


def is_mirrored(picture: VideoFrame) -> bool:
    """Whether the picture shows left for right, as front cameras film."""
    try:
        # A container of our own: that of `picture.side_data` and the picture hold each other until the next collection.
        matrix = SideDataContainer(picture)["DISPLAYMATRIX"]  # type: ignore[call-arg]  # the stubs have no __init__
    except KeyError:
        return False
    except ValueError:  # PyAV 18 does not know a kind of side data beside it, such as that of spatial video
        return False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(np.float64)
    return bool(a * d - b * c < 0)


def upright_size(width: int, height: int, rotation: int, aspect: Fraction) -> tuple[int, int]:
    """The size people see: square pixels (the height stays, as players do), then turned upright."""
    width = max(1, round(width * aspect))
    return (height, width) if rotation % (2 * RIGHT_ANGLE) else (width, height)
