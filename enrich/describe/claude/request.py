"""A quick pass request to Claude: its parameters, its tokens and its cost.

Sizes, limits and tokens: https://platform.claude.com/docs/en/build-with-claude/vision and
https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import simplejpeg

from enrich.describe.claude.prices import ModelPrice
from enrich.describe.image import encode, fit, unreadable_image
from enrich.describe.image import fitted_size as size_within
from enrich.describe.quick.protocol import CostEstimate, LabelledImage, final_instruction, heading, instructions
from enrich.describe.quick.reply import reply_model
from enrich.errors import CallFailedError

PATCH_PIXELS = 28  # an image counts one token for each square of this edge that it touches
LONG_EDGE_PIXELS, SHORT_EDGE_PIXELS = 1280, 720  # of an image as sent; the API would scale down only larger ones
MAX_BATCH_BYTES = 256 * 1024 * 1024
IMAGES_PER_REQUEST = 10  # our choice: answers arrive sooner, a lost request loses less, the prompt is a small share
# Conservative guesses, used until `count_tokens` and the reply's usage give the true numbers.
CHARACTERS_PER_TOKEN = 3  # newer models, English text
TOKENS_PER_NON_ASCII_CHARACTER = 2
OVERHEAD_TOKENS = 80  # what the API adds to a request's text
MOST_OVERHEAD_TOKENS = 600  # the same for the upper bound: the API words the schema again
EXPECTED_OUTPUT_TOKENS = 150  # for one image
EXPECTED_THINKING_TOKENS = 800  # for a request to a model that always thinks, at low effort
MAX_OUTPUT_TOKENS_PER_IMAGE = 400
MAX_THINKING_TOKENS = 2_000  # for a request; images that are cut off by it are retried


def image_tokens(width: int, height: int) -> int:
    """The input tokens of an image of this size."""
    return ceil(width / PATCH_PIXELS) * ceil(height / PATCH_PIXELS)


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """The size at which an image is sent: within 1280×720 or 720×1280."""
    return size_within(width, height, LONG_EDGE_PIXELS, SHORT_EDGE_PIXELS)


def fit_image(jpeg: bytes) -> bytes:
    """Return a baseline JPEG of the size that is sent; the same bytes if it already is one. Raises CallFailedError."""
    return fit(jpeg, LONG_EDGE_PIXELS, SHORT_EDGE_PIXELS)


def jpeg_tokens(jpeg: bytes) -> int:
    """The input tokens of the JPEG once it is fitted. Raises CallFailedError."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except (ValueError, OSError) as error:
        raise CallFailedError(unreadable_image(error)) from error
    return image_tokens(*fitted_size(width, height))


def image_weights(images: Sequence[LabelledImage]) -> dict[str, int]:
    """Each image's input tokens by label, by which a request's cost is shared. Raises CallFailedError."""
    return {image.label: jpeg_tokens(image.jpeg) for image in images}


def split_into_requests(images: Sequence[LabelledImage], *, max_images: int) -> list[tuple[LabelledImage, ...]]:
    """Split the images, in their order, as evenly as possible into requests."""
    most = min(IMAGES_PER_REQUEST, max_images)
    count = ceil(len(images) / most)
    ends = [round(place * len(images) / count) for place in range(count + 1)] if count else []
    return [tuple(images[start:end]) for start, end in pairwise(ends)]


