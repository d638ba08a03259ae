"""Reading a quick look's reply: each answer is found by its label, and what is missing or doubled is none.

Nothing a model writes raises here.
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
from enrich.describe.events import OTHER, event_of
from enrich.describe.names import names_in, names_used
from enrich.describe.quick.protocol import DULL, THRILLING, QuickAnswer
from enrich.describe.reply import normal_terms, plain_line

LONGEST_DESCRIPTION = 1_000  # characters


@dataclass(frozen=True, slots=True)
class QuickReplyItem:
    """One picture's answer as it stood in the reply."""

    answer: QuickAnswer
    raw: str


class _ReplyItem(BaseModel):
    """One picture's answer, as it is asked for."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(description="the picture's label, as it stands before it")
    description: str = Field(description="one or two plain sentences that say what can be seen")
    tags: list[str] = Field(description="three to eight short search terms, lower case")


@cache
def reply_model(events: tuple[str, ...]) -> type[BaseModel]:
    """The Pydantic model of a whole reply, with these kinds of events to choose from."""
    kind: Any = Literal[events]
    looked: Any = create_model(
        "Looked",
        __base__=_ReplyItem,
        event_type=(kind, Field(description="the kind of event that fits best")),
        excitement=(int, Field(ge=DULL, le=THRILLING, description="0: nothing happens; 10: everybody wants to see it")),
    )
    return create_model("Look", pictures=(list[looked], Field(description="one for every label")))


def read_items(said: str, labels: Sequence[str], events: Sequence[str]) -> dict[str, QuickReplyItem]:
    """The answers in a reply, by label; of a reply cut short, those that are whole.

    A label that was not asked for, or that stands there twice, has no answer.
    """
    found = [(str(value.get("label", "")).strip(), value) for value in _values(said)]
    counts = Counter(label for label, _ in found)
    items: dict[str, QuickReplyItem] = {}
    for label, value in found:
        if label in labels and counts[label] == 1:
            answer = _answer(value, events)
            if answer is not None:
                items[label] = QuickReplyItem(answer, json.dumps(value, ensure_ascii=False))
    return items


def names_taken(answer: QuickAnswer, *, context: str, language: str) -> tuple[ReplyWarning, ...]:
    """Doubts about the names an answer has from the context: no picture shows them."""
    names = names_used(names_in(context, language), (answer.description, *answer.tags))
    return tuple(ReplyWarning(Problem.CONTEXT_NAME, name) for name in names)


def _answer(value: Mapping[str, Any], events: Sequence[str]) -> QuickAnswer | None:
    """The answer in one JSON object; None if it says nothing."""
    description = plain_line(value.get("description"))[:LONGEST_DESCRIPTION].strip()
    if not description:
        return None
    return QuickAnswer(
        description=description,
        tags=normal_terms(value.get("tags")),
        event_type=event_of(str(value.get("event_type") or OTHER), events),
        excitement=_excitement(value.get("excitement")),
    )


def _excitement(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return DULL
    return min(max(number, DULL), THRILLING) if math.isfinite(number) else DULL


def _values(said: str) -> list[Mapping[str, Any]]:
    """The objects of the reply's list, as many as are whole."""
    try:
        whole = json.loads(said, strict=False)
    except (ValueError, RecursionError):
        return _whole_ones(said)
    pictures = whole.get("pictures") if isinstance(whole, dict) else whole
    pictures = pictures if isinstance(pictures, list) else [whole]
    return [value for value in pictures if isinstance(value, dict)]


def _whole_ones(said: str) -> list[Mapping[str, Any]]:
    """The objects before the place where a reply was cut short."""
    decoder = json.JSONDecoder(strict=False)
    start = said.find("[")
    values: list[Mapping[str, Any]] = []
    place = said.find("{", start + 1)
    while place >= 0:
        try:
            value, place = decoder.raw_decode(said, place)
        except (ValueError, RecursionError):
            break
        if isinstance(value, dict):
            values.append(value)
        place = said.find("{", place)
    return values
