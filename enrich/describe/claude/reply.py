"""Reads a reply of Claude: an answer for each label, and each image's share of the tokens and the cost.

Shares are whole tokens and add up exactly to the usage that the reply reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enrich.describe.claude.prices import ModelPrice
from enrich.describe.describer import Call, Problem, ReplyWarning
from enrich.describe.json_parser import token_count
from enrich.describe.quick.protocol import QUICK_PROMPT_VERSION, QuickResult
from enrich.describe.quick.reply import QuickReplyItem, context_name_warnings, read_items
from enrich.describe.reply import MAX_REPLY_CHARACTERS
from enrich.wording import one_line

if TYPE_CHECKING:
    from anthropic.types import Message

DECLINED = "Claude declined to describe this frame"
CUT_SHORT = "Claude's reply was cut off before this frame"
NO_ANSWER = "Claude's reply has no answer for this frame, or more than one"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The properties of a request that are needed to read its reply."""

    price: ModelPrice
    factor: float  # applied to the price: less than 1 in a batch
    host: str
    context: str
    language: str
    events: tuple[str, ...]


def read_message(
    message: "Message", weights: Mapping[str, int], request: RequestContext, *, seconds: float
) -> tuple[QuickResult, ...]:
    """A result for each of the request's images, in their order.

    `weights` is each image's share of the input, by label; `seconds` is the latency of the whole reply. A message of
    another form than the API documents raises ValueError, TypeError or AttributeError.
    """
    declined = message.stop_reason == "refusal"
    cut_short = message.stop_reason in ("max_tokens", "model_context_window_exceeded")
    text = "".join(block.text for block in message.content if block.type == "text")[:MAX_REPLY_CHARACTERS]
    items = {} if declined else read_items(text, tuple(weights), request.events)
    problem = DECLINED if declined else CUT_SHORT if cut_short else NO_ANSWER
    calls = _shares(message, weights, items, request, seconds=seconds, cut_short=cut_short)
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


def read_tokens(value: Any) -> int:
    """A number of tokens in a response. Raises ValueError, because no cost can be told without it."""
    count = token_count(value)
    if count is None:
        raise ValueError("the response reports no credible number of tokens")
    return count


def split_proportionally(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to positive weights. The parts add up to it (largest remainder)."""
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return parts


def _shares(
    message: "Message",
    weights: Mapping[str, int],
    items: dict[str, QuickReplyItem],
    request: RequestContext,
    *,
    seconds: float,
    cut_short: bool,
) -> list[Call]:
    input_tokens, output_tokens = read_tokens(message.usage.input_tokens), read_tokens(message.usage.output_tokens)
    raws = [items[label].raw if label in items else "" for label in weights]
    inputs = split_proportionally(input_tokens, list(weights.values()))
    outputs = split_proportionally(output_tokens, [max(1, len(raw)) for raw in raws])
    calls = []
    for label, raw, prompt, output in zip(weights, raws, inputs, outputs, strict=True):
        item = items.get(label)
        if item is not None:
            warnings = context_name_warnings(item.answer, context=request.context, language=request.language)
        else:
            warnings = (ReplyWarning(Problem.CUT_OFF if cut_short else Problem.EMPTY, one_line(message.stop_reason)),)
        calls.append(
            Call(
                describer="claude",
                model=request.price.name,
                model_digest=one_line(message.model),
                host=request.host,
                prompt_version=QUICK_PROMPT_VERSION,
                latency_seconds=seconds / len(weights),
                prompt_tokens=prompt,
                output_tokens=output,
                cost_usd=request.price.usd(prompt, output, factor=request.factor, prompt_tokens=input_tokens),
                raw_reply=raw,
                warnings=warnings,
            )
        )
    return calls
