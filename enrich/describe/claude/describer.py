"""The quick pass with Claude: several labelled images in one request, answers by label, exact cost per image.

Only `ask` and a batch's `submit` send images off this machine. `count` sends blank images of the same sizes, without
the user's context.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
    RequestSize,
    blank_image,
    estimate_cost,
    image_weights,
    jpeg_tokens,
    message_parameters,
    most_text_tokens,
    split_into_requests,
    text_tokens,
    total_image_tokens,
)
from enrich.describe.prompt import known_events
from enrich.describe.quick.protocol import (
    QUICK_PROMPT_VERSION,
    CostEstimate,
    LabelledImage,
    Payments,
    QuickResult,
    ReservedRequest,
)
from enrich.errors import BudgetError, CallFailedError, DescribeError
from enrich.settings import Settings

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types import Message

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
        requests = [self._size(part, context=context, language=language) for part in self.parts(readable)]
        return self._cost(requests, readable, context=context, language=language, batch=batch)

    def most_usd(self, images: Sequence[LabelledImage], *, context: str, language: str, batch: bool = False) -> float:
        """The most that one request with these images may cost."""
        size = self._size(_readable(images), context=context, language=language)
        return size.most_usd(self.price, self.batch_factor if batch else 1.0)

    async def count(
        self, images: Sequence[LabelledImage], *, context: str = "", language: str = "English", batch: bool = False
    ) -> CostEstimate:
        """Estimate the cost with the API's count of the input. Counting is free and sends nothing of the video.

        The context is not sent either; its tokens are added by formula. Raises DescribeError's subclasses.
        """
        readable = _readable(images)
        counted: dict[tuple[int, ...], int] = {}
        requests = []
        context_tokens = self._text_tokens((), context=context, language=language) - self._text_tokens(
            (), context="", language=language
        )
        for part in self.parts(readable):
            sizes = tuple(image_weights(part).values())
            if sizes not in counted:
                counted[sizes] = await self._count(part, language)
            size = self._size(part, context=context, language=language)
            requests.append(replace(size, input_tokens=counted[sizes] + context_tokens))
        return self._cost(requests, readable, context=context, language=language, batch=batch)

    async def ask(
        self,
        images: Sequence[LabelledImage],
        payments: Payments,
        *,
        context: str = "",
        language: str = "English",
    ) -> tuple[QuickResult, ...]:
        """Describe one part; a result for each image, in their order. `payments` has recorded every reply by then.

        An image whose answer is missing, duplicated or cut off is retried once, alone. Raises BudgetError,
        ImagesTakenError, or DescribeError's subclasses if no image got a reply.
        """
        readable = _readable(images)
        results = {image.label: _unreadable(image) for image in images if image not in readable}
        if readable:
            sender = _Sender(self, payments, context, language)
            results |= {result.label: result for result in await sender.send_part(readable)}
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
        requests: Sequence[RequestSize],
        images: Sequence[LabelledImage],
        *,
        context: str,
        language: str,
        batch: bool,
    ) -> CostEstimate:
        if batch:  # batches are not retried automatically
            return estimate_cost(requests, price=self.price, factor=self.batch_factor)
        alone = images if len(images) > 1 else ()
        retries = [self._size([image], context=context, language=language) for image in alone]
        return estimate_cost(requests, price=self.price, retries=retries)

    def _size(self, images: Sequence[LabelledImage], *, context: str, language: str) -> RequestSize:
        tokens = total_image_tokens(images)
        most = most_text_tokens(images, context=context, language=language, events=self.events)
        return RequestSize(
            images=len(images),
            input_tokens=tokens + self._text_tokens(images, context=context, language=language),
            most_input_tokens=tokens + most,
        )

    def _text_tokens(self, images: Sequence[LabelledImage], *, context: str, language: str) -> int:
        return text_tokens(images, context=context, language=language, events=self.events)

    async def _count(self, part: Sequence[LabelledImage], language: str) -> int:
        blanks = [replace(image, jpeg=blank_image(image.jpeg), timestamp=0.0) for image in part]
        parameters = self.request(blanks, context="", language=language)
        del parameters["max_tokens"]

        async def count(sdk: "AsyncAnthropic") -> int:
            return read_tokens((await sdk.messages.count_tokens(**parameters)).input_tokens)

        return await self.client.call(count, model=self.model)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends the requests for one part: reserved before they are sent, recorded as soon as they are answered."""

    quick: ClaudeQuick
    payments: Payments
    context: str
    language: str

    async def send_part(self, images: Sequence[LabelledImage]) -> tuple[QuickResult, ...]:
        """The results of one request, and of another one for each image that has no answer then."""
        if len(images) == 1:
            return (await self._send(images))[1]
        try:
            reservation, first = await self._send(images, holds_missing=True)
        except RequestRefusedError:  # a single image may be the cause
            return await self._send_each(images)
        try:
            return await self._retry_missing(images, first, reservation)
        finally:
            await self.payments.release(reservation)

    async def _send(
        self, images: Sequence[LabelledImage], *, holds_missing: bool = False, retry_of: ReservedRequest | None = None
    ) -> tuple[ReservedRequest, tuple[QuickResult, ...]]:
        """Send one request. `holds_missing`: images without an answer stay claimed; `retry_of`: that request."""
        client = self.quick.client  # raises early if there is no key
        context, language = self.context, self.language
        parameters = await asyncio.to_thread(self.quick.request, images, context=context, language=language)
        weights = image_weights(images)
        request_context = self.quick.request_context(context=context, language=language)
        most_usd = self.quick.most_usd(images, context=context, language=language)
        reservation = await self.payments.reserve([image.label for image in images], most_usd, retry_of=retry_of)
        start = time.monotonic()

        def read(message: "Message") -> tuple[QuickResult, ...]:
            return read_message(message, weights, request_context, seconds=time.monotonic() - start)

        try:
            results = await client.create_message(parameters, reservation, read, model=self.quick.model)
        except BaseException as error:  # also when cancelled: the request may have arrived
            await self.payments.fail(reservation, error)
            raise
        missing = [result.label for result in results if result.answer is None] if holds_missing else []
        await self.payments.settle(reservation, results, hold=missing)
        return reservation, results

    async def _retry_missing(
        self, images: Sequence[LabelledImage], first: Sequence[QuickResult], reservation: ReservedRequest
    ) -> tuple[QuickResult, ...]:
        results = []
        for image, result in zip(images, first, strict=True):
            if result.answer is not None:
                results.append(result)
                continue
            try:
                _, (second,) = await self._send((image,), retry_of=reservation)
            except (DescribeError, BudgetError) as error:
                results.append(replace(result, problem=str(error)))
                continue
            calls = result.calls + second.calls
            results.append(replace(second, calls=calls, kept=None if second.kept is None else len(result.calls)))
        return tuple(results)

    async def _send_each(self, images: Sequence[LabelledImage]) -> tuple[QuickResult, ...]:
        """One request for each image. If one fails for another reason than its image, the others are not sent."""
        results: list[QuickResult] = []
        refused: list[RequestRefusedError] = []
        for image in images:
            try:
                results += (await self._send((image,)))[1]
            except RequestRefusedError as error:
                refused.append(error)
                results.append(QuickResult(image.label, None, str(error), ()))
            except (DescribeError, BudgetError) as error:
                if len(refused) == len(results):  # nothing was described
                    raise
                left = images[len(results) :]
                return (*results, *(QuickResult(image.label, None, str(error), ()) for image in left))
        if len(refused) == len(images):
            raise refused[0]
        return tuple(results)


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
