"""The stand-in's tricks (injected faults and bad replies), and its good replies."""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.standin.sight import Sight
from tests.standin_claude.request import MODELS, Refusal, Request

CHARACTERS_PER_TOKEN = 4
THOUGHT_TOKENS = 64


class Trick(StrEnum):
    """One kind of fault: the first group refuses, the second breaks the connection, the third gives bad replies."""

    NO_CREDIT = "no credit"  # 402
    LOW_BALANCE = "low balance"  # 400, another form of the same
    SPEND_LIMIT = "spend limit"  # 429 that waiting does not resolve
    FORBIDDEN = "forbidden"  # 403
    RATE_LIMIT = "rate limit"  # 429 with retry-after
    OVERLOADED = "overloaded"  # 529 with retry-after
    FAULT = "fault"  # 500

    HANG = "hang"
    DIE = "die"  # the connection is closed without a response, nothing was done
    DIE_PAID = "die paid"  # the same, but the work was done and charged

    REFUSAL = "refusal"
    CUT_OFF = "cut off"
    MISSING = "missing"  # the answer for one of `labels`, or the first, is left out
    DOUBLED = "doubled"
    UNKNOWN = "unknown"  # an answer has an unknown label
    SHUFFLED = "shuffled"  # all answers, in another order
    EMPTY = "empty"
    NOT_JSON = "not json"


REPLIES = frozenset(list(Trick)[list(Trick).index(Trick.REFUSAL) :])
BROKEN = frozenset((Trick.HANG, Trick.DIE, Trick.DIE_PAID))


@dataclass
class Play:
    """A trick and when to play it. The first one that fits a request is played."""

    trick: Trick
    times: int | None = None  # None: until `calm`
    labels: frozenset[str] | None = None  # only for requests with one of these labels
    fewest: int = 0  # only for requests with at least this many images
    retry_after: str | None = "1"
    path: str | None = None  # only at this path; None: messages, also in batches

    def fits(self, path: str, labels: tuple[str, ...]) -> bool:
        """Whether the trick applies to such a request."""
        if self.times == 0 or path != (self.path or "/v1/messages") or len(labels) < self.fewest:
            return False
        return self.labels is None or bool(self.labels.intersection(labels))


REFUSALS: dict[Trick, tuple[int, str, str]] = {
    Trick.NO_CREDIT: (402, "billing_error", "There is an issue with your billing or payment information."),
    Trick.LOW_BALANCE: (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    Trick.SPEND_LIMIT: (429, "rate_limit_error", "This organization has reached its limit."),
    Trick.FORBIDDEN: (403, "permission_error", "Your API key does not have permission to use this model."),
    Trick.RATE_LIMIT: (429, "rate_limit_error", "This request would exceed your rate limit."),
    Trick.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Trick.FAULT: (500, "api_error", "Internal server error"),
}


def refusal(play: Play) -> Refusal | None:
    """The trick's refusal; None if it does not refuse."""
    if play.trick not in REFUSALS:
        return None
    refused = Refusal(*REFUSALS[play.trick])
    if play.trick is Trick.SPEND_LIMIT:
        refused.code = "enforced_spend_limit_reached"
    elif play.trick in (Trick.RATE_LIMIT, Trick.OVERLOADED) and play.retry_after is not None:
        refused.headers["retry-after"] = play.retry_after
    return refused


def event_for(sight: Sight, events: list[str]) -> str:
    """The event for an image: by its number, or else by its brightness."""
    return events[(sight.number if sight.number is not None else int(sight.brightness)) % len(events)]


def excitement_for(sight: Sight) -> int:
    """The excitement for an image: by its number, or else by its brightness."""
    return (sight.number if sight.number is not None else int(sight.brightness)) % 11


def good_items(request: Request) -> list[dict[str, Any]]:
    """A truthful model's answers about the request's images, in order."""
    events = _events(request.body)
    return [
        {
            "label": label,
            "description": sight.text,
            "tags": sight.tags,
            "event_type": event_for(sight, events),
            "excitement": excitement_for(sight),
        }
        for label, sight in request.sights.items()
    ]


def message(request: Request, play: Play | None, number: int) -> dict[str, Any]:
    """The complete reply to a request."""
    items = good_items(request)
    trick = play.trick if play is not None and play.trick in REPLIES else None
    places = [place for place, item in enumerate(items) if play and play.labels and item["label"] in play.labels] or [0]
    items = _spoilt(items, trick, places)
    text, reason = json.dumps({"pictures": items}, ensure_ascii=False), "end_turn"
    if not request.body.get("output_config", {}).get("format"):
        text = " ".join(item["description"] for item in items)
    if trick is Trick.CUT_OFF:
        text, reason = text[: len(text) * 3 // 5], "max_tokens"
    elif trick is Trick.REFUSAL:
        text, reason = "", "refusal"
    elif trick is Trick.NOT_JSON:
        text = "I see several pictures."
    most = request.body["max_tokens"] * CHARACTERS_PER_TOKEN
    if len(text) > most:
        text, reason = text[:most], "max_tokens"
    model = MODELS[request.body["model"]]
    thinks = request.body.get("thinking", {}).get("type", "adaptive" if model.thinks else "disabled") == "adaptive"
    output = max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN)) + THOUGHT_TOKENS * thinks
    thought = [{"type": "thinking", "thinking": "", "signature": "c3RhbmQtaW4="}] if thinks else []
    return {
        "id": f"msg_standin{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": request.body["model"],
        "content": thought + ([{"type": "text", "text": text}] if text else []),
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None,
        "usage": {
            "input_tokens": request.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output,
            "service_tier": "standard",
        },
    }


def _spoilt(items: list[dict[str, Any]], trick: Trick | None, places: list[int]) -> list[dict[str, Any]]:
    """The items of a bad reply; the trick affects those at `places`."""
    if trick is Trick.MISSING:
        return [item for place, item in enumerate(items) if place not in places]
    if trick is Trick.DOUBLED:
        return items + [items[place] | {"description": "Something else."} for place in places]
    if trick is Trick.UNKNOWN:
        return [item | ({"label": "F999999"} if place in places else {}) for place, item in enumerate(items)]
    if trick is Trick.SHUFFLED:
        return items[1::2] + items[0::2]
    return [] if trick is Trick.EMPTY else items


def _events(body: dict[str, Any]) -> list[str]:
    """The kinds of events in the request's schema."""
    schema = (body.get("output_config") or {}).get("format", {}).get("schema", {})
    for part in schema.get("$defs", {}).values():
        found = part.get("properties", {}).get("event_type", {}).get("enum")
        if found:
            return list(found)
    return ["other"]
