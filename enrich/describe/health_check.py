"""Health check: known image pairs that show whether a host's model sees images at all.

A broken model server keeps answering: with the same text for every image, or with none. A single reply does not show
that, but a pair of clearly different images does. The images are drawn by this module, so they are the same everywhere
and free of rights.
"""

import asyncio
import textwrap
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from enrich.describe.asking import OPEN_GATE, Gate
from enrich.describe.describer import Describer, Image, Question
from enrich.describe.image import encode

WIDTH, HEIGHT = 480, 360
MAX_QUOTE_CHARACTERS = 80
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PairReply:
    """A host's texts for the two images of a pair; "" for an empty reply."""

    first: str
    second: str

    @property
    def texts_differ(self) -> bool:
        """Whether the two texts differ in more than case and white space."""
        return normalized_text(self.first) != normalized_text(self.second)


@dataclass(frozen=True, slots=True)
class HealthCheckResult:
    """One host's replies for all pairs."""

    host: str
    pairs: tuple[PairReply, ...]

    @property
    def is_bad(self) -> bool:
        """Whether every pair got equal or empty texts, so that the host distinguished none."""
        return not any(pair.texts_differ for pair in self.pairs)

    @property
    def sentence(self) -> str:
        """The result for the user, with a fix if one is needed."""
        texts = [text for pair in self.pairs for text in (pair.first, pair.second)]
        if not self.is_bad:
            different = sum(pair.texts_differ for pair in self.pairs)
            return f"{self.host}: health check passed ({different} of {len(self.pairs)} image pairs distinguished)"
        fix = "restart Ollama there or choose another model"
        if not any(texts):
            return f"{self.host}: health check failed, because the model returns empty replies: {fix}"
        quote = textwrap.shorten(next(text for text in texts if text), MAX_QUOTE_CHARACTERS, placeholder=" …")
        which = "every image" if len({normalized_text(text) for text in texts}) == 1 else "clearly different images"
        return f"{self.host}: health check failed, because {which} got the same description (“{quote}”): {fix}"


async def check_health(describer: Describer, host: str, *, gate: Gate = OPEN_GATE) -> HealthCheckResult:
    """Ask about the six images like about frames, a pair at a time. `gate` is entered around each request.

    Raises what `describe` raises.
    """
    pairs = await asyncio.to_thread(image_pairs)
    return HealthCheckResult(host, tuple([await _describe_pair(describer, pair, host, gate) for pair in pairs]))


async def is_silent(describer: Describer, host: str) -> bool:
    """Whether a host returns empty replies for both images of the first pair. Raises what `describe` raises."""
    reply = await _describe_pair(describer, (await asyncio.to_thread(image_pairs))[0], host, OPEN_GATE)
    return not reply.first and not reply.second


async def _describe_pair(describer: Describer, pair: tuple[bytes, bytes], host: str, gate: Gate) -> PairReply:
    requests = [asyncio.create_task(_describe_image(describer, jpeg, host, gate)) for jpeg in pair]
    try:
        first, second = await asyncio.gather(*requests)
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
    return PairReply(first, second)


async def _describe_image(describer: Describer, jpeg: bytes, host: str, gate: Gate) -> str:
    question = Question((Image(jpeg, 0.0),))
    async with gate:
        call = await describer.describe(question, host=host)
    description, _ = describer.read(question, call)
    return description.text if description is not None else ""


def normalized_text(text: str) -> str:
    """The text in one case and with single spaces, for comparing."""
    return " ".join(text.casefold().split())


@cache
def image_pairs() -> tuple[tuple[bytes, bytes], ...]:
    """The pairs as JPEGs. The images of a pair differ in light, colour, shape and subject."""
    drawn = ((_noon(), _night()), (_face(), _page()), (_ball(), _chess_board()))
    return tuple((encode(first), encode(second)) for first, second in drawn)


