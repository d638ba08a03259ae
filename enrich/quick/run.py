"""Runs a quick pass: several requests in flight, each answer saved as it arrives.

However it ends, every received answer is saved. The most that a request to a paid service may cost is set aside before
it is sent, in the transaction that checks the monthly budget and claims its images. A request in flight that is lost
may have been paid for: it is recorded as if it was, and its images are not sent again unless the user agrees. It ends
early with the first error that the next request would meet as well.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Connection

from db import quick, reservations, store
from db.engine import writing
from db.errors import StorageError
from db.models import QUICK
from db.queries import FrameRow
from db.reservations import Describing, frame_of
from enrich.costs import check_budget
from enrich.describe.baseline import LIVELY
from enrich.describe.claude.client import UNREADABLE, ImagesTakenError, may_be_charged
from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.prompt import OTHER
from enrich.describe.quick.protocol import MAX_EXCITEMENT, LabelledImage, QuickDescriber, QuickResult, ReservedRequest
from enrich.errors import BudgetError, CallFailedError, CallTimeoutError, DescribeError, EveryFrameError
from enrich.library.library import Library
from enrich.library.records import call_records, searchable_text
from enrich.process import this_process
from enrich.quick.plan import QuickPlan, describing
from enrich.worker import database_thread
from enrich.worker.database_thread import Outage

MAX_CONCURRENT_REQUESTS = 4  # to Claude; fifty images are five requests
MAX_FAILURES = 2  # consecutive failed requests before the run ends
NO_ANSWER = "the describer gave no answer for this frame"
IN_FLIGHT = "the request was interrupted"
Result = TypeVar("Result")


def save_results(
    connection: Connection,
    results: Sequence[QuickResult],
    frames: Mapping[int, FrameRow],
    *,
    frame_ids: Mapping[str, int | None] | None = None,
    now: datetime,
) -> dict[str, str]:
    """Save a request's answers and record its calls. Returns the reasons of images without an answer, by label.

    `frames` are needed only for a describer that measures. `frame_ids`: by label, None for a frame that was removed
    after it was sent; its cost is recorded all the same. `now` is, for a paid request, when it was sent.
    """
    problems = {}
    for result in results:
        frame_id = frame_of(result.label) if frame_ids is None else frame_ids.get(result.label)
        quick_answer = result.answer
        answer = Answer(
            description=None if quick_answer is None else Description(quick_answer.description, quick_answer.tags),
            calls=result.calls,
            kept=result.kept or 0,
            unverified_names=_unverified_names(result),
        )
        calls = call_records(answer)
        if quick_answer is None or answer.description is None or frame_id is None:
            problems[result.label] = result.problem or NO_ANSWER
            store.record_calls(connection, frame_id, calls, pass_=QUICK, now=now)
            continue
        searchable = searchable_text(answer.description, answer.unverified_names)
        event = quick_answer.event_type or None
        excitement: float | None = quick_answer.excitement
        if event is None:
            frame = frames.get(frame_id)
            excitement = excitement_from_motion(frame.motion if frame else None)
        description = quick.NewQuickDescription(
            text=quick_answer.description,
            tags=quick_answer.tags,
            event_type=event,
            excitement=excitement,
            search_text=searchable.text,
            search_tags=(*searchable.tags, *((event,) if event not in (None, OTHER, *searchable.tags) else ())),
        )
        quick.save_quick_description(connection, frame_id, description, calls, now=now)
    return problems


def excitement_from_motion(motion: float | None) -> float | None:
    """An excitement of 0 to 10 derived from motion alone; None if motion was not measured."""
    return None if motion is None else round(MAX_EXCITEMENT * (1 - math.exp(-motion / LIVELY)), 1)


def _unverified_names(result: QuickResult) -> tuple[str, ...]:
    """The names in the chosen reply that no image shows."""
    if result.kept is None:
        return ()
    warnings = result.calls[result.kept].warnings
    return tuple(warning.detail for warning in warnings if warning.problem is Problem.CONTEXT_NAME)


@dataclass(slots=True)
class QuickRunResult:
    """The totals of a quick pass so far, over one or several videos."""

    answered: int = 0
    taken: int = 0  # images that another process describes, or has described meanwhile
    usd: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    problems: dict[str, str] = field(default_factory=dict)  # by label: why an image was not described
    error: EveryFrameError | None = None  # what ended the run early

    def count(self, results: Sequence[QuickResult]) -> None:
        """Add a request's results and cost."""
        calls = [call for result in results for call in result.calls]
        self.answered += sum(result.answer is not None for result in results)
        self.usd += sum(call.cost_usd for call in calls)
        self.prompt_tokens += sum(call.prompt_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)


