"""Looking after batches: whether they arrived, whether they are done, and saving their answers, each part once.

Anybody may do it, the command that sent a batch, another one, or a worker beside its own work; a lease says who does it
now. What cannot be done now is tried again later; nothing here is ever counted as a failure, or ends a worker's run.

Sending a film's pictures as a batch: first what is about to be sent is committed, then it is sent, then its id.

Looking after batches beside a worker's own work: what goes wrong with them is said, and disturbs nothing else.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from db import batches, queue
from db.engine import reading, writing
from enrich.describe.claude.batches import SETTLE_SECONDS, BatchPart, ClaudeBatches
from enrich.describe.claude.client import NotFoundError
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.quick.protocol import QuickResult
from enrich.errors import CallTimeoutError, DescribeError, EveryFrameError, HostError, ModelError, SettingsError
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.process import is_here, lives, this_process
from enrich.quick.plan import QuickPlan
from enrich.quick.run import save_results
from enrich.wording import counted
from enrich.worker.heartbeat import held

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 20.0  # after which somebody looks after it
UNCERTAIN = (HostError, CallTimeoutError)  # it may have arrived all the same
SOON_SECONDS = 5.0  # while it is young, or not yet known
LATER_SECONDS = 60.0
YOUNG_SECONDS = 300.0
TROUBLE_SECONDS = 60.0  # after an error
FAR_SENDER_SECONDS = 900.0  # how long another machine is given to send
KEPT_SECONDS = 29 * 86400.0  # so long results can be had
STUCK = (ModelError, SettingsError, NotFoundError)  # time alone mends none of them
MISSING = "Claude's answers have no line for this picture"
TOO_LATE = "the batch's answers were not fetched within 29 days"
LOOK_SECONDS = 10.0  # between two looks for a batch that is due


async def send(
    library: Library, describer: ClaudeQuick, plan: QuickPlan, *, step: Callable[[str], None] = lambda _: None
) -> int:
    """Send a plan's pictures; the task that stands for the batch.

    Raises DescribeError's subclasses. If it is not certain that nothing arrived, the task stays, and whoever looks
    after it finds out: nothing is sent twice. `step` hears how far it is.
    """
    token = secrets.token_hex(6)
    cut = describer.parts(plan.wanted)
    parts = [BatchPart(f"ef-{token}-{number}", pictures) for number, pictures in enumerate(cut)]
    now = datetime.now(UTC)
    batch = batches.Batch(
        model=describer.model,
        prompt_version=describer.prompt_version,
        context=plan.video.context,
        language=library.settings.language,
        usd=plan.estimate.usd,
        created_at=now.isoformat(),
        sender=asdict(this_process()),
        parts={part.custom_id: dict(part.weights) for part in parts},
    )

    def begin() -> int:
        with writing(library.engine) as connection:
            later = now + timedelta(seconds=FIRST_LOOK_SECONDS)
            return batches.begin(connection, plan.video.id, batch, not_before=later)

    def note(batch_id: str) -> None:
        with writing(library.engine) as connection:
            batches.record_sent(connection, task_id, batch_id)

    def leave() -> None:
        with writing(library.engine) as connection:
            batches.hand_over(connection, task_id)

    def forget() -> None:
        with writing(library.engine) as connection:
            batches.discard(connection, task_id)

    task_id = await asyncio.to_thread(begin)
    step("begun")
    try:
        batch_id = await ClaudeBatches(describer).submit(parts, context=batch.context, language=batch.language)
    except DescribeError as error:
        await asyncio.to_thread(leave if isinstance(error, UNCERTAIN) else forget)
        raise
    except BaseException:  # cancelled, say
        leave()
        raise
    step("sent")
    await asyncio.to_thread(note, batch_id)
    return task_id


@dataclass(frozen=True, slots=True)
class CollectResult:
    """What came of looking after one batch once. `says`: what it waits for; None: it is done."""

    task_id: int
    video_id: int
    says: str | None
    is_stuck: bool = False  # until a person does something


async def collect_one(
    library: Library,
    *,
    run_id: int | None = None,
    video_ids: Collection[int] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> CollectResult | None:
    """Look after one batch that is due; None if none is. Never raises for what Claude or the network does."""

    def claim() -> queue.ClaimedTask | None:
        with writing(library.engine) as connection:
            host, now = this_process().hostname, datetime.now(UTC)
            queue.sweep(connection, now=now)  # whoever had one in hand may have been killed
            return batches.claim(connection, run_id=run_id, host=host, now=now, video_ids=video_ids)

    def is_any() -> bool:
        with reading(library.engine) as connection:
            return bool(batches.open_batches(connection, video_ids))

    job = await asyncio.to_thread(claim) if await asyncio.to_thread(is_any) else None
    if job is None:
        return None
    care = _BatchCollector(library, job, batches.batch_of(job), told)
    with held(library.engine, job):
        try:
            return await care.look_after()
        except queue.LeaseLostError:
            return care.collected("somebody else looks after it")
        except EveryFrameError as error:
            return await care.wait(str(error), TROUBLE_SECONDS, is_stuck=isinstance(error, STUCK))
        except BaseException:
            await asyncio.shield(care.wait("it was interrupted", 0.0))
            raise


class _BatchCollector:
    """One batch, claimed."""

    def __init__(
        self, library: Library, job: queue.ClaimedTask, batch: batches.Batch, told: Callable[[str], None]
    ) -> None:
        self._library = library
        self._job = job
        self._batch = batch
        self._told = told

    async def look_after(self) -> CollectResult:
        """Find it, poll it, save its answers. Raises LeaseLostError, or EveryFrameError with what to wait for."""
        settings = self._library.settings
        describer = ClaudeQuick(settings, model=self._batch.model, told=self._told)
        try:
            claude = ClaudeBatches(describer)
            batch_id = self._batch.batch_id
            if batch_id is None:
                found = await self._find(claude)
                if isinstance(found, CollectResult):
                    return found
                batch_id = found
            if self._age() > KEPT_SECONDS:
                return await self._finish(TOO_LATE)
            state = await claude.poll(batch_id)
            if not state.is_ended:
                of = counted(len(self._batch.parts), "request")
                pause = SOON_SECONDS if self._age() < YOUNG_SECONDS else LATER_SECONDS
                return await self.wait(f"Claude is working on {of}", pause)
            terms = {"context": self._batch.context, "language": self._batch.language}
            async for custom_id, answers in claude.results(batch_id, self._batch.parts, **terms):
                await asyncio.to_thread(self._save, custom_id, answers)
            return await self._finish(MISSING)
        finally:
            await describer.close()

    async def wait(self, says: str, seconds: float, *, is_stuck: bool = False) -> CollectResult:
        """Give it back, to be looked after again later."""

        def work() -> None:
            later = datetime.now(UTC) + timedelta(seconds=seconds)
            with writing(self._library.engine) as connection:
                queue.release(connection, self._job, reason=says, not_before=later)

        try:
            await asyncio.to_thread(work)
        except queue.LeaseLostError:
            return self.collected("somebody else looks after it")
        return replace(self.collected(says), is_stuck=is_stuck)

    def collected(self, says: str | None) -> CollectResult:
        """How it stands."""
        return CollectResult(self._job.id, self._job.video_id, says)

    async def _find(self, claude: ClaudeBatches) -> str | CollectResult:
        """The id of a batch whose sender has not noted it; or what to wait for, or that it never arrived."""
        sender = self._batch.sent_by
        is_in_hand = lives(sender) if is_here(sender) else self._age() < FAR_SENDER_SECONDS
        if is_in_hand and self._batch.is_sending:
            return await self.wait("it is being sent", SOON_SECONDS)
        with reading(self._library.engine) as connection:
            others = batches.known_batch_ids(connection)
        found = await claude.find(self._batch.parts.keys(), since=self._batch.created, others=others)
        if found is None:
            if self._age() < SETTLE_SECONDS:
                return await self.wait("whether it was sent is being found out", SOON_SECONDS)
            with writing(self._library.engine) as connection:
                batches.discard(connection, self._job.id)
            log.info("a batch was never sent", extra=about(Action.BATCH_COLLECTED, video=self._job.video_id))
            return self.collected(None)
        if not found.is_certain:
            pause = SOON_SECONDS if self._age() < YOUNG_SECONDS else LATER_SECONDS
            return await self.wait("whether it was sent is known when Claude is done", pause)
        with writing(self._library.engine) as connection:
            batches.identify(connection, self._job, found.id)
        return found.id

    def _save(self, custom_id: str, answers: tuple[QuickResult, ...]) -> None:
        """Save a part, unless it is saved."""
        version = self._batch.prompt_version
        answers = tuple(
            replace(one, calls=tuple(replace(call, prompt_version=version) for call in one.calls)) for one in answers
        )
        now = datetime.now(UTC)
        with writing(self._library.engine) as connection:
            if not batches.record_part(connection, self._job, custom_id, _problems(answers), now=now):
                return
            save_results(connection, answers, {}, now=now)

    async def _finish(self, problem: str) -> CollectResult:
        """It is done; what is not saved has this problem."""

        def work() -> None:
            with writing(self._library.engine) as connection:
                row = batches.batch(connection, self._job.id)
                parts = row.batch.parts if row is not None else {}
                saved = row.batch.saved if row is not None else []
                left = {label: problem for name, labels in parts.items() if name not in saved for label in labels}
                batches.finish(connection, self._job, left)

        await asyncio.to_thread(work)
        log.info("a batch is done", extra=about(Action.BATCH_COLLECTED, video=self._job.video_id))
        return self.collected(None)

    def _age(self) -> float:
        return (datetime.now(UTC) - self._batch.created).total_seconds()


def _problems(answers: tuple[QuickResult, ...]) -> dict[str, str]:
    return {one.label: one.problem or "there was no answer" for one in answers if one.answer is None}


async def watch_batches(library: Library, run_id: int) -> None:
    """Collect batches as they complete, until cancelled. A side task of the worker: it raises nothing."""
    while True:
        try:
            collected = await collect_one(library, run_id=run_id)
        except Exception as error:  # noqa: BLE001  # the night goes on: the batch is looked after again later
            _say("batches wait: %s", error)
        else:
            if collected is not None and collected.says is not None:
                _say("a batch waits: %s", collected.says, video=collected.video_id)
        await asyncio.sleep(LOOK_SECONDS)


def _say(text: str, said: object, **where: Any) -> None:
    log.info(text, said, extra=about(Action.BATCH_WAITING, **where))
