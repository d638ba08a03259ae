"""Parses a quick pass reply: answers are found by label; missing and duplicate labels have none.

Tolerant: no reply makes it raise.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from enrich.describe.describer import Problem, ReplyWarning
from enrich.describe.json_parser import objects_in, parse_json
from enrich.describe.names import names_in, names_used
from enrich.describe.prompt import OTHER, match_event
from enrich.describe.quick.protocol import MAX_EXCITEMENT, MIN_EXCITEMENT, QuickAnswer, instructions
from enrich.describe.reply import normal_terms, plain_line
from enrich.describe.reply_checks import has_words, is_prompt_echo

MAX_DESCRIPTION_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class QuickReplyItem:
    """One image's answer, and its JSON in the reply."""

    answer: QuickAnswer
    raw: str


class _ReplyItem(BaseModel):
    """One image's answer in the reply's schema."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(description="the picture's label, as it stands before it")
    description: str = Field(description="one or two plain sentences that say what can be seen")
    tags: list[str] = Field(description="three to eight short search terms, lower case")


@cache
def reply_model(events: tuple[str, ...]) -> type[BaseModel]:
    """The Pydantic model of a reply, with these kinds of events. Its names and texts are sent to the model."""
    kind: Any = Literal[events]
    looked: Any = create_model(
        "Looked",
        __base__=_ReplyItem,
        event_type=(kind, Field(description="the kind of event that fits best")),
        excitement=(
            int,
            Field(
                ge=MIN_EXCITEMENT, le=MAX_EXCITEMENT, description="0: nothing happens; 10: everybody wants to see it"
            ),
        ),
    )
    return create_model("Look", pictures=(list[looked], Field(description="one for every label")))


def read_items(reply: str, labels: Sequence[str], events: Sequence[str]) -> dict[str, QuickReplyItem]:
    """The answers in a reply, by label. A truncated reply gives those that are complete.

    Unknown labels are ignored. A label that occurs twice has no answer.
    """
    found = [(str(value.get("label", "")).strip(), value) for value in _values(reply)]
    counts = Counter(label for label, _ in found)
    items: dict[str, QuickReplyItem] = {}
    for label, value in found:
        if label in labels and counts[label] == 1:
            answer = _answer(value, events)
            if answer is not None:
                items[label] = QuickReplyItem(answer, json.dumps(value, ensure_ascii=False))
    return items


def context_name_warnings(answer: QuickAnswer, *, context: str, language: str) -> tuple[ReplyWarning, ...]:
    """Warnings for names that an answer took from the context: no image shows them."""
    names = names_used(names_in(context, language), (answer.description, *answer.tags))
    return tuple(ReplyWarning(Problem.CONTEXT_NAME, name) for name in names)


def repeats_instructions(text: str, events: Sequence[str]) -> bool:
    """Whether a text is nearly all taken from the quick pass's instructions."""
    wording = instructions(context="", language="English", events=events)
    return is_prompt_echo(text, wording, wording)


def _answer(value: Mapping[str, Any], events: Sequence[str]) -> QuickAnswer | None:
    """The answer in one JSON object; None if its description is empty or repeats the prompt."""
    description = plain_line(value.get("description"))[:MAX_DESCRIPTION_CHARACTERS].strip()
    if not has_words(description) or repeats_instructions(description, events):
        return None
    return QuickAnswer(
        description=description,
        tags=normal_terms(value.get("tags")),
        event_type=match_event(str(value.get("event_type") or OTHER), events),
        excitement=_excitement(value.get("excitement")),
    )


def _excitement(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return MIN_EXCITEMENT
    return min(max(number, MIN_EXCITEMENT), MAX_EXCITEMENT) if math.isfinite(number) else MIN_EXCITEMENT


def _values(reply: str) -> list[Mapping[str, Any]]:
    """The JSON objects of the reply's list, as many as are complete."""
    try:
        value = parse_json(reply)
    except ValueError:
        return list(objects_in(reply[reply.find("[") + 1 :], attempts=1))
    items = value.get("pictures") if isinstance(value, dict) else value
    items = items if isinstance(items, list) else [value]
    return [item for item in items if isinstance(item, dict)]