class LibraryPayments:
    """Payments for the requests about one video, on the library's database: see `db.reservations`.

    A database that is locked or full is retried, because what is recorded has cost money.
    """

    def __init__(self, library: Library, what: Describing, *, after_call: int, stop: asyncio.Event) -> None:
        """`after_call`: the last recorded call when the user agreed to what is sent."""
        self._library = library
        self._what = what
        self._after_call = after_call
        self._stop = stop

    async def reserve(
        self, labels: Sequence[str], most_usd: float, *, retry_of: ReservedRequest | None = None
    ) -> ReservedRequest:
        """See Payments."""
        reservation = ReservedRequest(secrets.token_hex(8), most_usd)

        def transaction(connection: Connection) -> None:
            now = datetime.now(UTC)
            if retry_of is not None:
                check_budget(connection, self._library.settings, most_usd, now=now)
                [label] = labels
                is_held = reservations.reserve_again(
                    connection, retry_of.id, label, most_usd, new_request=reservation.id, now=now
                )
                if not is_held:  # removed
                    raise ImagesTakenError(labels)
                return
            reserve_requests(
                connection, self._library, {reservation.id: (labels, most_usd)}, self._what, self._after_call, now=now
            )

        await asyncio.to_thread(self._write, transaction)
        return reservation

    async def settle(
        self, reservation: ReservedRequest, results: Sequence[QuickResult], *, hold: Sequence[str]
    ) -> None:
        """See Payments."""

        def transaction(connection: Connection) -> None:
            sent = reservations.open_request(connection, reservation.id)
            frame_ids = sent.frame_ids if sent is not None else None  # None: it was taken for abandoned
            now = sent.created_at if sent is not None else datetime.now(UTC)
            save_results(connection, results, {}, frame_ids=frame_ids, now=now)
            reservations.hold(connection, reservation.id, hold)

        await asyncio.to_thread(self._write, transaction)

    async def fail(self, reservation: ReservedRequest, error: BaseException) -> None:
        """See Payments."""

        def transaction(connection: Connection) -> None:
            if may_be_charged(error):
                reservations.record_uncertain(connection, reservation.id, str(error) or IN_FLIGHT)
            else:
                reservations.release(connection, [reservation.id])

        await asyncio.to_thread(self._write, transaction)

    async def release(self, reservation: ReservedRequest) -> None:
        """See Payments."""
        await asyncio.to_thread(self._write, lambda connection: reservations.release(connection, [reservation.id]))

    def save(self, results: Sequence[QuickResult], frames: Mapping[int, FrameRow]) -> dict[str, str]:
        """Save the answers of a describer that costs nothing. Returns as `save_results`."""
        return self._write(lambda connection: save_results(connection, results, frames, now=datetime.now(UTC)))

    def _write(self, transaction: Callable[[Connection], Result]) -> Result:
        """Run a transaction until the database takes it, or is to stop waiting for it."""
        waiting = Outage()
        while True:
            try:
                with writing(self._library.engine) as connection:
                    return transaction(connection)
            except StorageError as error:
                if self._stop.is_set():
                    waiting.stop()
                waiting.failed("answers", error)
            time.sleep(database_thread.RETRY_SECONDS)


