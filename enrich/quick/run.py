"""Taking quick looks at once: requests for a plan's pictures, several at a time, each answer saved as it comes.

Whatever ends it, what was answered is saved, and at most the requests in flight are lost. Before each request the
month's budget is looked at again, since others spend too. It ends with the first error that the next request would meet
as well.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from db import batches
from db.engine import reading, writing
from enrich.costs.budget import check_budget
from enrich.describe.quick.protocol import Answered, Labelled, QuickDescriber
from enrich.errors import BudgetError, CallFailedError, CallTimeoutError, DescribeError, EveryFrameError
from enrich.library.library import Library
from enrich.quick.keeping import keep
from enrich.quick.plan import QuickPlan, estimated

REQUESTS_AT_ONCE = 4  # to Claude: fifty pictures are five requests
MOST_FAILURES = 2  # requests in a row that fail for reasons of their own


@dataclass(slots=True)
class Taken:
    """What has come of a quick pass so far, of one film or of several."""

    answered: int = 0
    problems: dict[str, str] = field(default_factory=dict)  # by label: why there is no answer
    usd: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: EveryFrameError | None = None  # that ended it

    def count(self, answers: Sequence[Answered]) -> None:
        """Add a request's answers and what they cost."""
        calls = [call for answered in answers for call in answered.calls]
        self.answered += sum(answered.answer is not None for answered in answers)
        self.usd += sum(call.cost_usd for call in calls)
        self.prompt_tokens += sum(call.prompt_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)


async def take(
    library: Library,
    describer: QuickDescriber,
    plan: QuickPlan,
    *,
    taken: Taken,
    stop: asyncio.Event,
    on_answers: Callable[[], None] = lambda: None,
) -> None:
    """Ask about a plan's pictures; `taken` is added to. Once `stop` is set, only what is in flight is waited for."""
    at_once = REQUESTS_AT_ONCE if describer.recipient else library.settings.concurrency
    parts = iter(describer.parts(plan.wanted))
    taking = _Taking(library, describer, plan, taken, stop, on_answers)
    await asyncio.gather(*(taking.work(parts) for _ in range(at_once)))


@dataclass(slots=True)
class _Taking:
    """One film's requests."""

    library: Library
    describer: QuickDescriber
    plan: QuickPlan
    taken: Taken
    stop: asyncio.Event
    on_answers: Callable[[], None]
    failures: int = 0  # in a row

    async def work(self, parts: Iterator[tuple[Labelled, ...]]) -> None:
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

    async def _ask(self, part: tuple[Labelled, ...]) -> tuple[Answered, ...]:
        settings = self.library.settings
        return await self.describer.ask(part, context=self.plan.video.context, language=settings.language)

    def _end(self, error: EveryFrameError) -> None:
        if self.taken.error is None:
            self.taken.error = error

    def _require_budget(self, part: Sequence[Labelled]) -> None:
        if not self.describer.recipient:
            return
        usd = estimated(self.library, self.describer, self.plan.video, part, batch=False).usd
        with reading(self.library.engine) as connection:
            promised = batches.promised_usd(connection)
            check_budget(connection, self.library.settings, usd, now=datetime.now(UTC), promised=promised)

    def _keep(self, answers: Sequence[Answered]) -> dict[str, str]:
        with writing(self.library.engine) as connection:
            return keep(connection, answers, self.plan.frames, now=datetime.now(UTC))
