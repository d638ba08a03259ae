"""A request to Claude for a quick look: its parameters, what they count, and what they will cost.

What Claude takes in one request, and what a picture counts there: sizes, limits, tokens.

Source: https://platform.claude.com/docs/en/build-with-claude/vision and …/build-with-claude/batch-processing
"""

from base64 import b64encode
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import cv2
import numpy as np
import simplejpeg

from enrich.describe.claude.prices import ModelPrice
from enrich.describe.image import decoded, encoded, is_baseline
from enrich.describe.quick.protocol import CostEstimate, LabelledImage, heading, instructions, question
from enrich.describe.quick.reply import reply_model
from enrich.errors import CallFailedError

PATCH = 28  # pixels: a picture counts one token for each square of this edge that it touches
LONG_EDGE, SHORT_EDGE = 1280, 720  # pixels of a picture as it is sent: below all sizes that are scaled down on arrival
MOST_EDGE_OF_MANY = 2000  # pixels, once there are more than MANY pictures in a request
MANY = 20
MOST_REQUEST_BYTES = 32 * 1024 * 1024
MOST_BATCH_BYTES = 256 * 1024 * 1024
MOST_BATCH_REQUESTS = 100_000
IMAGES_PER_REQUEST = 10  # our choice: answers come sooner and a lost request loses less; the prompt is a small share
FEWEST_EDGE = 8  # pixels
# Measured on nothing of ours: guesses on the safe side, which `count_tokens` and the reply's usage replace.
CHARACTERS_A_TOKEN = 3  # of the newer models, in English
TOKENS_A_FOREIGN_CHARACTER = 2  # of whatever is not ASCII
OTHER_TOKENS = 80  # what the API puts around a request's words
OUTPUT_TOKENS = 150  # of one picture's answer
THOUGHT_TOKENS = 800  # of a request to a model that cannot but think, asked to be short
MOST_OUTPUT_TOKENS = 400  # of one picture's answer
MOST_THOUGHT_TOKENS = 2_000  # of a request; what is cut off by it is asked for again


def image_tokens(width: int, height: int) -> int:
    """What a picture of this size counts as input."""
    return ceil(width / PATCH) * ceil(height / PATCH)


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """The size a picture is sent at: within 1280×720 or 720×1280, never larger than it is."""
    factor = min(1.0, LONG_EDGE / max(width, height), SHORT_EDGE / min(width, height))
    return max(FEWEST_EDGE, round(width * factor)), max(FEWEST_EDGE, round(height * factor))


def fitted(jpeg: bytes) -> bytes:
    """The JPEG at the size it is sent, baseline; untouched where it already is so. Raises CallFailedError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        size = fitted_size(width, height)
        if size == (width, height) and is_baseline(jpeg):
            return jpeg
        pixels = decoded(jpeg, max(size))
        if (pixels.shape[1], pixels.shape[0]) != size:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        return encoded(pixels)
    except (ValueError, OSError, cv2.error) as error:
        raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error


def tokens_of(jpeg: bytes) -> int:
    """What the JPEG will count as input once it is fitted. Raises CallFailedError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except (ValueError, OSError) as error:
        raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error
    return image_tokens(*fitted_size(width, height))


def weights(pictures: Sequence[LabelledImage]) -> dict[str, int]:
    """What each picture counts as input, by label: by this a request's bill is shared. Raises CallFailedError."""
    return {picture.label: tokens_of(picture.jpeg) for picture in pictures}


def cut(pictures: Sequence[LabelledImage], *, most_pictures: int) -> list[tuple[LabelledImage, ...]]:
    """The pictures in their order, as evenly as may be, in parts of what one request takes."""
    most = min(IMAGES_PER_REQUEST, most_pictures)
    count = ceil(len(pictures) / most)
    ends = [round(place * len(pictures) / count) for place in range(count + 1)] if count else []
    return [tuple(pictures[start:end]) for start, end in pairwise(ends)]


def blank(jpeg: bytes) -> bytes:
    """A grey picture of the size at which the JPEG is sent: it counts the same, and shows nothing."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    width, height = fitted_size(width, height)
    return encoded(np.full((height, width, 3), 128, np.uint8))


def parameters(
    pictures: Sequence[LabelledImage], *, price: ModelPrice, context: str, language: str, events: tuple[str, ...]
) -> dict[str, Any]:
    """The parameters of one message, its pictures fitted. Raises CallFailedError for a picture that is no JPEG."""
    content: list[dict[str, Any]] = []
    for picture in pictures:
        data = b64encode(fitted(picture.jpeg)).decode()
        content.append({"type": "text", "text": heading(picture)})
        content.append({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}})
    content.append({"type": "text", "text": question(pictures)})
    output: dict[str, Any] = {"format": output_format(events)}
    given: dict[str, Any] = {
        "model": price.name,
        "max_tokens": most_output(len(pictures), price),
        "system": instructions(context=context, language=language, events=events),
        "messages": [{"role": "user", "content": content}],
        "output_config": output,
    }
    if price.thinking == "always":
        output["effort"] = "low"
    elif price.thinking != "none":
        given["thinking"] = {"type": price.thinking}
    return given


def output_format(events: tuple[str, ...]) -> dict[str, Any]:
    """The form of a reply as the API wants it: the Pydantic model's JSON schema, as strict as the API's own."""
    from anthropic import transform_schema

    return {"type": "json_schema", "schema": transform_schema(reply_model(events))}


def most_output(count: int, price: ModelPrice) -> int:
    """How many tokens a reply about so many pictures may have, thought included."""
    thought = MOST_THOUGHT_TOKENS if price.thinking == "always" else 0
    return max(1, count) * MOST_OUTPUT_TOKENS + thought


def words_tokens(pictures: Sequence[LabelledImage], *, context: str, language: str, events: tuple[str, ...]) -> int:
    """A guess, on the safe side, at what a request's words count, the schema of the reply included."""
    words = [instructions(context=context, language=language, events=events), question(pictures)]
    words += [heading(picture) for picture in pictures]
    text = "".join(words) + str(reply_model(events).model_json_schema())
    foreign = sum(not character.isascii() for character in text)
    return ceil((len(text) - foreign) / CHARACTERS_A_TOKEN) + foreign * TOKENS_A_FOREIGN_CHARACTER + OTHER_TOKENS


def images_tokens(pictures: Sequence[LabelledImage]) -> int:
    """What a request's pictures count: exactly, since they are sent at a known size. Raises CallFailedError."""
    return sum(tokens_of(picture.jpeg) for picture in pictures)


def estimated(
    inputs: Sequence[tuple[int, int]], *, price: ModelPrice, factor: float = 1.0, again: Sequence[int] = ()
) -> CostEstimate:
    """What requests will cost, from each one's number of pictures and input tokens.

    `again` are the input tokens of the requests for one picture alone that may follow: they count for the worst.
    """
    thought = THOUGHT_TOKENS if price.thinking == "always" else 0
    outputs = [count * OUTPUT_TOKENS + thought for count, _ in inputs]
    return CostEstimate(
        pictures=sum(count for count, _ in inputs),
        requests=len(inputs),
        input_tokens=sum(tokens for _, tokens in inputs),
        output_tokens=sum(outputs),
        usd=sum(price.usd(tokens, out, factor=factor) for (_, tokens), out in zip(inputs, outputs, strict=True)),
        most_usd=sum(
            price.usd(tokens, most_output(count, price), factor=factor)
            for count, tokens in (*inputs, *((1, tokens) for tokens in again))
        ),
    )
