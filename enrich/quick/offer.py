"""The offer before anything is sent: how many pictures, to whom, for how much, and what speaks against it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from db import batches
from db.engine import reading
from enrich.costs.budget import check_budget, spent_this_month
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.quick.protocol import QuickDescriber
from enrich.errors import BudgetError, DescribeError, ModelError, SettingsError
from enrich.library.library import Library
from enrich.quick.plan import QuickPlan
from enrich.wording import counted, dollars, first_line

COUNT_SECONDS = 8.0  # what asking the API for a count may take; without an answer the formula stands


@dataclass(frozen=True, slots=True)
class Offer:
    """What is about to be done. `text` is the question's first part; `problem` says why it cannot be done."""

    describer: str
    model: str
    recipient: str  # empty: nothing leaves this machine
    batch: bool
    pictures: int
    requests: int
    input_tokens: int
    usd: float
    most_usd: float
    is_counted: bool  # by the API, else by the formula
    spent_usd: float  # this month
    budget_usd: float
    text: str
    problem: str | None


async def counted_plans(
    describer: QuickDescriber, plans: Sequence[QuickPlan], *, language: str, batch: bool
) -> tuple[list[QuickPlan], bool]:
    """The plans with what the API counts, and whether it did. No picture is sent for it.

    Raises ModelError or SettingsError if a person must act before anything can be asked.
    """
    wanted = [plan for plan in plans if plan.wanted]
    if not isinstance(describer, ClaudeQuick) or not wanted:
        return list(plans), False
    counts = {}
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            for plan in wanted:
                context = plan.video.context
                counts[plan.video.id] = await describer.count(
                    plan.wanted, context=context, language=language, batch=batch
                )
    except ModelError:
        raise
    except (DescribeError, TimeoutError):
        return list(plans), False
    return [replace(plan, estimate=counts.get(plan.video.id, plan.estimate)) for plan in plans], True


async def make_offer(
    library: Library, describer: QuickDescriber, plans: Sequence[QuickPlan], *, batch: bool
) -> tuple[Offer, list[QuickPlan]]:
    """The offer for some films, and their plans with what was counted. Asks the API for a count, and sends nothing."""
    problem = None
    is_counted = False
    found = list(plans)
    try:
        found, is_counted = await counted_plans(describer, plans, language=library.settings.language, batch=batch)
    except (ModelError, SettingsError) as error:
        problem = str(error)
    usd = sum(plan.estimate.usd for plan in found if plan.wanted)
    now = datetime.now(UTC)
    with reading(library.engine) as connection:
        spent = spent_this_month(connection, now)
        promised = batches.promised_usd(connection)
        try:
            if usd:
                check_budget(connection, library.settings, usd, now=now, promised=promised)
        except BudgetError as error:
            problem = problem or str(error)
    offer = Offer(
        describer=describer.name,
        model=describer.model,
        recipient=describer.recipient,
        batch=batch,
        pictures=sum(len(plan.wanted) for plan in found),
        requests=sum(plan.estimate.requests for plan in found if plan.wanted),
        input_tokens=sum(plan.estimate.input_tokens for plan in found if plan.wanted),
        usd=usd,
        most_usd=sum(plan.estimate.most_usd for plan in found if plan.wanted),
        is_counted=is_counted,
        spent_usd=spent,
        budget_usd=library.settings.monthly_budget_usd,
        text=_text(describer, found, usd, batch=batch),
        problem=problem,
    )
    return offer, found


def _text(describer: QuickDescriber, plans: Sequence[QuickPlan], usd: float, *, batch: bool) -> str:
    """Who is sent what, for how much, in one sentence."""
    wanted = [plan for plan in plans if plan.wanted]
    count = sum(len(plan.wanted) for plan in wanted)
    of = first_line(wanted[0].title, 60) if len(wanted) == 1 else counted(len(wanted), "film")
    if not wanted:
        return "nothing is left to ask"
    if not describer.recipient:
        return f"{counted(count, 'picture')} of {of} will be looked at by {describer.model}, on this machine"
    later = ", as a batch that takes up to a day" if batch else ""
    return (
        f"{counted(count, 'picture')} of {of} will be sent to {describer.recipient}, model {describer.model}{later}, "
        f"for about {dollars(usd)}"
    )
