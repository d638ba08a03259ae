"""The stand-in's tricks: injected faults and bad replies."""

import json
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from tests.standin.request import Request


class Trick(StrEnum):
    """One kind of fault. The first group breaks the protocol, the second gives bad replies."""

    HANG = "hang"
    DIE = "die"  # the connection is closed without a response
    HALF = "half"  # half a response, then the connection is closed
    BUSY = "busy"  # 503
    MISSING = "missing"  # 404
    ERROR = "error"  # 500
    CRASH = "crash"  # the model runner ends: 500 for every call in flight
    REFUSE = "refuse"  # 500, for this image only
    TOO_LARGE = "too large"  # 413 for images with a long edge above `edge`
    BAD_GATEWAY = "bad gateway"  # 502, as from a proxy
    GATEWAY_TIMEOUT = "gateway timeout"  # 504, likewise
    HTML = "html"  # a web page instead of JSON
    BROKEN_JSON = "broken json"
    UNDONE = "undone"  # a complete response with `done: false`

    SPACES = "spaces"  # white space up to the token limit
    EMPTY = "empty"
    CUT_OFF = "cut off"
    NOT_JSON = "not json"
    REPEATS = "repeats"
    LEAKS = "leaks"
    SAME_TEXT = "same text"
    CONTEXT_NAME = "context name"
    THINKS = "thinks"  # all of it in `thinking`, no content
    THINKS_ANSWER = "thinks the answer"  # the good reply in `thinking`, no content
    SAYS = "says"  # `Play.content`


PROTOCOL = frozenset(list(Trick)[: list(Trick).index(Trick.SPACES)])
ONE_TEXT = "A man stands in a room and looks at the camera."

CRASH_WORDS = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
BUSY_WORDS = "server busy, please try again.  maximum pending requests exceeded"
REFUSALS = {
    Trick.BUSY: (HTTPStatus.SERVICE_UNAVAILABLE, BUSY_WORDS),
    Trick.MISSING: (HTTPStatus.NOT_FOUND, 'model "{model}" not found, try pulling it first'),
    Trick.ERROR: (HTTPStatus.INTERNAL_SERVER_ERROR, "llama runner process has terminated: exit status 2"),
    Trick.TOO_LARGE: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "<html><h1>413 Request Entity Too Large</h1></html>"),
    Trick.CRASH: (HTTPStatus.INTERNAL_SERVER_ERROR, CRASH_WORDS),
    Trick.REFUSE: (HTTPStatus.INTERNAL_SERVER_ERROR, "failed to process inputs: unable to make an embedding"),
}
# Raw responses: status, payload, and the declared length if it differs from the true one.
ODD_ANSWERS: dict[Trick, tuple[HTTPStatus, bytes, int | None]] = {
    Trick.HALF: (HTTPStatus.OK, b'{"model": "llava:13b", "message": {"role": "assist', 400),
    Trick.BAD_GATEWAY: (HTTPStatus.BAD_GATEWAY, b"<html><h1>502 Bad Gateway</h1></html>", None),
    Trick.GATEWAY_TIMEOUT: (HTTPStatus.GATEWAY_TIMEOUT, b"<html><h1>504 Gateway Time-out</h1></html>", None),
    Trick.HTML: (HTTPStatus.OK, b"<!doctype html><title>Log in</title>", None),
    Trick.BROKEN_JSON: (HTTPStatus.OK, b'{"model": "llava:13b", "message": {"role": "assistant", "con', None),
    Trick.UNDONE: (HTTPStatus.OK, b'{"message": {"role": "assistant", "content": "A"}, "done": false}', None),
}


@dataclass
class Play:
    """A trick and when to play it. The first one that fits a call is played."""

    trick: Trick
    times: int | None = None  # None: until `calm`
    frames: frozenset[int] | None = None  # only for images with these numbers
    content: str = ""  # of the reply, for SAYS
    word: str = "Erna"  # the name that CONTEXT_NAME repeats if the prompt contains it
    stubborn: bool = False  # bad replies also in plain style
    edge: int = 0  # pixels, of TOO_LARGE
    everywhere: bool = False  # protocol tricks also for requests that need no model

    def fits(self, request: Request, *, chat: bool, structured: bool) -> bool:
        """Whether the trick applies to such a request."""
        if self.trick is Trick.TOO_LARGE and all(max(one.width, one.height) <= self.edge for one in request.sights):
            return False
        if self.times == 0 or not (chat or (self.everywhere and self.trick in PROTOCOL)):
            return False
        if self.frames is not None and not self.frames.intersection(request.numbers):
            return False
        if self.trick is Trick.CONTEXT_NAME:
            return self.word in request.prompt
        return structured or self.stubborn or self.trick in PROTOCOL


def good_reply(request: Request) -> dict[str, Any]:
    """A truthful model's reply about the request's images."""
    sights = request.sights
    tags = [tag for sight in sights for tag in sight.tags]
    return {
        "text": " ".join(sight.text for sight in sights) or "There is no picture.",
        "tags": list(dict.fromkeys(tags)),
        "objects": ["squares", "band"] if any(sight.number is not None for sight in sights) else [],
        "people": None, "activity": None, "mood": None, "setting": None, "visible_text": None,
    }  # fmt: skip


def bad_content(play: Play, good: dict[str, Any], prompt: str) -> tuple[str, str, str]:
    """A bad reply: its content, its thinking, and its done reason."""
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
        Trick.THINKS_ANSWER: ("", f"Let me see {{what}} it shows.\n```json\n{whole}\n```", "stop"),
        Trick.SAYS: (play.content, "", "stop"),
        Trick.THINKS: ("", f"Let me think. {good['text']} But what do I see?", "stop"),
    }[play.trick]