def _noon() -> Pixels:
    """A blue sky with sun and a cloud above a green field."""
    pixels = _plain((120, 185, 245))
    cv2.circle(pixels, (390, 70), 40, (255, 225, 60), -1, cv2.LINE_AA)
    for x, y, size in ((110, 100, 34), (150, 85, 44), (200, 102, 36)):
        cv2.circle(pixels, (x, y), size, (250, 250, 250), -1, cv2.LINE_AA)
    cv2.rectangle(pixels, (0, 250), (WIDTH, HEIGHT), (80, 165, 60), -1)
    return pixels


def _night() -> Pixels:
    """A dark street between houses with lit windows, and a lamp."""
    pixels = _plain((8, 10, 28))
    for left, top in ((0, 110), (90, 60), (300, 80), (400, 130)):
        cv2.rectangle(pixels, (left, top), (left + 80, 270), (28, 26, 34), -1)
        for y in range(top + 15, 250, 40):
            cv2.rectangle(pixels, (left + 14, y), (left + 30, y + 18), (220, 180, 80), -1)
    cv2.fillPoly(pixels, [np.array([[180, 270], [290, 270], [WIDTH, HEIGHT], [0, HEIGHT]], np.int32)], (45, 45, 50))
    cv2.line(pixels, (240, 300), (240, 150), (70, 70, 75), 5, cv2.LINE_AA)
    cv2.circle(pixels, (240, 140), 14, (255, 235, 170), -1, cv2.LINE_AA)
    return pixels


def _face() -> Pixels:
    """A drawn face, smiling, with brown hair."""
    pixels = _plain((150, 120, 170))
    cv2.ellipse(pixels, (240, 165), (118, 140), 0, 180, 360, (90, 55, 30), -1, cv2.LINE_AA)
    cv2.ellipse(pixels, (240, 190), (100, 130), 0, 0, 360, (235, 190, 160), -1, cv2.LINE_AA)
    for x in (200, 280):
        cv2.ellipse(pixels, (x, 165), (20, 12), 0, 0, 360, (250, 250, 250), -1, cv2.LINE_AA)
        cv2.circle(pixels, (x, 165), 8, (50, 80, 120), -1, cv2.LINE_AA)
        cv2.line(pixels, (x - 22, 140), (x + 22, 140), (90, 55, 30), 5, cv2.LINE_AA)
    cv2.line(pixels, (240, 180), (232, 220), (190, 140, 115), 4, cv2.LINE_AA)
    cv2.ellipse(pixels, (240, 245), (45, 25), 0, 0, 180, (190, 50, 60), 6, cv2.LINE_AA)
    return pixels


def _page() -> Pixels:
    """A white page with printed lines."""
    pixels = _plain((252, 252, 248))
    lines = (
        "Dear neighbours,",
        "the garden party begins",
        "on Saturday at four.",
        "Please bring a chair",
        "and a cake.",
    )
    for number, line in enumerate(lines):
        place = (30, 70 + 55 * number)
        cv2.putText(pixels, line, place, cv2.FONT_HERSHEY_COMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    return pixels


def _ball() -> Pixels:
    """A red ball on a yellow background."""
    pixels = _plain((240, 205, 70))
    cv2.ellipse(pixels, (260, 290), (110, 22), 0, 0, 360, (190, 155, 45), -1, cv2.LINE_AA)
    cv2.circle(pixels, (240, 185), 105, (205, 30, 35), -1, cv2.LINE_AA)
    cv2.circle(pixels, (205, 145), 20, (245, 140, 140), -1, cv2.LINE_AA)
    return pixels


def _chess_board() -> Pixels:
    """A chess board from above, black and white."""
    rows, columns = np.indices((HEIGHT, WIDTH)) // (HEIGHT // 8)
    squares = np.where((rows + columns) % 2 == 0, 235, 25).astype(np.uint8)
    return np.repeat(squares[:, :, np.newaxis], 3, axis=2)


def _plain(colour: tuple[int, int, int]) -> Pixels:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
