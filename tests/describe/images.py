"""Images, questions and calls for tests."""

import io
from typing import Any

import numpy as np
import simplejpeg

from enrich.describe.describer import Call, Image, Question, ReplyWarning
from tests.clips import numbered_image


def jpeg(pixels: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90, "RGB", "420")


def plain_jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> bytes:
    return jpeg(np.full((size[1], size[0], 3), colour, np.uint8))


def numbered_jpeg(number: int, size: tuple[int, int] = (320, 180)) -> bytes:
    return jpeg(numbered_image(number, size))


def question(number: int = 7, *, size: tuple[int, int] = (320, 180), **more: Any) -> Question:
    return Question((Image(numbered_jpeg(number, size), number / 25),), **more)


def call(raw_reply: str, *warnings: ReplyWarning) -> Call:
    """A call with this reply."""
    return Call("ollama", "llava:13b", "d1", "http://box:11434", "1", 0.5, raw_reply=raw_reply, warnings=warnings)


def progressive(baseline: bytes) -> bytes:
    """The same image as a progressive JPEG."""
    import cv2

    bgr = cv2.imdecode(np.frombuffer(baseline, np.uint8), cv2.IMREAD_COLOR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    return io.BytesIO(data.tobytes()).getvalue()
