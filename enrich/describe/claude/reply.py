"""What became of the pictures of one request to Claude: answers by label, and each picture's share of the bill.

Shares are whole tokens and add up to what the reply says was used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enrich.describe.claude.prices import ModelPrice
from enrich.describe.describer import Call, Problem, ReplyWarning
from enrich.describe.quick.protocol import QUICK_PROMPT_VERSION, QuickResult
from enrich.describe.quick.reply import QuickReplyItem, names_taken, read_items

if TYPE_CHECKING:
    from anthropic.types import Message

REFUSED = "Claude declined to describe this picture"
CUT_SHORT = "Claude's answer was cut short before this picture"
NO_ANSWER = "Claude gave no answer for this picture, or more than one"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request was made with, so far as reading its reply needs it."""

    price: ModelPrice
    factor: float  # of the price: less in a batch
    host: str
    context: str
    language: str
    events: tuple[str, ...]


def answered(
    message: "Message", weights: Mapping[str, int], terms: RequestContext, *, seconds: float
) -> tuple[QuickResult, ...]:
    """An entry for each of the request's pictures, in their order.

    `weights` are what the pictures count as input, by label; `seconds` is how long the whole reply took.
    """
    refused = message.stop_reason == "refusal"
    cut_short = message.stop_reason in ("max_tokens", "model_context_window_exceeded")
    said = "".join(block.text for block in message.content if block.type == "text")
    items = {} if refused else read_items(said, tuple(weights), terms.events)
    problem = REFUSED if refused else CUT_SHORT if cut_short else NO_ANSWER
    calls = _shares(message, weights, items, terms, seconds=seconds, cut_short=cut_short)
    return tuple(
        QuickResult(
            label=label,
            answer=items[label].answer if label in items else None,
            problem=None if label in items else problem,
            calls=(call,),
            kept=0 if label in items else None,
        )
        for label, call in zip(weights, calls, strict=True)
    )


def split(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number in parts in proportion to the weights, which are positive; the parts add up to it."""
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in by_rest[: total - sum(parts)]:
        parts[place] += 1
    return parts


def _shares(
    message: "Message",
    weights: Mapping[str, int],
    items: dict[str, QuickReplyItem],
    terms: RequestContext,
    *,
    seconds: float,
    cut_short: bool,
) -> list[Call]:
    usage = message.usage
    raws = [items[label].raw if label in items else "" for label in weights]
    inputs = split(usage.input_tokens, list(weights.values()))
    outputs = split(usage.output_tokens, [max(1, len(raw)) for raw in raws])
    calls = []
    for label, raw, prompt, output in zip(weights, raws, inputs, outputs, strict=True):
        item = items.get(label)
        if item is not None:
            doubts = names_taken(item.answer, context=terms.context, language=terms.language)
        else:
            doubts = (ReplyWarning(Problem.CUT_OFF if cut_short else Problem.EMPTY, message.stop_reason or ""),)
        calls.append(
            Call(
                describer="claude",
                model=terms.price.name,
                model_digest=message.model,
                host=terms.host,
                prompt_version=QUICK_PROMPT_VERSION,
                latency_seconds=seconds / len(weights),
                prompt_tokens=prompt,
                output_tokens=output,
                cost_usd=terms.price.usd(prompt, output, factor=terms.factor, prompt_tokens=usage.input_tokens),
                raw_reply=raw,
                warnings=doubts,
            )
        )
    return calls
