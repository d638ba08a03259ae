"""Parses and checks requests as Claude's API does, with its error messages."""

import base64
import binascii
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from tests.standin.sight import Sight, read_image

VERSION = "2026-10-21"
OLD_VERSION = "2023-06-01"
MOST_BYTES = 32 * 1024 * 1024
MAX_IMAGE_CHARACTERS = 10 * 1024 * 1024  # of base64 text
MOST_EDGE, MOST_EDGE_OF_MANY, MANY = 8000, 2000, 20
MEDIA = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WEBP"}
CHARACTERS_PER_TOKEN = 3.5
AROUND = 9  # tokens around every message

MESSAGE_FIELDS = frozenset(
    (
        "model", "max_tokens", "messages", "system", "output_config", "thinking", "metadata", "stop_sequences",
        "stream", "service_tier", "tools", "tool_choice", "cache_control", "container", "inference_geo", "speed",
    )
)  # fmt: skip
COUNT_FIELDS = frozenset(
    ("model", "messages", "system", "output_config", "thinking", "tools", "tool_choice", "cache_control", "speed")
)
SAMPLING = frozenset(("temperature", "top_p", "top_k"))
EFFORTS = ("low", "medium", "high", "xhigh", "max")
SCHEMA_KEYWORDS = frozenset(
    ("$defs", "$ref", "type", "title", "description", "properties", "additionalProperties", "required", "items",
     "enum", "const", "anyOf", "allOf", "format", "minItems", "default")
)  # fmt: skip
LABEL = re.compile(r"\bPicture (\S+?)[,:]")


@dataclass(frozen=True)
class Model:
    """What a model accepts."""

    thinking: tuple[str, ...]
    thinks: bool  # by default
    effort: bool = True
    context: int = 1_000_000
    most_output: int = 128_000
    edge: int = 2576
    image_tokens: int = 4784


MODELS = {
    "claude-haiku-5-5": Model(("adaptive", "disabled"), thinks=True),
    "claude-sonnet-5-5": Model(("adaptive", "between_tools"), thinks=True),
    "claude-opus-5-5": Model(("adaptive",), thinks=True),
    "claude-haiku-4-5": Model(
        ("enabled", "disabled"), thinks=False, effort=False, context=200_000, most_output=64_000, edge=1568,
        image_tokens=1568,
    ),
}  # fmt: skip


class Refusal(Exception):  # noqa: N818  # what the API says no to
    """An HTTP error with the API's message."""

    def __init__(self, status: int, kind: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.headers = status, kind, {k.replace("_", "-"): v for k, v in headers.items()}
        self.code: str | None = None


@dataclass(frozen=True)
class Request:
    """One request, with its images replaced by what they show, by label."""

    method: str
    path: str
    body: dict[str, Any] = field(repr=False, default_factory=dict)
    sights: dict[str, Sight] = field(default_factory=dict)
    text: str = field(repr=False, default="")
    input_tokens: int = 0
    at: float = 0.0  # monotonic seconds
    status: int = 0  # 0: not answered
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.sights)

    @property
    def numbers(self) -> tuple[int | None, ...]:
        return tuple(sight.number for sight in self.sights.values())


def invalid(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)


def check_headers(headers: Mapping[str, str], method: str, keys: frozenset[str]) -> None:
    """Check in the API's order. Raises Refusal."""
    bearer = headers.get("authorization", "")  # sent by the SDK from version 2 on
    key = headers.get("x-api-key") or (bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else "")
    if not key:
        raise Refusal(401, "authentication_error", "x-api-key header is required")
    if key not in keys:
        raise Refusal(401, "authentication_error", "invalid x-api-key")
    version = headers.get("anthropic-version")
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in (VERSION, OLD_VERSION):
        raise invalid(f'anthropic-version: "{version}" is not a valid version. See https://docs.claude.com/versioning')
    if method == "POST" and headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise invalid("content-type: must be application/json")


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Refusal."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise invalid("The request body must be an object")
    return body


