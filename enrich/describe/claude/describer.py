"""The quick look by Claude: several labelled pictures a request, answers by label, cost to the token.

Pictures leave the machine in `ask` and in a batch's `submit` alone. `count` asks the API what a request of blank
pictures of the same sizes, without the owner's words, would count.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from enrich.describe.claude.client import MOST_WAIT_SECONDS, OWN_ADDRESS, ClaudeClient, RequestRefusedError, api_address
from enrich.describe.claude.prices import load_prices
from enrich.describe.claude.reply import RequestContext, answered
from enrich.describe.claude.request import (
    blank,
    cut,
    estimated,
    images_tokens,
    parameters,
    tokens_of,
    weights,
    words_tokens,
)
from enrich.describe.events import known_events
from enrich.describe.quick.protocol import QUICK_PROMPT_VERSION, CostEstimate, LabelledImage, QuickResult
from enrich.errors import CallFailedError, DescribeError
from enrich.settings import Settings

ANTHROPIC = "Anthropic (Claude)"


class ClaudeQuick:
    """Asks Claude about key frames. One instance is used from one event loop; whoever makes it closes it."""

    name = "claude"
    prompt_version = QUICK_PROMPT_VERSION

    def __init__(
        self,
        settings: Settings,
        *,
        model: str = "",
        told: Callable[[str], None] = lambda _: None,
        stop: asyncio.Event | None = None,
        most_wait: float = MOST_WAIT_SECONDS,
    ) -> None:
        """`model` wins over the settings' one; `told` hears of waits, which `stop` ends. No connection is made yet.

        Raises SettingsError if no price is known for the model, or the prices cannot be read.
        """
        prices = load_prices(settings.home)
        chosen = model or (settings.quick_model if settings.quick_describer == "claude" else "")
        self.price = prices.of(chosen) if chosen else prices.cheapest
        if chosen:
            self.price = self.price.model_copy(update={"name": chosen})  # a dated name stays as it was asked for
        self.model = self.price.name
        self.batch_factor = prices.batch_factor
        self.events = known_events(settings.events)
        self._connect_seconds = settings.connect_seconds
        self._told, self._stop, self._most_wait = told, stop, most_wait
        self._client: ClaudeClient | None = None

    @property
    def client(self) -> ClaudeClient:
        """The connection, made when first needed. Raises AccountError without a key, SettingsError without the SDK."""
        if self._client is None:
            self._client = ClaudeClient(
                connect_seconds=self._connect_seconds, told=self._told, stop=self._stop, most_wait=self._most_wait
            )
        return self._client

    @property
    def recipient(self) -> str:
        """To whom pictures are sent, as the user is told: a gateway on the way is named."""
        address = api_address()
        return ANTHROPIC if address == OWN_ADDRESS else f"{ANTHROPIC} by way of {address}"

    def parts(self, pictures: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """The pictures in their order, cut into what one request takes."""
        return cut(pictures, most_pictures=self.price.most_pictures)

    def estimate(
        self, pictures: Sequence[LabelledImage], *, context: str = "", language: str = "English", batch: bool = False
    ) -> CostEstimate:
        """What asking will cost by the formula, without asking anyone. What is no JPEG is not sent."""
        sound = _sound(pictures)
        inputs = [
            (len(part), images_tokens(part) + self._words(part, context=context, language=language))
            for part in self.parts(sound)
        ]
        return self._estimated(inputs, sound, context=context, language=language, batch=batch)

    async def count(
        self, pictures: Sequence[LabelledImage], *, context: str = "", language: str = "English", batch: bool = False
    ) -> CostEstimate:
        """What asking will cost, the input counted by the API: free, and nothing of the video is sent.

        The context's share, which is not sent either, is added by the formula. Raises DescribeError's subclasses.
        """
        sound = _sound(pictures)
        counted: dict[tuple[int, ...], int] = {}
        inputs = []
        extra = self._words((), context=context, language=language) - self._words((), context="", language=language)
        for part in self.parts(sound):
            sizes = tuple(weights(part).values())
            if sizes not in counted:
                counted[sizes] = await self._count(part, language)
            inputs.append((len(part), counted[sizes] + extra))
        return self._estimated(inputs, sound, context=context, language=language, batch=batch)

    async def ask(
        self, pictures: Sequence[LabelledImage], *, context: str = "", language: str = "English"
    ) -> tuple[QuickResult, ...]:
        """Ask about one part; an entry for each picture, in their order.

        What the reply leaves out, doubles, or was cut short before is asked for once more, alone. Raises
        DescribeError's subclasses if nobody answered at all: then nothing was paid for.
        """
        sound = _sound(pictures)
        entries = {picture.label: _unreadable(picture) for picture in pictures if picture not in sound}
        if sound:
            try:
                first = await self._once(sound, context, language)
            except RequestRefusedError:
                if len(sound) == 1:
                    raise
                first = await self._each(sound, context, language)
            else:
                first = await self._again(sound, first, context, language)
            entries |= {entry.label: entry for entry in first}
        return tuple(entries[picture.label] for picture in pictures)

    async def close(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def terms(self, *, context: str, language: str, factor: float = 1.0) -> RequestContext:
        """What a request is made with, so far as reading its reply needs it."""
        return RequestContext(self.price, factor, self.client.address, context, language, self.events)

    def request(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> dict[str, Any]:
        """The parameters of one message. Raises CallFailedError for a picture that is no JPEG."""
        return parameters(pictures, price=self.price, context=context, language=language, events=self.events)

    def _estimated(
        self,
        inputs: Sequence[tuple[int, int]],
        pictures: Sequence[LabelledImage],
        *,
        context: str,
        language: str,
        batch: bool,
    ) -> CostEstimate:
        if batch:  # in which nothing is asked for again by itself
            return estimated(inputs, price=self.price, factor=self.batch_factor)
        words = self._words(pictures[:1], context=context, language=language)
        again = [tokens + words for tokens in weights(pictures).values()] if len(pictures) > 1 else []
        return estimated(inputs, price=self.price, again=again)

    def _words(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> int:
        return words_tokens(pictures, context=context, language=language, events=self.events)

    async def _once(self, pictures: Sequence[LabelledImage], context: str, language: str) -> tuple[QuickResult, ...]:
        client = self.client  # without a key nothing is worth preparing
        given = await asyncio.to_thread(self.request, pictures, context=context, language=language)
        start = time.monotonic()
        message = await client.call(lambda sdk: sdk.messages.create(**given), model=self.model)
        seconds = time.monotonic() - start
        return answered(message, weights(pictures), self.terms(context=context, language=language), seconds=seconds)

    async def _again(
        self, pictures: Sequence[LabelledImage], first: Sequence[QuickResult], context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """The entries, with what has no answer asked for once more, alone."""
        entries = []
        for picture, entry in zip(pictures, first, strict=True):
            if entry.answer is not None or len(pictures) == 1:
                entries.append(entry)
                continue
            try:
                (second,) = await self._once((picture,), context, language)
            except DescribeError as error:
                entries.append(replace(entry, problem=str(error)))
                continue
            calls = entry.calls + second.calls
            entries.append(replace(second, calls=calls, kept=None if second.kept is None else len(entry.calls)))
        return tuple(entries)

    async def _each(self, pictures: Sequence[LabelledImage], context: str, language: str) -> tuple[QuickResult, ...]:
        """Each picture in a request of its own, after one for all was refused: one may be to blame."""
        entries: list[QuickResult] = []
        problems: list[DescribeError] = []
        for picture in pictures:
            try:
                entries += await self._once((picture,), context, language)
            except RequestRefusedError as error:
                problems.append(error)
                entries.append(QuickResult(picture.label, None, str(error), ()))
        if len(problems) == len(pictures):
            raise problems[0]
        return tuple(entries)

    async def _count(self, part: Sequence[LabelledImage], language: str) -> int:
        blanks = [replace(picture, jpeg=blank(picture.jpeg), timestamp=0.0) for picture in part]
        given = self.request(blanks, context="", language=language)
        del given["max_tokens"]
        counted = await self.client.call(lambda sdk: sdk.messages.count_tokens(**given), model=self.model)
        return int(counted.input_tokens)


def _sound(pictures: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Those that are JPEGs, so far as their beginning tells."""
    sound = []
    for picture in pictures:
        with suppress(CallFailedError):
            tokens_of(picture.jpeg)
            sound.append(picture)
    return sound


def _unreadable(picture: LabelledImage) -> QuickResult:
    return QuickResult(picture.label, None, "the stored picture is no JPEG that can be decoded", ())
