"""Quick pass batches: submit a video's images to Claude, collect the results, each part once.

Submitting commits the batch first, sends it, and then commits its id, so a killed sender loses nothing and nothing is
sent twice. Any process may collect a batch: the command that sent it, another command, or a worker as a side task. A
lease decides which one. Problems are retried later; they never count as failures and never end a worker's run.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from db import batches, queue, reservations
from db.engine import reading, writing
from db.runs import ProcessIdentity
from enrich.costs import record_abandoned_requests
from enrich.describe.claude.batches import SETTLE_SECONDS, BatchPart, ClaudeBatches
from enrich.describe.claude.client import ImagesTakenError, NotFoundError, may_be_charged
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.quick.protocol import LabelledImage, QuickResult, ReservedRequest
from enrich.errors import EveryFrameError, ModelError, SettingsError
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.process import is_local, is_process_alive, this_process
from enrich.quick.plan import QuickPlan, describing
from enrich.quick.run import NO_ANSWER, reserve_requests, settle_part
from enrich.wording import format_count
from enrich.worker.leases import LeaseRenewal, sweep_abandoned

log = logging.getLogger(__name__)

FIRST_CHECK_SECONDS = 20.0  # from the submission to the first check
WATCH_SECONDS = 10.0  # between a worker's checks for due batches
SHORT_POLL_SECONDS = 5.0  # while a batch is young, or its id unknown
LONG_POLL_SECONDS = 60.0
SHORT_POLL_AGE_SECONDS = 300.0
CANCEL_SECONDS, CANCEL_POLL_SECONDS = 10.0, 1.0  # how long a cancelled batch is waited for when its video is removed
RETRY_SECONDS = 60.0  # after an error
REMOTE_SENDER_SECONDS = 900.0  # how long a sender on another machine is assumed to be alive
RESULT_LIFETIME_SECONDS = 29 * 86400.0  # Claude keeps results this long
PERMANENT_ERRORS = (ModelError, SettingsError, NotFoundError)  # a person must act
MISSING = "Claude returned no result for this frame"
SENDING, CHECKING = "it is being sent", "checking whether it was sent"
PROCESSING = "Claude has not ended it yet"
TOO_LATE = "the batch's results expired: they were not collected within 29 days"
LEASE_LOST = "another process is collecting this batch"
MAYBE_SENT = "cannot tell yet whether the batch was sent: Claude lists its requests when it has finished"


async def send_batch(
    library: Library, describer: ClaudeQuick, plan: QuickPlan, *, step: Callable[[str], None] = lambda _: None
) -> int:
    """Submit a plan's images as a batch and return the id of its task.

    Raises DescribeError's subclasses. If the batch may have arrived all the same, the task stays, and its collector
    finds out; nothing is sent twice. `step` is called with "begun" and "sent".
    """
    token = secrets.token_hex(6)
    images = await asyncio.to_thread(_free_images, library, describer, plan)
    requests = describer.parts(images)
    parts = [BatchPart(f"ef-{token}-{number}", images) for number, images in enumerate(requests)]
    about = {"context": plan.video.context, "language": library.settings.language}
    reserved = [ReservedRequest(part.custom_id, describer.most_usd(part.images, **about, batch=True)) for part in parts]
    now = datetime.now(UTC)
    batch = batches.Batch(
        model=describer.model,
        prompt_version=describer.prompt_version,
        context=plan.video.context,
        language=library.settings.language,
        usd=describer.estimate(images, **about, batch=True).usd,
        created_at=now.isoformat(),
        sender=asdict(this_process()),
        parts={part.custom_id: dict(part.weights) for part in parts},
    )

    def begin() -> int:
        costs = {
            one.id: ([image.label for image in part.images], one.usd) for one, part in zip(reserved, parts, strict=True)
        }
        with writing(library.engine) as connection:
            later = now + timedelta(seconds=FIRST_CHECK_SECONDS)
            begun = batches.begin(connection, plan.video.id, batch, not_before=later)
            what = describing(describer)
            reserve_requests(connection, library, costs, what, plan.after_call, now=now, task_id=begun)
            return begun

    def save_id(batch_id: str) -> None:
        with writing(library.engine) as connection:
            batches.record_sent(connection, task_id, batch_id)
            reservations.set_batch_id(connection, batch.parts, batch_id)

    def leave() -> None:
        with writing(library.engine) as connection:
            batches.hand_over(connection, task_id)

    def forget() -> None:
        with writing(library.engine) as connection:
            batches.discard(connection, task_id)
            reservations.release(connection, batch.parts)

    if not parts:
        raise ImagesTakenError(())
    task_id = await asyncio.to_thread(begin)
    step("begun")
    try:
        batch_id = await ClaudeBatches(describer).submit(parts, reserved, **about)
    except Exception as error:
        await asyncio.to_thread(leave if may_be_charged(error) else forget)
        raise
    except BaseException:  # for example, cancelled
        leave()
        raise
    step("sent")
    await asyncio.to_thread(save_id, batch_id)
    return task_id


def _free_images(library: Library, describer: ClaudeQuick, plan: QuickPlan) -> tuple[LabelledImage, ...]:
    """The plan's images without those that another process has taken meanwhile."""
    labels = [image.label for image in plan.to_ask]
    with reading(library.engine) as connection:
        taken = reservations.taken_labels(connection, labels, describing(describer), after_call=plan.after_call)
    return tuple(image for image in plan.to_ask if image.label not in taken)


