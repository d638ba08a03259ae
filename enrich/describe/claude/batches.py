"""Message batches at Claude: half the price, results within a day.

The caller stores the custom ids before it submits a batch, and the batch's id right after. If it is killed in between,
`find` looks the batch up. The API does not list a batch's requests before it has ended, so until then `find` can only
report a batch that matches in size and time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from enrich.describe.claude.client import UNREADABLE, NotFoundError, RequestRefusedError, error_for_response, identifier
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.claude.reply import RequestContext, read_message
from enrich.describe.claude.request import MAX_BATCH_BYTES, image_weights
from enrich.describe.quick.protocol import LabelledImage, QuickResult, ReservedRequest

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.pagination import AsyncPage
    from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

SETTLE_SECONDS = 120  # after this time a batch that was accepted is in the API's list
MAX_CLOCK_SKEW_SECONDS = 300  # how far our clock may be ahead of the API's
LIST_PAGE_SIZE = 100
EXPIRED = "Claude did not process this frame within a day: run the quick pass again"
CANCELED = "the batch was cancelled before Claude processed this frame: run the quick pass again"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One request of a batch, with our own id: letters, digits, `-` and `_`, at most 64 characters."""

    custom_id: str
    images: tuple[LabelledImage, ...]

    @property
    def weights(self) -> dict[str, int]:
        """Each image's share of the input, by label. Stored until the results arrive."""
        return image_weights(self.images)


@dataclass(frozen=True, slots=True)
class BatchState:
    """The progress of a batch. Counts are of requests; all but `processing` are zero until the batch has ended."""

    id: str
    is_ended: bool
    processing: int
    succeeded: int
    errored: int
    expired: int
    canceled: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BatchFound:
    """A batch of ours, or (not `is_certain`) one that matches in size and time and has not ended."""

    id: str
    is_certain: bool


