"""The local quick pass: a small model in Ollama, one image per call; or the baseline without a model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

from enrich.describe.asking import CrashIsolation
from enrich.describe.baseline import BASELINE_VERSION, LOCAL_HOST, BaselineDescriber
from enrich.describe.describer import Call, Image, MotionHint, Problem, Question, ReplyWarning
from enrich.describe.json_parser import parse_json
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.prompt import OTHER, known_events
from enrich.describe.quick.protocol import (
    MAX_EXCITEMENT,
    MIN_EXCITEMENT,
    QUICK_PROMPT_VERSION,
    CostEstimate,
    LabelledImage,
    Payments,
    QuickAnswer,
    QuickResult,
    heading,
    instructions,
)
from enrich.describe.quick.reply import context_name_warnings, read_items, repeats_instructions
from enrich.describe.reply import answer_in, read_reply
from enrich.errors import CallFailedError, CallTimeoutError, DescribeError, HostError
from enrich.settings import Settings

DEFAULT_MODEL = "moondream"
EMPTY_REPLY = "the model returned an empty reply for this frame"


class OllamaQuick:
    """Describes images one by one with a small local model. One instance is used from one event loop."""

    name = "ollama"
    prompt_version = f"local-{QUICK_PROMPT_VERSION}"
    recipient = ""

    def __init__(self, settings: Settings, *, model: str = "") -> None:
        """`model` overrides the setting."""
        self.model = model or (settings.quick_model if settings.quick_describer == "ollama" else "") or DEFAULT_MODEL
        self.events = known_events(settings.events)
        self._inner = OllamaDescriber(settings, model=self.model)
        self._hosts = cycle(self._inner.hosts)
        self._isolation = CrashIsolation()

    def parts(self, images: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """One image per part: small models mix up several."""
        return [(image,) for image in images]

    def estimate(self, images: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """Free of charge."""
        del context, language
        return _free(len(images))

    async def ask(
        self, images: Sequence[LabelledImage], payments: Payments, *, context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """Describe each image. Raises DescribeError's subclasses if no host responds."""
        del payments
        return tuple([await self._one(image, context, language) for image in images])

    async def close(self) -> None:
        """Close connections."""
        await self._inner.close()

    async def _one(self, image: LabelledImage, context: str, language: str) -> QuickResult:
        prompt = instructions(context=context, language=language, events=self.events)
        prompt = f"{prompt}\n\n{heading(image)} answer with one JSON object about it and nothing else."
        try:
            call = await self._call(prompt, image)
        except (CallTimeoutError, CallFailedError) as error:
            return QuickResult(image.label, None, str(error), ())
        answer, warnings = self._read(image, call, context, language)
        call = replace(call, warnings=tuple(dict.fromkeys((*call.warnings, *warnings))))
        if answer is None:
            return QuickResult(image.label, None, EMPTY_REPLY, (call,))
        return QuickResult(image.label, answer, None, (call,), kept=0)

    async def _call(self, prompt: str, image: LabelledImage) -> Call:
        """Call the first host that responds, starting with the next one each time (round robin)."""
        last: HostError | None = None
        for host in (next(self._hosts) for _ in self._inner.hosts):
            describe = partial(
                self._inner.describe_with_schema,
                prompt,
                image.jpeg,
                _schema(self.events),
                version=self.prompt_version,
                host=host,
            )
            try:
                return await self._isolation.request(host, describe)
            except HostError as error:
                last = error
        raise last or HostError("no Ollama host is configured: set EVERYFRAME_OLLAMA_HOSTS")

    def _read(
        self, image: LabelledImage, call: Call, context: str, language: str
    ) -> tuple[QuickAnswer | None, tuple[ReplyWarning, ...]]:
        """The answer in a call's reply. Without valid JSON, it is the description found in the text."""
        value = _object(call.raw_reply)
        whole = json.dumps({"pictures": [{**value, "label": image.label}]})
        item = read_items(whole, (image.label,), self.events).get(image.label) if value else None
        if item is not None:
            return item.answer, context_name_warnings(item.answer, context=context, language=language)
        description, warnings = read_reply(Question((Image(image.jpeg, image.timestamp),), context=context), call)
        if description is None or repeats_instructions(description.text, self.events):
            return None, (ReplyWarning(Problem.EMPTY),)
        answer = QuickAnswer(description.text, description.tags, OTHER, MIN_EXCITEMENT)
        return answer, (*warnings, ReplyWarning(Problem.NOT_JSON))


class BaselineQuick:
    """Describes what can be measured in an image. It cannot tell kinds of events, and leaves them empty."""

    name = "baseline"
    model = BaselineDescriber.model
    prompt_version = BASELINE_VERSION
    recipient = ""

    def __init__(self) -> None:
        self._inner = BaselineDescriber()

    def parts(self, images: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """One image per part."""
        return [(image,) for image in images]

    def estimate(self, images: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """Free of charge."""
        del context, language
        return _free(len(images))

    async def ask(
        self, images: Sequence[LabelledImage], payments: Payments, *, context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """Measure each image."""
        del payments, context, language
        return tuple([await self._one(image) for image in images])

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    async def _one(self, image: LabelledImage) -> QuickResult:
        question = Question((Image(image.jpeg, image.timestamp, MotionHint()),))
        try:
            call = await self._inner.describe(question, host=LOCAL_HOST)
        except DescribeError as error:
            return QuickResult(image.label, None, str(error), ())
        description, _ = self._inner.read(question, call)
        if description is None:
            return QuickResult(image.label, None, EMPTY_REPLY, (call,))
        answer = QuickAnswer(description.text, description.tags, "", MIN_EXCITEMENT)
        return QuickResult(image.label, answer, None, (call,), kept=0)


def stored_description(raw: str) -> str | None:
    """The description in a stored quick pass reply; None if there is none."""
    value = _object(raw)
    label = str(value.get("label", "")).strip() or "F0"
    whole = json.dumps({"pictures": [{**value, "label": label}]})
    item = read_items(whole, (label,), ()).get(label) if value else None
    if item is not None:
        return item.answer.description
    call = Call("", "", "", "", "", 0.0, raw_reply=raw)
    description, _ = read_reply(Question((Image(b"", 0.0),)), call)
    return None if description is None else description.text


def _free(images: int) -> CostEstimate:
    return CostEstimate(images, requests=images, input_tokens=0, output_tokens=0, usd=0.0, most_usd=0.0)


def _schema(events: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a reply about one image."""
    properties: dict[str, Any] = {
        "description": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "event_type": {"type": "string", "enum": list(events)},
        "excitement": {"type": "integer", "minimum": MIN_EXCITEMENT, "maximum": MAX_EXCITEMENT},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _object(raw_reply: str) -> dict[str, Any]:
    """The JSON object in a reply; empty if there is none."""
    text = answer_in(raw_reply)
    first, last = text.find("{"), text.rfind("}")
    try:
        value = parse_json(text[first : last + 1]) if 0 <= first < last else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
