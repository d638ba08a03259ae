"""What the stand-in can do wrong, when, and in which words."""

import json
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from tests.standin.request import Request


class Trick(StrEnum):
    """One way of misbehaving. The first group breaks the protocol, the second gives bad replies."""

    HANG = "hang"
    DIE = "die"  # the connection is closed without a word
    HALF = "half"  # half an answer, then the connection is closed
    BUSY = "busy"  # 503
    MISSING = "missing"  # 404
    ERROR = "error"  # 500
    BAD_GATEWAY = "bad gateway"  # 502, as a proxy gives it
    HTML = "html"  # a web page instead of JSON
    BROKEN_JSON = "broken json"
    UNDONE = "undone"  # a whole answer that says it is not done

    SPACES = "spaces"  # white space until the limit of tokens
    EMPTY = "empty"
    CUT_OFF = "cut off"
    NOT_JSON = "not json"
    REPEATS = "repeats"
    LEAKS = "leaks"
    SAME_TEXT = "same text"
    CONTEXT_NAME = "context name"
    THINKS = "thinks"  # all of it in `thinking`, no content


PROTOCOL = frozenset(list(Trick)[: list(Trick).index(Trick.SPACES)])
ONE_TEXT = "A man stands in a room and looks at the camera."

BUSY_WORDS = "server busy, please try again.  maximum pending requests exceeded"
REFUSALS = {
    Trick.BUSY: (HTTPStatus.SERVICE_UNAVAILABLE, BUSY_WORDS),
    Trick.MISSING: (HTTPStatus.NOT_FOUND, 'model "{model}" not found, try pulling it first'),
    Trick.ERROR: (HTTPStatus.INTERNAL_SERVER_ERROR, "llama runner process has terminated: exit status 2"),
}
# What is sent as it stands: status, payload, and the length that is claimed if it is not the true one.
ODD_ANSWERS: dict[Trick, tuple[HTTPStatus, bytes, int | None]] = {
    Trick.HALF: (HTTPStatus.OK, b'{"model": "llava:13b", "message": {"role": "assist', 400),
    Trick.BAD_GATEWAY: (HTTPStatus.BAD_GATEWAY, b"<html><h1>502 Bad Gateway</h1></html>", None),
    Trick.HTML: (HTTPStatus.OK, b"<!doctype html><title>Log in</title>", None),
    Trick.BROKEN_JSON: (HTTPStatus.OK, b'{"model": "llava:13b", "message": {"role": "assistant", "con', None),
    Trick.UNDONE: (HTTPStatus.OK, b'{"message": {"role": "assistant", "content": "A"}, "done": false}', None),
}


@dataclass
class Play:
    """One order to misbehave; the first order that fits a call is carried out."""

    trick: Trick
    times: int | None = None  # None: until told otherwise
    frames: frozenset[int] | None = None  # only for pictures with these numbers
    word: str = "Erna"  # what CONTEXT_NAME says, if the prompt says it
    stubborn: bool = False  # bad replies also to prompts for plain text
    everywhere: bool = False  # protocol tricks also to questions that need no model

    def fits(self, *, chat: bool, numbers: tuple[int | None, ...], prompt: str, structured: bool) -> bool:
        """Whether this order is meant for such a request."""
        if self.times == 0 or not (chat or (self.everywhere and self.trick in PROTOCOL)):
            return False
        if self.frames is not None and not self.frames.intersection(numbers):
            return False
        if self.trick is Trick.CONTEXT_NAME:
            return self.word in prompt
        return structured or self.stubborn or self.trick in PROTOCOL


def good_reply(request: Request) -> dict[str, Any]:
    """What a truthful model says of the request's pictures."""
    sights = request.sights
    tags = [tag for sight in sights for tag in sight.tags]
    return {
        "text": " ".join(sight.text for sight in sights) or "There is no picture.",
        "tags": list(dict.fromkeys(tags)),
        "objects": ["squares", "band"] if any(sight.number is not None for sight in sights) else [],
        "people": None, "activity": None, "mood": None, "setting": None, "visible_text": None,
    }  # fmt: skip


def bad_content(play: Play, good: dict[str, Any], prompt: str) -> tuple[str, str, str]:
    """The content of a bad reply, what was thought aloud, and why it ended."""
    whole = json.dumps(good, ensure_ascii=False)
    bad_texts = {
        Trick.REPEATS: "the man and the woman and " * 30,
        Trick.LEAKS: " ".join(prompt.split()[-40:]),
        Trick.SAME_TEXT: ONE_TEXT,
        Trick.CONTEXT_NAME: f"{play.word} is smiling. {good['text']}",
    }
    if play.trick in bad_texts:
        return json.dumps(good | {"text": bad_texts[play.trick]}, ensure_ascii=False), "", "stop"
    return {
        Trick.SPACES: ("{" + "\n \t" * 600, "", "length"),
        Trick.EMPTY: ("", "", "stop"),
        Trick.CUT_OFF: (whole[: len(whole) // 2], "", "length"),
        Trick.NOT_JSON: (f"Sure! In this picture one can see this: {good['text']}", "", "stop"),
        Trick.THINKS: ("", f"Let me think. {good['text']} But what do I see?", "stop"),
    }[play.trick]
