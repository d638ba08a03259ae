"""Parses and checks requests as Ollama does, with Ollama's error messages.

Stricter than Ollama in one respect: unknown fields and options are errors, so that typing errors are noticed.
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tests.standin.sight import Sight, read_image

FIELDS = frozenset(("model", "messages", "stream", "format", "options", "keep_alive", "think", "tools"))
MESSAGE_FIELDS = frozenset(("role", "content", "images", "thinking", "tool_calls", "tool_name"))
INTEGER_OPTIONS = frozenset(
    (
        "num_ctx",
        "num_predict",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "num_keep",
        "seed",
        "top_k",
        "repeat_last_n",
    )
)
NUMBER_OPTIONS = frozenset(
    ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
)


@dataclass(frozen=True)
class Request:
    """One request, with its images replaced by what they show."""

    method: str
    path: str
    body: dict[str, Any] = field(repr=False)
    sights: tuple[Sight, ...] = ()
    prompt: str = ""
    at: float = 0.0  # monotonic seconds
    status: int = 0  # 0: not answered

    @property
    def numbers(self) -> tuple[int | None, ...]:
        return tuple(sight.number for sight in self.sights)

    @property
    def is_warm_up(self) -> bool:
        return bool(self.body.get("options", {}).get("num_predict") == 1)


class Refusal(Exception):  # noqa: N818  # what Ollama says no to
    """An HTTP error with Ollama's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_request(method: str, path: str, raw: bytes, at: float) -> Request:
    """Parse and check a request as Ollama does. Raises Refusal."""
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"invalid character in body: {error}") from error
    if path != "/api/chat":
        return Request(method, path, body, at=at)
    _check_fields(body, FIELDS)
    _check_options(body.get("options") or {})
    form = body.get("format")
    is_schema = isinstance(form, dict) and form.get("type") == "object" and form.get("properties")
    if form not in (None, "", "json") and not is_schema:
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "invalid JSON schema in format")
    if body.get("think") not in (None, False):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{body.get('model')} does not support thinking")
    if body.get("stream") is not False:
        raise Refusal(HTTPStatus.BAD_REQUEST, "this stand-in does not stream")
    messages = body.get("messages") or []
    sights = [sight for message in messages for sight in _sights(message)]
    prompt = "\n".join(str(message.get("content") or "") for message in messages)
    return Request(method, path, body, tuple(sights), prompt, at)


def _sights(message: dict[str, Any]) -> list[Sight]:
    """What a message's images show. The images are removed from it, so that the history stays small."""
    _check_fields(message, MESSAGE_FIELDS)
    try:
        return [read_image(image) for image in message.pop("images", None) or []]
    except ValueError as error:
        status = HTTPStatus.BAD_REQUEST if "base64" in str(error) else HTTPStatus.INTERNAL_SERVER_ERROR
        raise Refusal(status, f"Failed to create new sequence: unable to make embedding from image: {error}") from error


def _check_fields(values: dict[str, Any], known: frozenset[str]) -> None:
    if unknown := set(values) - known:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"unknown fields: {sorted(unknown)}")


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name in INTEGER_OPTIONS:
            if not isinstance(value, int) or isinstance(value, bool):
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f'option "{name}" must be of type integer')
        elif name in NUMBER_OPTIONS:
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f'option "{name}" must be of type float32')
        elif name not in ("stop", "use_mmap", "low_vram", "numa"):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"unknown option {name}")