@dataclass(frozen=True, slots=True)
class CollectResult:
    """The state of a batch after one attempt to collect it."""

    task_id: int
    video_id: int
    waiting_for: str | None  # None: it is done
    is_stuck: bool = False  # until a person acts


async def collect_batch(
    library: Library,
    *,
    run_id: int | None = None,
    video_ids: Collection[int] | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> CollectResult | None:
    """Collect one batch that is due; None if none is. Errors of Claude and the network are not raised."""

    def claim() -> queue.ClaimedTask | None:
        with writing(library.engine) as connection:
            host, now = str(this_process()), datetime.now(UTC)
            sweep_abandoned(connection, now=now)  # a previous collector may have been killed
            return batches.claim(connection, run_id=run_id, host=host, now=now, video_ids=video_ids)

    def has_open() -> bool:
        with reading(library.engine) as connection:
            return bool(batches.open_batches(connection, video_ids))

    task = await asyncio.to_thread(claim) if await asyncio.to_thread(has_open) else None
    if task is None:
        return None
    collector = _BatchCollector(library, task, batches.batch_of(task), on_wait)
    with LeaseRenewal(library.engine, [task]):
        try:
            return await collector.collect()
        except queue.LeaseLostError:
            return collector.result(LEASE_LOST)
        except EveryFrameError as error:
            return await collector.wait(str(error), RETRY_SECONDS, is_stuck=isinstance(error, PERMANENT_ERRORS))
        except BaseException:
            await asyncio.shield(collector.wait("collecting was interrupted", 0.0))
            raise


class _BatchCollector:
    """Collects one claimed batch."""

    def __init__(
        self, library: Library, task: queue.ClaimedTask, batch: batches.Batch, on_wait: Callable[[str], None]
    ) -> None:
        self._library = library
        self._task = task
        self._batch = batch
        self._on_wait = on_wait

    async def collect(self) -> CollectResult:
        """Find the batch, poll it and save its results. Raises LeaseLostError, or EveryFrameError to retry later."""
        settings = self._library.settings
        describer = ClaudeQuick(settings, model=self._batch.model, on_wait=self._on_wait)
        try:
            claude = ClaudeBatches(describer)
            batch_id = self._batch.batch_id
            if batch_id is None:
                found = await self._find(claude)
                if isinstance(found, CollectResult):
                    return found
                batch_id = found
            if self._age() > RESULT_LIFETIME_SECONDS:
                return await self._finish(TOO_LATE)
            state = await claude.poll(batch_id)
            if not state.is_ended:
                requests = format_count(len(self._batch.parts), "request")
                return await self.wait(f"Claude is processing {requests}", self._poll_seconds())
            about_request = {"context": self._batch.context, "language": self._batch.language}
            async for custom_id, results in claude.results(batch_id, self._batch.parts, **about_request):
                await asyncio.to_thread(self._save, custom_id, results)
            return await self._finish(MISSING)
        finally:
            await describer.close()

    async def wait(self, reason: str, seconds: float, *, is_stuck: bool = False) -> CollectResult:
        """Release the task, to be claimed again later."""

        def release() -> None:
            later = datetime.now(UTC) + timedelta(seconds=seconds)
            with writing(self._library.engine) as connection:
                queue.release(connection, self._task, reason=reason, not_before=later)

        try:
            await asyncio.to_thread(release)
        except queue.LeaseLostError:
            return self.result(LEASE_LOST)
        return replace(self.result(reason), is_stuck=is_stuck)

    def result(self, waiting_for: str | None) -> CollectResult:
        """The batch's state; `waiting_for` None: it is done."""
        return CollectResult(self._task.id, self._task.video_id, waiting_for)

    async def _find(self, claude: ClaudeBatches) -> str | CollectResult:
        """The id of a batch whose sender did not save it; or a result: wait, or it was never sent."""
        if self._batch.is_sending and _is_alive(self._batch.sent_by, self._age()):
            return await self.wait(SENDING, SHORT_POLL_SECONDS)
        with reading(self._library.engine) as connection:
            others = batches.known_batch_ids(connection)
        found = await claude.find(self._batch.parts.keys(), since=self._batch.created, others=others)
        if found is None:
            if self._age() < SETTLE_SECONDS:
                return await self.wait(CHECKING, SHORT_POLL_SECONDS)
            with writing(self._library.engine) as connection:
                batches.discard(connection, self._task.id)
                reservations.release(connection, self._batch.parts)
            log.info("batch was never sent", extra=about(Action.BATCH_COLLECTED, video=self._task.video_id))
            return self.result(None)
        if not found.is_certain:
            return await self.wait(MAYBE_SENT, self._poll_seconds())
        with writing(self._library.engine) as connection:
            batches.identify(connection, self._task, found.id)
            reservations.set_batch_id(connection, self._batch.parts, found.id)
        return found.id

    def _save(self, custom_id: str, results: tuple[QuickResult, ...]) -> None:
        """Save a part's results, unless they are saved already."""
        with writing(self._library.engine) as connection:
            problems = _problems(results)
            if batches.record_part(connection, self._task, custom_id, problems, now=datetime.now(UTC)):
                settle_part(connection, custom_id, results, self._batch.prompt_version)

    async def _finish(self, problem: str) -> CollectResult:
        """Mark the batch as done. Frames without a saved result get this problem."""

        def finish() -> None:
            with writing(self._library.engine) as connection:
                row = batches.batch(connection, self._task.id)
                parts = row.batch.parts if row is not None else {}
                saved = row.batch.saved if row is not None else []
                missing = [name for name in parts if name not in saved]
                left = {label: problem for name in missing for label in parts[name]}
                for name in missing:  # there is no result to tell whether it was charged
                    reservations.record_uncertain(connection, name, problem)
                batches.finish(connection, self._task, left)

        await asyncio.to_thread(finish)
        log.info("batch collected", extra=about(Action.BATCH_COLLECTED, video=self._task.video_id))
        return self.result(None)

    def _poll_seconds(self) -> float:
        return SHORT_POLL_SECONDS if self._age() < SHORT_POLL_AGE_SECONDS else LONG_POLL_SECONDS

    def _age(self) -> float:
        return (datetime.now(UTC) - self._batch.created).total_seconds()


async def collect_orphans(library: Library, *, cancels: bool = False) -> list[str]:
    """Record the costs of batches whose videos were removed. Returns why some are still under way. Raises nothing.

    `cancels`: ask Claude to cancel them first; what it has processed by then is charged. Any number of processes may do
    this at once: a request's cost is recorded by the one that deletes its reservation.
    """
    with reading(library.engine) as connection:
        orphans = reservations.orphan_batches(connection)
        known_ids = batches.known_batch_ids(connection)
    waiting_for: list[str | None] = []
    for orphan in orphans:
        try:
            describer = ClaudeQuick(library.settings, model=orphan.model, max_wait_seconds=0.0)
            try:
                reason = await _collect_orphan(library, ClaudeBatches(describer), orphan, known_ids, cancels=cancels)
            finally:
                await describer.close()
        except EveryFrameError as error:
            reason = str(error)
        waiting_for.append(reason)
    return [reason for reason in waiting_for if reason is not None]


async def cancel_orphans(library: Library) -> list[str]:
    """Cancel the batches of removed videos, and record their costs once that is done; returns as `collect_orphans`."""
    end = time.monotonic() + CANCEL_SECONDS
    while True:
        waiting_for = await collect_orphans(library, cancels=True)
        if not set(waiting_for) & {PROCESSING} or time.monotonic() >= end:
            return waiting_for
        await asyncio.sleep(CANCEL_POLL_SECONDS)


async def _collect_orphan(
    library: Library,
    claude: ClaudeBatches,
    orphan: reservations.OrphanBatch,
    known_ids: Collection[str],
    *,
    cancels: bool,
) -> str | None:
    """Why the batch is still under way; None: its cost is recorded. Raises DescribeError's subclasses."""
    age = (datetime.now(UTC) - orphan.created_at).total_seconds()
    batch_id, waiting_for = await _orphan_id(library, claude, orphan, known_ids, age)
    if batch_id is None:
        return waiting_for
    if age <= RESULT_LIFETIME_SECONDS:
        state = await claude.poll(batch_id)
        if not state.is_ended and cancels:
            await claude.cancel(batch_id)
            state = await claude.poll(batch_id)
        if not state.is_ended:
            return PROCESSING
        weights = {name: dict.fromkeys(labels, 1) for name, labels in orphan.requests.items()}
        async for custom_id, results in claude.results(batch_id, weights):
            with writing(library.engine) as connection:
                settle_part(connection, custom_id, results, orphan.prompt_version)
    with writing(library.engine) as connection:
        for name in orphan.requests:
            reservations.record_uncertain(connection, name, MISSING)
    log.info("batch of a removed video collected", extra=about(Action.BATCH_COLLECTED))
    return None


async def _orphan_id(
    library: Library, claude: ClaudeBatches, orphan: reservations.OrphanBatch, known_ids: Collection[str], age: float
) -> tuple[str | None, str | None]:
    """The batch's id, or why it is not known yet; neither if it never arrived, and its reservations are released."""
    if orphan.batch_id is not None:
        return orphan.batch_id, None
    if _is_alive(orphan.sender, age):
        return None, SENDING
    found = await claude.find(orphan.requests, since=orphan.created_at, others=known_ids)
    if found is not None and not found.is_certain:
        return None, MAYBE_SENT
    if found is None and age < SETTLE_SECONDS:
        return None, CHECKING
    with writing(library.engine) as connection:
        if found is None:
            reservations.release(connection, orphan.requests)
            return None, None
        reservations.set_batch_id(connection, orphan.requests, found.id)
    return found.id, None


def _is_alive(sender: ProcessIdentity | None, age: float) -> bool:
    """Whether the sender of a batch may still be at it."""
    is_here = sender is not None and is_local(sender)
    return is_process_alive(sender) if sender is not None and is_here else age < REMOTE_SENDER_SECONDS


def _problems(results: tuple[QuickResult, ...]) -> dict[str, str]:
    return {one.label: one.problem or NO_ANSWER for one in results if one.answer is None}


async def watch_batches(library: Library, run_id: int) -> None:
    """Collect batches as they complete, until cancelled. A side task of the worker: it raises nothing.

    It also records what killed senders may have paid for.
    """
    orphans_at = float("-inf")
    while True:
        try:
            if time.monotonic() - orphans_at >= LONG_POLL_SECONDS:
                orphans_at = time.monotonic()
                await asyncio.to_thread(record_abandoned_requests, library.engine)
                await collect_orphans(library)
            collected = await collect_batch(library, run_id=run_id)
        except Exception as error:  # noqa: BLE001  # must not end the run; the batch is retried later
            _log("collecting batches failed; retrying: %s", error)
        else:
            if collected is not None and collected.waiting_for is not None:
                _log("batch not collected yet; retrying: %s", collected.waiting_for, video=collected.video_id)
        await asyncio.sleep(WATCH_SECONDS)


def _log(text: str, reason: object, **where: Any) -> None:
    log.info(text, reason, extra=about(Action.BATCH_WAITING, **where))