def read_message(body: dict[str, Any], *, counting: bool = False, **about: Any) -> Request:
    """Check a request for a message or a token count. Raises Refusal."""
    _check_fields(body, COUNT_FIELDS if counting else MESSAGE_FIELDS)
    model = known_model(body.get("model"))
    if not counting:
        most = body.get("max_tokens")
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise invalid("max_tokens: Field required" if most is None else "max_tokens: must be greater than 0")
        if most > model.most_output:
            raise invalid(f"max_tokens: {most} > {model.most_output}, which is the maximum for {body['model']}")
        if body.get("stream"):
            raise invalid("this stand-in does not stream")
    _check_thinking(body, model)
    schema = _check_output(body.get("output_config") or {}, model)
    system = body.get("system", "")
    if not isinstance(system, str):
        raise invalid("this stand-in takes `system` as a string only")
    sights, words, tokens = _read_messages(body.get("messages"), model)
    text = "\n".join([system, *words])
    tokens += math.ceil((len(text) + len(json.dumps(schema))) / CHARACTERS_PER_TOKEN) + AROUND
    if tokens > model.context:
        raise invalid(f"prompt is too long: {tokens} tokens > {model.context} maximum")
    return Request(body=_without_images(body), sights=sights, text=text, input_tokens=tokens, **about)


def known_model(name: object) -> Model:
    """Raises Refusal."""
    if not isinstance(name, str):
        raise invalid("model: Field required")
    if name not in MODELS:
        raise Refusal(404, "not_found_error", f"model: {name}")
    return MODELS[name]


def billed_size(width: int, height: int, model: Model) -> tuple[int, int]:
    """The size to which the API scales an image: the largest of the same shape within its limits."""

    def fits(factor: float) -> bool:
        columns, rows = math.ceil(round(width * factor) / 28), math.ceil(round(height * factor) / 28)
        return columns * 28 <= model.edge and rows * 28 <= model.edge and columns * rows <= model.image_tokens

    if fits(1.0):
        return width, height
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return max(1, round(width * low)), max(1, round(height * low))


def _check_fields(body: dict[str, Any], known: frozenset[str]) -> None:
    for name in sorted(set(body) - known):
        if name in SAMPLING:
            raise invalid(f"{name}: this parameter is not supported in API version {VERSION}")
        raise invalid(f"{name}: Extra inputs are not permitted")


def _check_thinking(body: dict[str, Any], model: Model) -> None:
    given = body.get("thinking")
    if given is None:
        return
    if not isinstance(given, dict) or given.get("type") not in model.thinking:
        kind = given.get("type") if isinstance(given, dict) else given
        raise invalid(f'"thinking.type.{kind}" is not supported for this model.')


def _check_output(config: dict[str, Any], model: Model) -> dict[str, Any]:
    if unknown := set(config) - {"format", "effort"}:
        raise invalid(f"output_config.{min(unknown)}: Extra inputs are not permitted")
    effort = config.get("effort")
    if effort is not None and (not model.effort or effort not in EFFORTS):
        raise invalid("output_config.effort: This model does not support the effort parameter.")
    form = config.get("format")
    if form is None:
        return {}
    if set(form) != {"type", "schema"} or form["type"] != "json_schema":
        raise invalid("output_config.format: must be a json_schema with a schema")
    _check_schema(form["schema"], "output_config.format.schema")
    return dict(form["schema"])


