"""Taking quick looks at once: requests for a plan's pictures, several at a time, each answer saved as it comes.

Whatever ends it, what was answered is saved, and at most the requests in flight are lost. Before each request the
month's budget is looked at again, since others spend too. It ends with the first error that the next request would meet
as well.

Keeping what a quick look said: the answers in the frames' rows and in the search, every call with its price.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import batches, quick
from db.engine import reading, writing
from db.queries import FrameRow
from enrich.costs import check_budget
from enrich.describe.baseline import LIVELY
from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.events import OTHER
from enrich.describe.quick.protocol import THRILLING, LabelledImage, QuickDescriber, QuickResult
from enrich.errors import BudgetError, CallFailedError, CallTimeoutError, DescribeError, EveryFrameError
from enrich.library.library import Library
from enrich.library.records import call_records, searchable_text
from enrich.quick.plan import QuickPlan, estimated

REQUESTS_AT_ONCE = 4  # to Claude: fifty pictures are five requests
MOST_FAILURES = 2  # requests in a row that fail for reasons of their own


def save_results(
    connection: Connection, answers: Sequence[QuickResult], frames: Mapping[int, FrameRow], *, now: datetime
) -> dict[str, str]:
    """Keep the answers of one request; by label, the reasons of those without one.

    `frames` are needed only where a describer measures. A frame that is gone keeps its price.
    """
    problems = {}
    for answered in answers:
        frame_id = batches.frame_of(answered.label)
        said = answered.answer
        answer = Answer(
            description=None if said is None else Description(said.description, said.tags),
            calls=answered.calls,
            kept=answered.kept or 0,
            unsure_names=_unsure(answered),
        )
        calls = call_records(answer)
        if said is None or answer.description is None:
            problems[answered.label] = answered.problem or "there was no answer"
            owner = frame_id if quick.frame_exists(connection, frame_id) else None
            quick.record_quick_calls(connection, owner, calls, now=now)
            continue
        found = searchable_text(answer.description, answer.unsure_names)
        event = said.event_type or None
        frame = frames.get(frame_id)
        look = quick.NewQuickDescription(
            text=said.description,
            tags=said.tags,
            event_type=event,
            excitement=said.excitement if event is not None else movement_excitement(frame.motion if frame else None),
            search_text=found.text,
            search_tags=(*found.tags, *((event,) if event not in (None, OTHER, *found.tags) else ())),
        )
        if not quick.save_quick_description(connection, frame_id, look, calls, now=now):
            quick.record_quick_calls(connection, None, calls, now=now)
    return problems


def movement_excitement(motion: float | None) -> float | None:
    """How exciting a picture is, by how much moves in it alone, 0 to 10; None where that was not measured."""
    return None if motion is None else round(THRILLING * (1 - math.exp(-motion / LIVELY)), 1)


def _unsure(answered: QuickResult) -> tuple[str, ...]:
    """The names in the kept reply that no picture shows."""
    if answered.kept is None:
        return ()
    doubts = answered.calls[answered.kept].warnings
    return tuple(doubt.detail for doubt in doubts if doubt.problem is Problem.CONTEXT_NAME)


@dataclass(slots=True)
class QuickRunResult:
    """What has come of a quick pass so far, of one film or of several."""

    answered: int = 0
    problems: dict[str, str] = field(default_factory=dict)  # by label: why there is no answer
    usd: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: EveryFrameError | None = None  # that ended it

    def count(self, answers: Sequence[QuickResult]) -> None:
        """Add a request's answers and what they cost."""
        calls = [call for answered in answers for call in answered.calls]
        self.answered += sum(answered.answer is not None for answered in answers)
        self.usd += sum(call.cost_usd for call in calls)
        self.prompt_tokens += sum(call.prompt_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)


async def run_quick_pass(
    library: Library,
    describer: QuickDescriber,
    plan: QuickPlan,
    *,
    taken: QuickRunResult,
    stop: asyncio.Event,
    on_answers: Callable[[], None] = lambda: None,
) -> None:
    """Ask about a plan's pictures; `taken` is added to. Once `stop` is set, only what is in flight is waited for."""
    at_once = REQUESTS_AT_ONCE if describer.recipient else library.settings.concurrency
    parts = iter(describer.parts(plan.wanted))
    taking = _QuickRun(library, describer, plan, taken, stop, on_answers)
    await asyncio.gather(*(taking.work(parts) for _ in range(at_once)))


@dataclass(slots=True)
class _QuickRun:
    """One film's requests."""

    library: Library
    describer: QuickDescriber
    plan: QuickPlan
    taken: QuickRunResult
    stop: asyncio.Event
    on_answers: Callable[[], None]
    failures: int = 0  # in a row

    async def work(self, parts: Iterator[tuple[LabelledImage, ...]]) -> None:
        """Ask about one part after the other."""
        for part in parts:
            if self.stop.is_set() or self.taken.error is not None:
                return
            try:
                await asyncio.to_thread(self._require_budget, part)
                answers = await self._ask(part)
            except (CallTimeoutError, CallFailedError) as error:
                self.taken.problems |= {picture.label: str(error) for picture in part}
                self.failures += 1
                if self.failures >= MOST_FAILURES:
                    self._end(error)
            except (DescribeError, BudgetError) as error:
                self._end(error)
            else:
                self.failures = 0
                self.taken.count(answers)
                self.taken.problems |= await asyncio.to_thread(self._keep, answers)
            self.on_answers()

    async def _ask(self, part: tuple[LabelledImage, ...]) -> tuple[QuickResult, ...]:
        settings = self.library.settings
        return await self.describer.ask(part, context=self.plan.video.context, language=settings.language)

    def _end(self, error: EveryFrameError) -> None:
        if self.taken.error is None:
            self.taken.error = error

    def _require_budget(self, part: Sequence[LabelledImage]) -> None:
        if not self.describer.recipient:
            return
        usd = estimated(self.library, self.describer, self.plan.video, part, batch=False).usd
        with reading(self.library.engine) as connection:
            promised = batches.pending_usd(connection)
            check_budget(connection, self.library.settings, usd, now=datetime.now(UTC), promised=promised)

    def _keep(self, answers: Sequence[QuickResult]) -> dict[str, str]:
        with writing(self.library.engine) as connection:
            return save_results(connection, answers, self.plan.frames, now=datetime.now(UTC))