def reserve_requests(
    connection: Connection,
    library: Library,
    requests: Mapping[str, tuple[Sequence[str], float]],
    what: Describing,
    after_call: int,
    *,
    now: datetime,
    task_id: int | None = None,
) -> None:
    """Set money aside for requests: by id, the labels of their images and the most they may cost. In one transaction.

    Raises ImagesTakenError if some of the images must not be sent, or BudgetError.
    """
    labels = [label for images, _ in requests.values() for label in images]
    if taken := reservations.taken_labels(connection, labels, what, after_call=after_call):
        raise ImagesTakenError(taken)
    check_budget(connection, library.settings, sum(usd for _, usd in requests.values()), now=now)
    sender = this_process()
    for request, (images, usd) in requests.items():
        shares = dict.fromkeys(images, usd / len(images))
        reservations.reserve(connection, request, shares, what, sender=sender, now=now, task_id=task_id)


def settle_part(connection: Connection, custom_id: str, results: Sequence[QuickResult], prompt_version: str) -> None:
    """Save the answers of a batch's request, and record its cost instead of its reservation. Once.

    `prompt_version`: the one that was current when it was sent.
    """
    sent = reservations.open_request(connection, custom_id)
    if sent is None:
        return
    if any(one.problem == UNREADABLE for one in results):
        reservations.record_uncertain(connection, custom_id, UNREADABLE)
        return
    found = [
        replace(one, calls=tuple(replace(call, prompt_version=prompt_version) for call in one.calls)) for one in results
    ]
    save_results(connection, found, {}, frame_ids=sent.frame_ids, now=sent.created_at)
    reservations.release(connection, [custom_id])


async def run_quick_pass(
    library: Library,
    describer: QuickDescriber,
    plan: QuickPlan,
    *,
    totals: QuickRunResult,
    stop: asyncio.Event,
    on_answers: Callable[[], None] = lambda: None,
) -> None:
    """Describe a plan's images and add to `totals`. Once `stop` is set, only the requests in flight are finished."""
    concurrency = MAX_CONCURRENT_REQUESTS if describer.recipient else library.settings.concurrency
    parts = iter(describer.parts(plan.to_ask))
    payments = LibraryPayments(library, describing(describer), after_call=plan.after_call, stop=stop)
    run = _QuickRun(library, describer, payments, plan, totals, stop, on_answers)
    await asyncio.gather(*(run.work(parts) for _ in range(concurrency)))


@dataclass(slots=True)
class _QuickRun:
    """One video's requests."""

    library: Library
    describer: QuickDescriber
    payments: LibraryPayments
    plan: QuickPlan
    totals: QuickRunResult
    stop: asyncio.Event
    on_answers: Callable[[], None]
    failures: int = 0  # in a row

    async def work(self, parts: Iterator[tuple[LabelledImage, ...]]) -> None:
        """Take parts from the shared iterator, one after the other."""
        for part in parts:
            if self.stop.is_set() or self.totals.error is not None:
                return
            try:
                results = await self._ask(part)
            except (CallTimeoutError, CallFailedError) as error:
                self.totals.problems |= {image.label: str(error) for image in part}
                self.failures += 1
                if self.failures >= MAX_FAILURES:
                    self._end(error)
            except (DescribeError, BudgetError) as error:
                self._end(error)
            else:
                self.failures = 0
                self.totals.count(results)
                problems = {one.label: one.problem or NO_ANSWER for one in results if one.answer is None}
                if not self.describer.recipient:
                    problems = await asyncio.to_thread(self.payments.save, results, self.plan.frames)
                self.totals.problems |= problems
            self.on_answers()

    async def _ask(self, part: tuple[LabelledImage, ...]) -> tuple[QuickResult, ...]:
        """The results of a part, without the images that another process is describing."""
        about = {"context": self.plan.video.context, "language": self.library.settings.language}
        while part:
            try:
                return await self.describer.ask(part, self.payments, **about)
            except ImagesTakenError as error:
                left = tuple(image for image in part if image.label not in error.labels)
                self.totals.taken += len(part) - len(left)
                part = left
        return ()

    def _end(self, error: EveryFrameError) -> None:
        if self.totals.error is None:
            self.totals.error = error
