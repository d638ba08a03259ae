"""Runs a quick pass: several requests in flight, each answer saved as it arrives.

However it ends, every received answer is saved; at most the requests in flight are lost. Before each request the
monthly budget is checked again, because other processes spend too. It ends early with the first error that the next
request would meet as well.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import batches, quick, store
from db.engine import reading, writing
from db.errors import StorageError
from db.models import QUICK
from db.queries import FrameRow
from enrich.costs import check_budget
from enrich.describe.baseline import LIVELY
from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.events import OTHER
from enrich.describe.quick.protocol import MAX_EXCITEMENT, LabelledImage, QuickDescriber, QuickResult
from enrich.errors import BudgetError, CallFailedError, CallTimeoutError, DescribeError, EveryFrameError
from enrich.library.library import Library
from enrich.library.records import call_records, searchable_text
from enrich.quick.plan import QuickPlan, estimate_cost
from enrich.worker import database_thread
from enrich.worker.database_thread import Outage

MAX_CONCURRENT_REQUESTS = 4  # to Claude; fifty images are five requests
MAX_FAILURES = 2  # consecutive failed requests before the run ends
NO_ANSWER = "the describer gave no answer for this frame"


def save_results(
    connection: Connection, results: Sequence[QuickResult], frames: Mapping[int, FrameRow], *, now: datetime
) -> dict[str, str]:
    """Save a request's answers and record its calls. Returns the reasons of images without an answer, by label.

    `frames` are needed only for a describer that measures. The cost of a deleted frame is recorded all the same.
    """
    problems = {}
    for result in results:
        frame_id = batches.frame_of(result.label)
        quick_answer = result.answer
        answer = Answer(
            description=None if quick_answer is None else Description(quick_answer.description, quick_answer.tags),
            calls=result.calls,
            kept=result.kept or 0,
            unverified_names=_unverified_names(result),
        )
        calls = call_records(answer)
        if quick_answer is None or answer.description is None:
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
    problems: dict[str, str] = field(default_factory=dict)  # by label: why there is no answer
    usd: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: EveryFrameError | None = None  # that ended the pass

    def count(self, results: Sequence[QuickResult]) -> None:
        """Add a request's results and cost."""
        calls = [call for result in results for call in result.calls]
        self.answered += sum(result.answer is not None for result in results)
        self.usd += sum(call.cost_usd for call in calls)
        self.prompt_tokens += sum(call.prompt_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)


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
    run = _QuickRun(library, describer, plan, totals, stop, on_answers)
    await asyncio.gather(*(run.work(parts) for _ in range(concurrency)))


@dataclass(slots=True)
class _QuickRun:
    """One video's requests."""

    library: Library
    describer: QuickDescriber
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
                await asyncio.to_thread(self._require_budget, part)
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
                self.totals.problems |= await asyncio.to_thread(self._save, results)
            self.on_answers()

    async def _ask(self, part: tuple[LabelledImage, ...]) -> tuple[QuickResult, ...]:
        settings = self.library.settings
        return await self.describer.ask(part, context=self.plan.video.context, language=settings.language)

    def _end(self, error: EveryFrameError) -> None:
        if self.totals.error is None:
            self.totals.error = error

    def _require_budget(self, part: Sequence[LabelledImage]) -> None:
        if not self.describer.recipient:
            return
        usd = estimate_cost(self.library, self.describer, self.plan.video, part, batch=False).usd
        with reading(self.library.engine) as connection:
            pending_usd = batches.pending_usd(connection)
            check_budget(connection, self.library.settings, usd, now=datetime.now(UTC), pending_usd=pending_usd)

    def _save(self, results: Sequence[QuickResult]) -> dict[str, str]:
        """Save answers, which may have cost money: a locked database or a full disk is retried."""
        waiting = Outage()
        while True:
            try:
                with writing(self.library.engine) as connection:
                    return save_results(connection, results, self.plan.frames, now=datetime.now(UTC))
            except StorageError as error:
                if self.stop.is_set():
                    waiting.stop()
                waiting.failed("answers", error)
            time.sleep(database_thread.RETRY_SECONDS)
