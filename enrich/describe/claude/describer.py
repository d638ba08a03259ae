"""The quick pass with Claude: several labelled images in one request, answers by label, exact cost per image.

Only `ask` and a batch's `submit` send images off this machine. `count` sends blank images of the same sizes, without
the user's context.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from enrich.describe.claude.client import (
    DEFAULT_ADDRESS,
    MAX_WAIT_SECONDS,
    ClaudeClient,
    RequestRefusedError,
    api_address,
)
from enrich.describe.claude.prices import load_prices
from enrich.describe.claude.reply import RequestContext, read_message, read_tokens
from enrich.describe.claude.request import (
    blank_image,
    estimate_cost,
    image_weights,
    jpeg_tokens,
    message_parameters,
    split_into_requests,
    text_tokens,
    total_image_tokens,
)
from enrich.describe.events import known_events
from enrich.describe.quick.protocol import QUICK_PROMPT_VERSION, CostEstimate, LabelledImage, QuickResult
from enrich.errors import CallFailedError, DescribeError
from enrich.settings import Settings

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

ANTHROPIC = "Anthropic (Claude)"


class ClaudeQuick:
    """Describes key frames with Claude. One instance is used from one event loop; its creator closes it."""

    name = "claude"
    prompt_version = QUICK_PROMPT_VERSION

    def __init__(
        self,
        settings: Settings,
        *,
        model: str = "",
        on_wait: Callable[[str], None] = lambda _: None,
        stop: asyncio.Event | None = None,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        """`model` overrides the setting. `on_wait` is called before each backoff, which setting `stop` ends.

        Opens no connection. Raises SettingsError if the model has no price, or the prices cannot be read.
        """
        prices = load_prices(settings.home)
        chosen = model or (settings.quick_model if settings.quick_describer == "claude" else "")
        self.price = prices.of(chosen) if chosen else prices.cheapest
        if chosen:
            self.price = self.price.model_copy(update={"name": chosen})  # keep a dated name as it was given
        self.model = self.price.name
        self.batch_factor = prices.batch_factor
        self.events = known_events(settings.events)
        self._connect_seconds = settings.connect_seconds
        self._on_wait, self._stop, self._max_wait_seconds = on_wait, stop, max_wait_seconds
        self._client: ClaudeClient | None = None

    @property
    def client(self) -> ClaudeClient:
        """The client, created on first use. Raises AccountError without a key, SettingsError without the SDK."""
        if self._client is None:
            self._client = ClaudeClient(
                connect_seconds=self._connect_seconds,
                on_wait=self._on_wait,
                stop=self._stop,
                max_wait_seconds=self._max_wait_seconds,
            )
        return self._client

    @property
    def recipient(self) -> str:
        """Who receives the images, as shown to the user, including a gateway."""
        address = api_address()
        return ANTHROPIC if address == DEFAULT_ADDRESS else f"{ANTHROPIC} via {address}"

    def parts(self, images: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """Split the images, in their order, into requests."""
        return split_into_requests(images, max_images=self.price.max_images)

    def estimate(
        self, images: Sequence[LabelledImage], *, context: str = "", language: str = "English", batch: bool = False
    ) -> CostEstimate:
        """Estimate the cost by formula, without a request. Images that are not JPEGs are not sent and not counted."""
        readable = _readable(images)
        inputs = [
            (len(part), total_image_tokens(part) + self._text_tokens(part, context=context, language=language))
            for part in self.parts(readable)
        ]
        return self._cost(inputs, readable, context=context, language=language, batch=batch)

    async def count(
        self, images: Sequence[LabelledImage], *, context: str = "", language: str = "English", batch: bool = False
    ) -> CostEstimate:
        """Estimate the cost with the API's count of the input. Counting is free and sends nothing of the video.

        The context is not sent either; its tokens are added by formula. Raises DescribeError's subclasses.
        """
        readable = _readable(images)
        counted: dict[tuple[int, ...], int] = {}
        inputs = []
        context_tokens = self._text_tokens((), context=context, language=language) - self._text_tokens(
            (), context="", language=language
        )
        for part in self.parts(readable):
            sizes = tuple(image_weights(part).values())
            if sizes not in counted:
                counted[sizes] = await self._count(part, language)
            inputs.append((len(part), counted[sizes] + context_tokens))
        return self._cost(inputs, readable, context=context, language=language, batch=batch)

    async def ask(
        self, images: Sequence[LabelledImage], *, context: str = "", language: str = "English"
    ) -> tuple[QuickResult, ...]:
        """Describe one part; a result for each image, in their order.

        An image whose answer is missing, duplicated or cut off is retried once, alone. Raises DescribeError's
        subclasses if no image got a reply; then nothing was charged.
        """
        readable = _readable(images)
        results = {image.label: _unreadable(image) for image in images if image not in readable}
        if readable:
            try:
                first = await self._request(readable, context, language)
            except RequestRefusedError:
                if len(readable) == 1:
                    raise
                first = await self._request_each(readable, context, language)
            else:
                first = await self._retry_missing(readable, first, context, language)
            results |= {result.label: result for result in first}
        return tuple(results[image.label] for image in images)

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def request_context(self, *, context: str, language: str, factor: float = 1.0) -> RequestContext:
        """The properties of a request that are needed to read its reply."""
        return RequestContext(self.price, factor, self.client.address, context, language, self.events)

    def request(self, images: Sequence[LabelledImage], *, context: str, language: str) -> dict[str, Any]:
        """The parameters of one message. Raises CallFailedError if an image is not a JPEG."""
        return message_parameters(images, price=self.price, context=context, language=language, events=self.events)

    def _cost(
        self,
        inputs: Sequence[tuple[int, int]],
        images: Sequence[LabelledImage],
        *,
        context: str,
        language: str,
        batch: bool,
    ) -> CostEstimate:
        if batch:  # batches are not retried automatically
            return estimate_cost(inputs, price=self.price, factor=self.batch_factor)
        text = self._text_tokens(images[:1], context=context, language=language)
        retries = [tokens + text for tokens in image_weights(images).values()] if len(images) > 1 else []
        return estimate_cost(inputs, price=self.price, retries=retries)

    def _text_tokens(self, images: Sequence[LabelledImage], *, context: str, language: str) -> int:
        return text_tokens(images, context=context, language=language, events=self.events)

    async def _request(self, images: Sequence[LabelledImage], context: str, language: str) -> tuple[QuickResult, ...]:
        client = self.client  # raises early if there is no key
        parameters = await asyncio.to_thread(self.request, images, context=context, language=language)
        weights = image_weights(images)
        request_context = self.request_context(context=context, language=language)
        start = time.monotonic()

        async def results(sdk: "AsyncAnthropic") -> tuple[QuickResult, ...]:
            message = await sdk.messages.create(**parameters)
            return read_message(message, weights, request_context, seconds=time.monotonic() - start)

        return await client.call(results, model=self.model)

    async def _retry_missing(
        self, images: Sequence[LabelledImage], first: Sequence[QuickResult], context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """The results, after a retry for each image without an answer, alone."""
        results = []
        for image, result in zip(images, first, strict=True):
            if result.answer is not None or len(images) == 1:
                results.append(result)
                continue
            try:
                (second,) = await self._request((image,), context, language)
            except DescribeError as error:
                results.append(replace(result, problem=str(error)))
                continue
            calls = result.calls + second.calls
            results.append(replace(second, calls=calls, kept=None if second.kept is None else len(result.calls)))
        return tuple(results)

    async def _request_each(
        self, images: Sequence[LabelledImage], context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """One request for each image, after a common one was rejected: a single image may be the cause."""
        results: list[QuickResult] = []
        problems: list[DescribeError] = []
        for image in images:
            try:
                results += await self._request((image,), context, language)
            except RequestRefusedError as error:
                problems.append(error)
                results.append(QuickResult(image.label, None, str(error), ()))
        if len(problems) == len(images):
            raise problems[0]
        return tuple(results)

    async def _count(self, part: Sequence[LabelledImage], language: str) -> int:
        blanks = [replace(image, jpeg=blank_image(image.jpeg), timestamp=0.0) for image in part]
        parameters = self.request(blanks, context="", language=language)
        del parameters["max_tokens"]

        async def count(sdk: "AsyncAnthropic") -> int:
            return read_tokens((await sdk.messages.count_tokens(**parameters)).input_tokens)

        return await self.client.call(count, model=self.model)


def _readable(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """The images with a valid JPEG header."""
    readable = []
    for image in images:
        with suppress(CallFailedError):
            jpeg_tokens(image.jpeg)
            readable.append(image)
    return readable


def _unreadable(image: LabelledImage) -> QuickResult:
    return QuickResult(image.label, None, "the stored image cannot be decoded as JPEG: run `everyframe verify`", ())