def blank_image(jpeg: bytes) -> bytes:
    """A grey image of the size at which the JPEG is sent. It counts the same tokens and shows nothing."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    width, height = fitted_size(width, height)
    return encode(np.full((height, width, 3), 128, np.uint8))


def message_parameters(
    images: Sequence[LabelledImage], *, price: ModelPrice, context: str, language: str, events: tuple[str, ...]
) -> dict[str, Any]:
    """The parameters of one message, with fitted images. Raises CallFailedError if an image is not a JPEG."""
    content: list[dict[str, Any]] = []
    for image in images:
        data = b64encode(fit_image(image.jpeg)).decode()
        content.append({"type": "text", "text": heading(image)})
        content.append({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}})
    content.append({"type": "text", "text": final_instruction(images)})
    output: dict[str, Any] = {"format": output_format(events)}
    parameters: dict[str, Any] = {
        "model": price.name,
        "max_tokens": max_output_tokens(len(images), price),
        "system": instructions(context=context, language=language, events=events),
        "messages": [{"role": "user", "content": content}],
        "output_config": output,
    }
    if price.thinking == "always":
        output["effort"] = "low"
    elif price.thinking != "none":
        parameters["thinking"] = {"type": price.thinking}
    return parameters


def output_format(events: tuple[str, ...]) -> dict[str, Any]:
    """The output format for the API: the Pydantic model's JSON schema, as strict as the API requires."""
    from anthropic import transform_schema

    return {"type": "json_schema", "schema": transform_schema(reply_model(events))}


def max_output_tokens(count: int, price: ModelPrice) -> int:
    """The token limit of a reply about this many images, thinking included."""
    thinking = MAX_THINKING_TOKENS if price.thinking == "always" else 0
    return max(1, count) * MAX_OUTPUT_TOKENS_PER_IMAGE + thinking


def text_tokens(images: Sequence[LabelledImage], *, context: str, language: str, events: tuple[str, ...]) -> int:
    """A conservative guess at the tokens of a request's text, including the schema of the reply."""
    parts = [instructions(context=context, language=language, events=events), final_instruction(images)]
    parts += [heading(image) for image in images]
    text = "".join(parts) + str(reply_model(events).model_json_schema())
    non_ascii = sum(not character.isascii() for character in text)
    ascii_tokens = ceil((len(text) - non_ascii) / CHARACTERS_PER_TOKEN)
    return ascii_tokens + non_ascii * TOKENS_PER_NON_ASCII_CHARACTER + OVERHEAD_TOKENS


def most_text_tokens(images: Sequence[LabelledImage], *, context: str, language: str, events: tuple[str, ...]) -> int:
    """An upper bound of the tokens of a request's text: no tokenizer makes more tokens than there are bytes."""
    parts = [instructions(context=context, language=language, events=events), final_instruction(images)]
    parts += [heading(image) for image in images]
    text = "".join(parts) + str(reply_model(events).model_json_schema())
    return len(text.encode()) + MOST_OVERHEAD_TOKENS


def total_image_tokens(images: Sequence[LabelledImage]) -> int:
    """The input tokens of a request's images, exact because they are sent at a known size. Raises CallFailedError."""
    return sum(jpeg_tokens(image.jpeg) for image in images)


@dataclass(frozen=True, slots=True)
class RequestSize:
    """What a request's cost follows from: images, expected input tokens, and the upper bound of the latter."""

    images: int
    input_tokens: int
    most_input_tokens: int

    def most_usd(self, price: ModelPrice, factor: float = 1.0) -> float:
        """The most that the request may cost: its reply is never longer than `max_tokens`."""
        tokens = max(self.input_tokens, self.most_input_tokens)
        return price.most_usd(tokens, max_output_tokens(self.images, price), factor=factor)


def estimate_cost(
    requests: Sequence[RequestSize], *, price: ModelPrice, factor: float = 1.0, retries: Sequence[RequestSize] = ()
) -> CostEstimate:
    """Estimate the cost of requests. `retries` are possible ones; they count towards the maximum only."""
    thinking = EXPECTED_THINKING_TOKENS if price.thinking == "always" else 0
    outputs = [request.images * EXPECTED_OUTPUT_TOKENS + thinking for request in requests]
    return CostEstimate(
        images=sum(request.images for request in requests),
        requests=len(requests),
        input_tokens=sum(request.input_tokens for request in requests),
        output_tokens=sum(outputs),
        usd=sum(
            price.usd(request.input_tokens, output, factor=factor)
            for request, output in zip(requests, outputs, strict=True)
        ),
        most_usd=sum(request.most_usd(price, factor) for request in (*requests, *retries)),
    )
