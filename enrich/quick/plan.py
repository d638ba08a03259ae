"""The plan of a quick pass over a video (key frames, images to send, cost), and the offer shown before sending."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from db import queries, quick, reservations
from db.engine import reading, writing
from db.queries import FrameRow, VideoRow
from db.quick import Sent
from db.reservations import Describing
from enrich.costs import check_budget, record_abandoned_requests, spent_this_month
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.quick.protocol import CostEstimate, LabelledImage, QuickDescriber
from enrich.errors import BudgetError, DescribeError, ModelError, SettingsError
from enrich.library.images import load_image
from enrich.library.library import Library
from enrich.quick.keyframes import Candidate, choose_key_frames
from enrich.wording import format_count, format_usd, one_line

COUNT_TIMEOUT_SECONDS = 8.0  # for the API's count of tokens; after that the formula is used


@dataclass(frozen=True, slots=True)
class QuickPlan:
    """The quick pass of one video."""

    video: VideoRow
    frames: dict[int, FrameRow]  # the key frames, by id
    to_ask: tuple[LabelledImage, ...]  # images to describe; the other key frames are done or pending
    answered: int  # key frames that this describer, model and prompt have described before
    unanswered: int  # key frames that were sent and paid for, but got no answer
    pending: int  # key frames in batches under way
    estimate: CostEstimate
    uncertain: int = 0  # key frames that may have been paid for without an answer arriving
    uncertain_usd: float = 0.0  # the most that sending these again may cost
    sending: int = 0  # key frames in requests of other processes
    after_call: int = 0  # the last recorded call when this was planned

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
    retry_unanswered: bool = False,
    batch: bool = False,
) -> QuickPlan:
    """Choose and mark a video's key frames, and decide which of them to describe.

    Existing key frames are kept, so that nothing is paid for twice when more of the video is decoded. `again` chooses
    new ones and describes all of them. `retry_unanswered` also describes those that got no answer, or may have been
    paid for without one. Raises VideoError if an image cannot be loaded.
    """
    frames = _key_frames(library, video, key_frames, keep_marked=not again)
    record_abandoned_requests(library.engine)
    what = describing(describer)
    with reading(library.engine) as connection:
        after_call = reservations.last_call_id(connection)
        sent = quick.sent_frames(connection, frames, what)
        pending = reservations.pending_frames(connection, frames, what)
    if again:
        sent = {}
    elif retry_unanswered:
        sent = {frame_id: state for frame_id, state in sent.items() if state is Sent.ANSWERED}

    def images(wanted: Callable[[int], bool]) -> tuple[LabelledImage, ...]:
        return tuple(
            LabelledImage(reservations.label_of(frame.id), load_image(library.settings, video, frame), frame.timestamp)
            for frame in frames.values()
            if wanted(frame.id)
        )

    to_ask = images(lambda frame_id: frame_id not in sent and frame_id not in pending)
    uncertain = images(lambda frame_id: sent.get(frame_id) is Sent.UNCERTAIN and frame_id not in pending)
    states = Counter(sent.values())
    return QuickPlan(
        video=video,
        frames=frames,
        to_ask=to_ask,
        answered=states[Sent.ANSWERED],
        unanswered=states[Sent.UNANSWERED],
        pending=sum(pending.values()),
        estimate=estimate_cost(library, describer, video, to_ask, batch=batch),
        uncertain=len(uncertain),
        uncertain_usd=estimate_cost(library, describer, video, uncertain, batch=batch).most_usd if uncertain else 0.0,
        sending=sum(not is_batch for is_batch in pending.values()),
        after_call=after_call,
    )


def describing(describer: QuickDescriber) -> Describing:
    """What images are sent to, as it is recorded."""
    return Describing(describer.name, describer.model, describer.prompt_version)


def estimate_cost(
    library: Library, describer: QuickDescriber, video: VideoRow, images: Sequence[LabelledImage], *, batch: bool
) -> CostEstimate:
    """Estimate the cost of describing these images, by formula."""
    context, language = video.context, library.settings.language
    if isinstance(describer, ClaudeQuick):
        return describer.estimate(images, context=context, language=language, batch=batch)
    return describer.estimate(images, context=context, language=language)


def _key_frames(library: Library, video: VideoRow, count: int, *, keep_marked: bool) -> dict[int, FrameRow]:
    with reading(library.engine) as connection:
        rows = quick.candidates(connection, video.id)
        marked = quick.key_frame_ids(connection, video.id) if keep_marked else ()
    candidates = [
        Candidate(
            id=row.id,
            timestamp=row.timestamp,
            scene=row.scene,
            sharpness=row.sharpness,
            brightness=row.brightness,
            dhash=int(row.dhash, 16) if row.dhash else None,
        )
        for row in rows
    ]
    chosen = choose_key_frames(candidates, count, duration=video.duration, fixed=marked)
    with writing(library.engine) as connection:
        quick.set_key_frames(connection, video.id, chosen)
        frames = [queries.frame(connection, frame_id) for frame_id in chosen]
    return {frame.id: frame for frame in frames if frame is not None}


@dataclass(frozen=True, slots=True)
class Offer:
    """What a quick pass would send and cost. `text` is a sentence for the user; `problem` says why it cannot start."""

    describer: str
    model: str
    recipient: str  # "": nothing leaves this machine
    batch: bool
    images: int
    requests: int
    input_tokens: int
    usd: float
    most_usd: float
    is_counted: bool  # by the API; else estimated by formula
    spent_usd: float  # this month
    budget_usd: float
    text: str
    problem: str | None

    def as_data(self) -> dict[str, Any]:
        """The offer for JSON."""
        values = asdict(self)
        return {"pictures" if name == "images" else name: value for name, value in values.items()}


async def count_plans(
    describer: QuickDescriber, plans: Sequence[QuickPlan], *, language: str, batch: bool
) -> tuple[list[QuickPlan], bool]:
    """The plans with the API's token counts, and whether it was asked. No image is sent.

    Raises ModelError or SettingsError if a person must act first.
    """
    open_plans = [plan for plan in plans if plan.to_ask]
    if not isinstance(describer, ClaudeQuick) or not open_plans:
        return list(plans), False
    counts = {}
    try:
        async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
            for plan in open_plans:
                context = plan.video.context
                counts[plan.video.id] = await describer.count(
                    plan.to_ask, context=context, language=language, batch=batch
                )
    except ModelError:
        raise
    except (DescribeError, TimeoutError):
        return list(plans), False
    return [replace(plan, estimate=counts.get(plan.video.id, plan.estimate)) for plan in plans], True


async def make_offer(
    library: Library, describer: QuickDescriber, plans: Sequence[QuickPlan], *, batch: bool
) -> tuple[Offer, list[QuickPlan]]:
    """The offer for some videos, and their plans with counted tokens. Sends no image."""
    problem = None
    is_counted = False
    found = list(plans)
    try:
        found, is_counted = await count_plans(describer, plans, language=library.settings.language, batch=batch)
    except (ModelError, SettingsError) as error:
        problem = str(error)
    usd = sum(plan.estimate.usd for plan in found if plan.to_ask)
    most_usd = sum(plan.estimate.most_usd for plan in found if plan.to_ask)
    now = datetime.now(UTC)
    with reading(library.engine) as connection:
        spent = spent_this_month(connection, now)
        try:
            check_budget(connection, library.settings, most_usd, now=now)
        except BudgetError as error:
            problem = problem or str(error)
    offer = Offer(
        describer=describer.name,
        model=describer.model,
        recipient=describer.recipient,
        batch=batch,
        images=sum(len(plan.to_ask) for plan in found),
        requests=sum(plan.estimate.requests for plan in found if plan.to_ask),
        input_tokens=sum(plan.estimate.input_tokens for plan in found if plan.to_ask),
        usd=usd,
        most_usd=most_usd,
        is_counted=is_counted,
        spent_usd=spent,
        budget_usd=library.settings.monthly_budget_usd,
        text=_text(describer, found, usd, most_usd, batch=batch),
        problem=problem,
    )
    return offer, found


def _text(describer: QuickDescriber, plans: Sequence[QuickPlan], usd: float, most_usd: float, *, batch: bool) -> str:
    """What is sent to whom at what cost, in one sentence without a full stop."""
    open_plans = [plan for plan in plans if plan.to_ask]
    if not open_plans:
        return "there are no frames left to describe"
    frames = format_count(sum(len(plan.to_ask) for plan in open_plans), "frame")
    videos = one_line(open_plans[0].title, 60) if len(open_plans) == 1 else format_count(len(open_plans), "video")
    if describer.name == "baseline":
        return f"{frames} of {videos} will be measured without a model"
    if not describer.recipient:
        return f"{frames} of {videos} will be described by {describer.model} on this machine"
    as_batch = ", as a batch that takes up to a day" if batch else ""
    return (
        f"{frames} of {videos} will be sent to {describer.recipient}, model {describer.model}{as_batch}, "
        f"for about {format_usd(usd)}, at most {format_usd(most_usd)}"
    )