class ClaudeBatches:
    """Submits and reads batches through a ClaudeQuick's client, with its model and events. The owner closes it."""

    def __init__(self, quick: ClaudeQuick) -> None:
        self._quick = quick

    async def submit(
        self,
        parts: Sequence[BatchPart],
        reservations: Sequence[ReservedRequest],
        *,
        context: str = "",
        language: str = "English",
    ) -> str:
        """Send the parts as one batch, with a reservation for each, and return Anthropic's batch id.

        Raises DescribeError's subclasses.
        """
        client = self._quick.client
        if len({part.custom_id for part in parts}) != len(parts):
            raise ValueError("custom ids must differ")
        requests = [
            {
                "custom_id": part.custom_id,
                "params": self._quick.request(part.images, context=context, language=language),
            }
            for part in parts
        ]
        size = sum(len(str(request)) for request in requests)
        if size > MAX_BATCH_BYTES:
            raise RequestRefusedError("the images are too large for one batch: choose fewer key frames")

        return await client.create_batch(requests, reservations, model=self._quick.model)

    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch. What was processed by then is charged. Raises DescribeError's subclasses."""

        async def request(sdk: "AsyncAnthropic") -> str:
            return identifier((await sdk.messages.batches.cancel(batch_id)).id)

        await self._call(batch_id, request)

    async def poll(self, batch_id: str) -> BatchState:
        """Get a batch's progress. Raises DescribeError's subclasses."""

        async def read(sdk: "AsyncAnthropic") -> BatchState:
            batch = await sdk.messages.batches.retrieve(batch_id)
            counts = batch.request_counts
            return BatchState(
                id=identifier(batch.id),
                is_ended=batch.processing_status == "ended",
                processing=int(counts.processing),
                succeeded=int(counts.succeeded),
                errored=int(counts.errored),
                expired=int(counts.expired),
                canceled=int(counts.canceled),
                expires_at=_moment(batch.expires_at),
            )

        return await self._call(batch_id, read)

    async def results(
        self,
        batch_id: str,
        weights: Mapping[str, Mapping[str, int]],
        *,
        context: str = "",
        language: str = "English",
    ) -> AsyncIterator[tuple[str, tuple[QuickResult, ...]]]:
        """Yield an ended batch's results by custom id, in the API's order. `weights` are those of each part.

        Ids that are not in `weights` are skipped. Raises DescribeError's subclasses.
        """
        request_context = self._quick.request_context(
            context=context, language=language, factor=self._quick.batch_factor
        )
        for line in await self._lines(batch_id):
            part_weights = weights.get(line.custom_id)
            if part_weights is None:
                continue
            try:
                yield line.custom_id, self._read_line(line, part_weights, request_context)
            except (ValueError, TypeError, AttributeError):  # of another form than the API documents
                yield line.custom_id, _without_answer(part_weights, UNREADABLE)

    def _read_line(
        self, line: "MessageBatchIndividualResponse", weights: Mapping[str, int], request_context: RequestContext
    ) -> tuple[QuickResult, ...]:
        result = line.result
        if result.type == "succeeded":
            return read_message(result.message, weights, request_context, seconds=0.0)
        if result.type == "errored":
            error = result.error.error
            return _without_answer(
                weights,
                str(error_for_response(HTTPStatus.BAD_REQUEST, error.type, error.message, model=self._quick.model)),
            )
        return _without_answer(weights, EXPIRED if result.type == "expired" else CANCELED)

    async def find(
        self, custom_ids: Collection[str], *, since: datetime, others: Collection[str] = ()
    ) -> BatchFound | None:
        """Find the batch with these custom ids that was submitted at `since` or later; None if it is not listed.

        `others` are ids of batches known to be different ones. None is final once SETTLE_SECONDS have passed since
        the submission. Raises DescribeError's subclasses.
        """
        client, model = self._quick.client, self._quick.model
        candidate: BatchFound | None = None
        page = await client.call(_first_page, model=model)
        while True:
            for batch in page.batches:
                if batch.created_at < since - timedelta(seconds=MAX_CLOCK_SKEW_SECONDS):
                    return candidate
                if batch.id in others or batch.requests != len(custom_ids) or batch.is_archived:
                    continue
                if not batch.is_ended:
                    candidate = candidate or BatchFound(batch.id, is_certain=False)
                elif await self._contains(batch.id, custom_ids):
                    return BatchFound(batch.id, is_certain=True)
            if page.get_next is None:
                return candidate
            page = await client.call(page.get_next, model=model)

    async def _contains(self, batch_id: str, custom_ids: Collection[str]) -> bool:
        """Whether an ended batch has any of these custom ids. They are unique, so one match is enough."""
        return any(line.custom_id in custom_ids for line in await self._lines(batch_id))

    async def _lines(self, batch_id: str) -> "list[MessageBatchIndividualResponse]":
        async def read(sdk: "AsyncAnthropic") -> "list[MessageBatchIndividualResponse]":
            lines = [line async for line in await sdk.messages.batches.results(batch_id)]
            return [line for line in lines if isinstance(getattr(line, "custom_id", None), str)]

        return await self._call(batch_id, read)

    async def _call(self, batch_id: str, request: "Callable[[AsyncAnthropic], Awaitable[Result]]") -> Result:
        try:
            return await self._quick.client.call(request, model=self._quick.model)
        except NotFoundError:
            raise NotFoundError(
                f"Claude has no batch {batch_id} for this key: it was sent from another workspace, or deleted"
            ) from None


@dataclass(frozen=True, slots=True)
class _ListedBatch:
    """A batch in the API's list."""

    id: str
    created_at: datetime
    requests: int
    is_ended: bool
    is_archived: bool


@dataclass(frozen=True, slots=True)
class _ListPage:
    """A page of the API's list; `get_next` requests the next one, None: this is the last."""

    batches: tuple[_ListedBatch, ...]
    get_next: "Callable[[AsyncAnthropic], Awaitable[_ListPage]] | None"


async def _first_page(sdk: "AsyncAnthropic") -> _ListPage:
    return _read_page(await sdk.messages.batches.list(limit=LIST_PAGE_SIZE))


async def _next_page(page: "AsyncPage[MessageBatch]", _: "AsyncAnthropic") -> _ListPage:
    return _read_page(await page.get_next_page())


def _read_page(page: "AsyncPage[MessageBatch]") -> _ListPage:
    return _ListPage(
        tuple(_listed(batch) for batch in page.data), partial(_next_page, page) if page.has_next_page() else None
    )


def _listed(batch: "MessageBatch") -> _ListedBatch:
    counts = batch.request_counts
    return _ListedBatch(
        id=identifier(batch.id),
        created_at=_moment(batch.created_at),
        requests=counts.processing + counts.succeeded + counts.errored + counts.expired + counts.canceled,
        is_ended=batch.processing_status == "ended",
        is_archived=batch.archived_at is not None,
    )


def _moment(value: object) -> datetime:
    """A time of the API. Raises TypeError for other types and for a time without a zone."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("the response has no time")
    return value


def _without_answer(weights: Mapping[str, int], problem: str) -> tuple[QuickResult, ...]:
    return tuple(QuickResult(label, None, problem, ()) for label in weights)
