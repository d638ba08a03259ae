"""Quick looks by Claude in batches: half the price, an answer within a day.

Whoever submits stores the custom ids before and the batch's id right after; `find` is for the moment between the two.
The API does not say what a batch that is under way holds: until it has ended, `find` can only say that one may be ours.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from enrich.describe.claude.client import NotFoundError, RequestRefusedError, refused
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.claude.reply import answered
from enrich.describe.claude.request import MOST_BATCH_BYTES, weights
from enrich.describe.quick.protocol import LabelledImage, QuickResult

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.pagination import AsyncPage
    from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

SETTLE_SECONDS = 120  # a batch sent this long ago is in the list, if it was taken at all
CLOCK_SECONDS = 300  # so far may our clock be ahead of the API's
LIST_PAGE = 100
EXPIRED = "Claude did not get to this picture within a day"
Result = TypeVar("Result")
CANCELED = "the batch was cancelled before this picture"


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One request of a batch, known by an id of ours: letters, digits, `-` and `_`, up to 64."""

    custom_id: str
    pictures: tuple[LabelledImage, ...]

    @property
    def weights(self) -> dict[str, int]:
        """What each picture counts as input, by label: to be stored until the results are there."""
        return weights(self.pictures)


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. The counts are of requests; all but `processing` are zero until it has ended."""

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
    """A batch that is ours, or (`is_certain` False) may be: it is of our size and time, and has not ended."""

    id: str
    is_certain: bool


class ClaudeBatches:
    """Batches of quick looks, over the connection of a ClaudeQuick, with its model and events; its owner closes it."""

    def __init__(self, quick: ClaudeQuick) -> None:
        self._quick = quick

    async def submit(self, parts: Sequence[BatchPart], *, context: str = "", language: str = "English") -> str:
        """Send the parts as one batch; its id at Anthropic. Raises DescribeError's subclasses."""
        client = self._quick.client
        if len({part.custom_id for part in parts}) != len(parts):
            raise ValueError("custom ids must differ")
        requests = [
            {
                "custom_id": part.custom_id,
                "params": self._quick.request(part.pictures, context=context, language=language),
            }
            for part in parts
        ]
        size = sum(len(str(request)) for request in requests)
        if size > MOST_BATCH_BYTES:
            raise RequestRefusedError("the pictures are too many bytes for one batch: look at fewer key frames at once")
        batch = await client.call(
            lambda sdk: sdk.messages.batches.create(requests=requests),  # type: ignore[arg-type]  # dicts of that form
            model=self._quick.model,
        )
        return batch.id

    async def poll(self, batch_id: str) -> BatchState:
        """How far a batch is. Raises DescribeError's subclasses."""
        batch = await self._asked(batch_id, lambda sdk: sdk.messages.batches.retrieve(batch_id))
        counts = batch.request_counts
        return BatchState(
            id=batch.id,
            is_ended=batch.processing_status == "ended",
            processing=counts.processing,
            succeeded=counts.succeeded,
            errored=counts.errored,
            expired=counts.expired,
            canceled=counts.canceled,
            expires_at=batch.expires_at,
        )

    async def results(
        self,
        batch_id: str,
        weights: Mapping[str, Mapping[str, int]],
        *,
        context: str = "",
        language: str = "English",
    ) -> AsyncIterator[tuple[str, tuple[QuickResult, ...]]]:
        """The results of an ended batch, in the order they come, by custom id; `weights` are those of each part.

        Ids that are not in `weights` are passed over. Raises DescribeError's subclasses.
        """
        terms = self._quick.terms(context=context, language=language, factor=self._quick.batch_factor)
        for line in await self._lines(batch_id):
            held = weights.get(line.custom_id)
            if held is None:
                continue
            result = line.result
            if result.type == "succeeded":
                yield line.custom_id, answered(result.message, held, terms, seconds=0.0)
                continue
            if result.type == "errored":
                error = result.error.error
                problem = str(refused(400, error.type, error.message, model=self._quick.model))
            else:
                problem = EXPIRED if result.type == "expired" else CANCELED
            yield line.custom_id, tuple(QuickResult(label, None, problem, ()) for label in held)

    async def find(
        self, custom_ids: Collection[str], *, since: datetime, others: Collection[str] = ()
    ) -> BatchFound | None:
        """The batch with these custom ids, submitted at `since` or after; None if there is none in the list.

        `others` are the ids of batches that are known to be something else. None is final once SETTLE_SECONDS have
        passed since the sending. Raises DescribeError's subclasses.
        """
        client, model = self._quick.client, self._quick.model
        maybe: BatchFound | None = None
        page = await client.call(lambda sdk: sdk.messages.batches.list(limit=LIST_PAGE), model=model)
        while True:
            for batch in page.data:
                if batch.created_at < since - timedelta(seconds=CLOCK_SECONDS):
                    return maybe
                counts = batch.request_counts
                held = counts.processing + counts.succeeded + counts.errored + counts.expired + counts.canceled
                if batch.id in others or held != len(custom_ids) or batch.archived_at is not None:
                    continue
                if batch.processing_status != "ended":
                    maybe = maybe or BatchFound(batch.id, is_certain=False)
                elif await self._holds(batch.id, custom_ids):
                    return BatchFound(batch.id, is_certain=True)
            if not page.has_next_page():
                return maybe
            page = await client.call(partial(_next_page, page), model=model)

    async def _holds(self, batch_id: str, custom_ids: Collection[str]) -> bool:
        """Whether an ended batch is the one with these custom ids; one of them says so for all."""
        return any(line.custom_id in custom_ids for line in await self._lines(batch_id))

    async def _lines(self, batch_id: str) -> "list[MessageBatchIndividualResponse]":
        async def read(sdk: "AsyncAnthropic") -> "list[MessageBatchIndividualResponse]":
            return [line async for line in await sdk.messages.batches.results(batch_id)]

        return await self._asked(batch_id, read)

    async def _asked(self, batch_id: str, request: "Callable[[AsyncAnthropic], Awaitable[Result]]") -> Result:
        try:
            return await self._quick.client.call(request, model=self._quick.model)
        except NotFoundError:
            raise NotFoundError(
                f"Claude has no batch {batch_id} for this key: it was sent with a key of another workspace, or deleted"
            ) from None


async def _next_page(page: "AsyncPage[MessageBatch]", _: "AsyncAnthropic") -> "AsyncPage[MessageBatch]":
    return await page.get_next_page()
