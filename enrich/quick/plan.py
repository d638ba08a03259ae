"""What a quick pass over a film will ask: its key frames, those that were asked about before, and what it will cost.

The offer before anything is sent: how many pictures, to whom, for how much, and what speaks against it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from db import batches, queries, quick
from db.engine import reading, writing
from db.queries import FrameRow, VideoRow
from enrich.costs import check_budget, spent_this_month
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.quick.protocol import CostEstimate, LabelledImage, QuickDescriber
from enrich.errors import BudgetError, DescribeError, ModelError, SettingsError
from enrich.library.library import Library
from enrich.library.pictures import load_image
from enrich.quick.keyframes import Candidate, choose
from enrich.wording import counted, dollars, first_line

COUNT_SECONDS = 8.0  # what asking the API for a count may take; without an answer the formula stands


@dataclass(frozen=True, slots=True)
class QuickPlan:
    """One film. `wanted` are the pictures that will be asked about; the rest of its key frames need not be."""

    video: VideoRow
    frames: dict[int, FrameRow]  # the key frames, by id
    wanted: tuple[LabelledImage, ...]
    answered: int  # key frames with an answer of this very kind already
    unanswered: int  # that were asked about and paid for, and got none
    on_the_way: int  # in batches
    estimate: CostEstimate

    @property
    def title(self) -> str:
        return self.video.title


def make_plan(
    library: Library,
    describer: QuickDescriber,
    video: VideoRow,
    *,
    key_frames: int,
    again: bool = False,
    unanswered_too: bool = False,
    batch: bool = False,
) -> QuickPlan:
    """Choose a film's key frames, mark them, and say which are to be asked about.

    Key frames stay key frames, so that nothing is paid for twice because more of the film is decoded by now; with
    `again` they are chosen afresh, and all are asked about. `unanswered_too`: those that got no answer as well.
    Raises VideoError if a picture cannot be had.
    """
    frames = _key_frames(library, video, key_frames, afresh=again)
    with reading(library.engine) as connection:
        before = quick.answered_frame_ids(
            connection,
            frames,
            describer=describer.name,
            model=describer.model,
            prompt_version=describer.prompt_version,
        )
        sent = {
            frame_id
            for row in batches.open_batches(connection, [video.id])
            if (row.batch.model, row.batch.prompt_version) == (describer.model, describer.prompt_version)
            for frame_id in row.batch.frame_ids
        }
    if again:
        before = {}
    elif unanswered_too:
        before = {frame_id: has_answer for frame_id, has_answer in before.items() if has_answer}
    asking = [frame for frame in frames.values() if frame.id not in before and frame.id not in sent]
    wanted = tuple(
        LabelledImage(batches.label_of(frame.id), load_image(library.settings, video, frame), frame.timestamp)
        for frame in asking
    )
    return QuickPlan(
        video=video,
        frames=frames,
        wanted=wanted,
        answered=sum(before.values()),
        unanswered=len(before) - sum(before.values()),
        on_the_way=len(sent & frames.keys()),
        estimate=estimated(library, describer, video, wanted, batch=batch),
    )


def estimated(
    library: Library, describer: QuickDescriber, video: VideoRow, pictures: Sequence[LabelledImage], *, batch: bool
) -> CostEstimate:
    """What asking about these pictures will cost, by the formula."""
    from enrich.describe.claude.describer import ClaudeQuick

    context, language = video.context, library.settings.language
    if isinstance(describer, ClaudeQuick):
        return describer.estimate(pictures, context=context, language=language, batch=batch)
    return describer.estimate(pictures, context=context, language=language)


def _key_frames(library: Library, video: VideoRow, count: int, *, afresh: bool) -> dict[int, FrameRow]:
    with reading(library.engine) as connection:
        looks = quick.candidates(connection, video.id)
        marked = () if afresh else quick.key_frame_ids(connection, video.id)
    candidates = [
        Candidate(
            id=look.id,
            timestamp=look.timestamp,
            scene=look.scene,
            sharpness=look.sharpness,
            brightness=look.brightness,
            dhash=int(look.dhash, 16) if look.dhash else None,
        )
        for look in looks
    ]
    chosen = choose(candidates, count, duration=video.duration, fixed=marked)
    with writing(library.engine) as connection:
        quick.set_key_frames(connection, video.id, chosen)
        rows = [queries.frame(connection, frame_id) for frame_id in chosen]
    return {row.id: row for row in rows if row is not None}


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
        promised = batches.pending_usd(connection)
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