def _check_schema(schema: Any, place: str) -> None:
    if not isinstance(schema, dict):
        raise invalid(f"{place}: must be an object")
    if unknown := set(schema) - SCHEMA_KEYWORDS:
        raise invalid(f"{place}: For '{schema.get('type')}' type, property '{min(unknown)}' is not supported")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise invalid(f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for name in ("properties", "$defs"):
        for key, part in schema.get(name, {}).items():
            _check_schema(part, f"{place}.{name}.{key}")
    if "items" in schema:
        _check_schema(schema["items"], f"{place}.items")
    for part in schema.get("anyOf", []):
        _check_schema(part, f"{place}.anyOf")


def _read_messages(messages: Any, model: Model) -> tuple[dict[str, Sight], list[str], int]:
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    if messages[-1].get("role") != "user":
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    blocks = _blocks(messages)
    count = sum(block.get("type") == "image" for _, block in blocks)
    most = 100 if model.context <= 200_000 else 600
    if count > most:
        raise invalid(f"messages: Too many images: {count}. The maximum is {most} per request.")
    sights: dict[str, Sight] = {}
    words: list[str] = []
    tokens, label = 0, ""
    for place, block in blocks:
        if block.get("type") == "text":
            if set(block) != {"type", "text"} or not str(block["text"]).strip():
                raise invalid(f"{place}.text: text content blocks must be non-empty")
            words.append(block["text"])
            found = LABEL.search(block["text"])
            label = found.group(1) if found else ""
        elif block.get("type") == "image":
            sight = _read_image(place, block, count)
            tokens += math.prod(math.ceil(edge / 28) for edge in billed_size(sight.width, sight.height, model))
            sights[label or f"?{len(sights)}"] = sight
            label = ""
        else:
            raise invalid(f"{place}: Input tag '{block.get('type')}' does not match any of the expected tags")
    return sights, words, tokens


def _blocks(messages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The messages' blocks, each with its path in the API's notation."""
    blocks: list[tuple[str, dict[str, Any]]] = []
    for place, message in enumerate(messages):
        if set(message) - {"role", "content"} or message.get("role") not in ("user", "assistant"):
            raise invalid(f"messages.{place}: Extra inputs are not permitted")
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list) or not content:
            raise invalid(f"messages.{place}.content: must be a string or a list of blocks")
        blocks += [(f"messages.{place}.content.{index}", block) for index, block in enumerate(content)]
    return blocks


def _read_image(place: str, block: dict[str, Any], count: int) -> Sight:
    source = block.get("source")
    if set(block) - {"type", "source", "cache_control"} or not isinstance(source, dict):
        raise invalid(f"{place}.image: Extra inputs are not permitted")
    if source.get("type") != "base64" or set(source) != {"type", "media_type", "data"}:
        raise invalid(f"{place}.image.source: this stand-in takes base64 only")
    media, data = source["media_type"], source["data"]
    if media not in MEDIA:
        raise invalid(f"{place}.image.source.base64.media_type: Input should be one of {', '.join(MEDIA)}")
    if len(data) > MAX_IMAGE_CHARACTERS:
        raise invalid(f"{place}.image.source.base64: image exceeds 10 MB maximum: {len(data)} bytes > 10485760 bytes")
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise invalid(f"{place}.image.source.base64.data: invalid base64 data") from error
    try:
        with Image.open(io.BytesIO(raw)) as opened:
            kind, size = opened.format, opened.size
            opened.load()
    except Exception as error:
        raise invalid(f"{place}.image: Could not process image") from error
    if kind != MEDIA[media]:
        raise invalid(f"{place}.image.source.base64: The image was specified using {media}, but appears to be {kind}")
    most = MOST_EDGE_OF_MANY if count > MANY else MOST_EDGE
    if max(size) > most:
        many = " for many-image requests" if count > MANY else ""
        words = f"At least one of the image dimensions exceed max allowed size{many}: {most} pixels"
        raise invalid(f"{place}.image.source.base64.data: {words}")
    return read_image(data)


def _without_images(body: dict[str, Any]) -> dict[str, Any]:
    """The body without its images, so that the history stays small."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: "…" if key == "data" else bare(part) for key, part in value.items()}
        return [bare(part) for part in value] if isinstance(value, list) else value

    return dict(bare(body))
