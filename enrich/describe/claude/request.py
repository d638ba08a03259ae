"""A request to Claude for a quick look: its parameters, what they count, and what they will cost."""

from base64 import b64encode
from collections.abc import Sequence
from math import ceil
from typing import Any

from enrich.describe.claude.prices import ModelPrice
from enrich.describe.claude_limits import fitted, tokens_of
from enrich.describe.quick.protocol import CostEstimate, Labelled
from enrich.describe.quick.reply import reply_model
from enrich.describe.quick_prompt import heading, instructions, question

# Measured on nothing of ours: guesses on the safe side, which `count_tokens` and the reply's usage replace.
CHARACTERS_A_TOKEN = 3  # of the newer models, in English
TOKENS_A_FOREIGN_CHARACTER = 2  # of whatever is not ASCII
OTHER_TOKENS = 80  # what the API puts around a request's words
OUTPUT_TOKENS = 150  # of one picture's answer
THOUGHT_TOKENS = 800  # of a request to a model that cannot but think, asked to be short
MOST_OUTPUT_TOKENS = 400  # of one picture's answer
MOST_THOUGHT_TOKENS = 2_000  # of a request; what is cut off by it is asked for again


def parameters(
    pictures: Sequence[Labelled], *, price: ModelPrice, context: str, language: str, events: tuple[str, ...]
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


def words_tokens(pictures: Sequence[Labelled], *, context: str, language: str, events: tuple[str, ...]) -> int:
    """A guess, on the safe side, at what a request's words count, the schema of the reply included."""
    words = [instructions(context=context, language=language, events=events), question(pictures)]
    words += [heading(picture) for picture in pictures]
    text = "".join(words) + str(reply_model(events).model_json_schema())
    foreign = sum(not character.isascii() for character in text)
    return ceil((len(text) - foreign) / CHARACTERS_A_TOKEN) + foreign * TOKENS_A_FOREIGN_CHARACTER + OTHER_TOKENS


def pictures_tokens(pictures: Sequence[Labelled]) -> int:
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
