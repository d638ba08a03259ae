"""The quick look without a cloud: a small model in Ollama, a picture a call; or the baseline, which only measures."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from enrich.describe.baseline import BASELINE_VERSION, LOCAL, BaselineDescriber
from enrich.describe.describer import Call, Image, MotionHint, Problem, Question, ReplyWarning
from enrich.describe.events import OTHER, known_events
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.quick.protocol import (
    DULL,
    QUICK_PROMPT_VERSION,
    THRILLING,
    CostEstimate,
    LabelledImage,
    QuickAnswer,
    QuickResult,
    heading,
    instructions,
)
from enrich.describe.quick.reply import names_taken, read_items
from enrich.describe.reply import read_reply
from enrich.errors import CallFailedError, CallTimeoutError, DescribeError, HostError
from enrich.settings import Settings

SMALL_MODEL = "moondream"
NOTHING_SAID = "the model said nothing of this picture"


class OllamaQuick:
    """Asks a small model of the user's own about one picture after the other. Belongs to one event loop."""

    name = "ollama"
    prompt_version = f"local-{QUICK_PROMPT_VERSION}"
    recipient = ""

    def __init__(self, settings: Settings, *, model: str = "") -> None:
        """`model` wins over the settings' one."""
        self.model = model or (settings.quick_model if settings.quick_describer == "ollama" else "") or SMALL_MODEL
        self.events = known_events(settings.events)
        self._inner = OllamaDescriber(settings, model=self.model)
        self._hosts = cycle(self._inner.hosts)

    def parts(self, pictures: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """A picture each: small models mix up several."""
        return [(picture,) for picture in pictures]

    def estimate(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """Nothing."""
        del context, language
        return _nothing(len(pictures))

    async def ask(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> tuple[QuickResult, ...]:
        """Ask about each picture. Raises DescribeError's subclasses if no host can be asked."""
        return tuple([await self._one(picture, context, language) for picture in pictures])

    async def close(self) -> None:
        """Let go of connections."""
        await self._inner.close()

    async def _one(self, picture: LabelledImage, context: str, language: str) -> QuickResult:
        words = instructions(context=context, language=language, events=self.events)
        words = f"{words}\n\n{heading(picture)} answer with one JSON object about it and nothing else."
        try:
            call = await self._call(words, picture)
        except (CallTimeoutError, CallFailedError) as error:
            return QuickResult(picture.label, None, str(error), ())
        answer, doubts = self._read(picture, call, context, language)
        call = replace(call, warnings=tuple(dict.fromkeys((*call.warnings, *doubts))))
        if answer is None:
            return QuickResult(picture.label, None, NOTHING_SAID, (call,))
        return QuickResult(picture.label, answer, None, (call,), kept=0)

    async def _call(self, words: str, picture: LabelledImage) -> Call:
        """A call to the first host that answers, each time beginning with the next one."""
        last: HostError | None = None
        for host in (next(self._hosts) for _ in self._inner.hosts):
            try:
                return await self._inner.put(
                    words, picture.jpeg, _form(self.events), version=self.prompt_version, host=host
                )
            except HostError as error:
                last = error
        raise last or HostError("there is no host to ask")

    def _read(
        self, picture: LabelledImage, call: Call, context: str, language: str
    ) -> tuple[QuickAnswer | None, tuple[ReplyWarning, ...]]:
        """The answer in a call's reply; of words that are no such JSON, the description that is in them."""
        value = _object(call.raw_reply)
        whole = json.dumps({"pictures": [{**value, "label": picture.label}]})
        item = read_items(whole, (picture.label,), self.events).get(picture.label) if value else None
        if item is not None:
            return item.answer, names_taken(item.answer, context=context, language=language)
        said, doubts = read_reply(Question((Image(picture.jpeg, picture.timestamp),), context=context), call)
        if said is None:
            return None, (ReplyWarning(Problem.EMPTY),)
        answer = QuickAnswer(said.text, said.tags, OTHER, DULL)
        return answer, (*doubts, ReplyWarning(Problem.NOT_JSON))


class BaselineQuick:
    """Says what can be measured in a picture. What kind of event it is, it cannot say, and leaves it open."""

    name = "baseline"
    model = BaselineDescriber.model
    prompt_version = BASELINE_VERSION
    recipient = ""

    def __init__(self) -> None:
        self._inner = BaselineDescriber()

    def parts(self, pictures: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """A picture each."""
        return [(picture,) for picture in pictures]

    def estimate(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """Nothing."""
        del context, language
        return _nothing(len(pictures))

    async def ask(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> tuple[QuickResult, ...]:
        """Measure each picture."""
        del context, language
        return tuple([await self._one(picture) for picture in pictures])

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def _one(self, picture: LabelledImage) -> QuickResult:
        question = Question((Image(picture.jpeg, picture.timestamp, MotionHint()),))
        try:
            call = await self._inner.describe(question, host=LOCAL)
        except DescribeError as error:
            return QuickResult(picture.label, None, str(error), ())
        said, _ = self._inner.read(question, call)
        if said is None:
            return QuickResult(picture.label, None, NOTHING_SAID, (call,))
        return QuickResult(picture.label, QuickAnswer(said.text, said.tags, "", DULL), None, (call,), kept=0)


def measure_frames(raw: str) -> str | None:
    """The description in a stored reply of a quick look; None if there is none."""
    value = _object(raw)
    label = str(value.get("label", "")).strip() or "F0"
    whole = json.dumps({"pictures": [{**value, "label": label}]})
    item = read_items(whole, (label,), ()).get(label) if value else None
    if item is not None:
        return item.answer.description
    call = Call("", "", "", "", "", 0.0, raw_reply=raw)
    said, _ = read_reply(Question((Image(b"", 0.0),)), call)
    return None if said is None else said.text


def _nothing(pictures: int) -> CostEstimate:
    return CostEstimate(pictures, requests=pictures, input_tokens=0, output_tokens=0, usd=0.0, most_usd=0.0)


def _form(events: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a reply about one picture."""
    properties: dict[str, Any] = {
        "description": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "event_type": {"type": "string", "enum": list(events)},
        "excitement": {"type": "integer", "minimum": DULL, "maximum": THRILLING},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _object(said: str) -> dict[str, Any]:
    """The JSON object a reply is, or holds; empty if there is none."""
    first, last = said.find("{"), said.rfind("}")
    try:
        value = json.loads(said[first : last + 1], strict=False) if 0 <= first < last else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
