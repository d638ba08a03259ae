"""Costs: the monthly budget, and what the deep pass would have cost with each of Claude's models.

A month is a calendar month in the user's time zone; its costs include removed videos. The comparison uses the token
formula: images as they would be sent, ten to a request with the quick pass prompt, and replies as long as the local
model's. Electricity is watts × wall-clock time × price per kilowatt hour. Terminal, dashboard and CSV share the texts
and rows of this module.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cache
from math import ceil
from typing import Any

from sqlalchemy import Connection, Engine

from db import reservations
from db.costs import PassCost, VideoCost, spent_since
from db.engine import reading, writing
from db.errors import DatabaseReadOnlyError
from enrich.describe.claude.prices import ModelPrice, PriceList, load_prices
from enrich.describe.claude.request import (
    EXPECTED_OUTPUT_TOKENS,
    EXPECTED_THINKING_TOKENS,
    IMAGES_PER_REQUEST,
    fitted_size,
    image_tokens,
    text_tokens,
)
from enrich.describe.prompt import known_events
from enrich.describe.quick.protocol import LabelledImage
from enrich.errors import BudgetError
from enrich.process import is_local, is_process_alive
from enrich.settings import Settings
from enrich.wording import format_count, format_duration, format_usd

SENDER_ENDED = "the process that sent it ended before the answer arrived"
REMOTE_REQUEST_SECONDS = 3600.0  # longer than any request of another machine takes, backoff included
ROUNDING_USD = 1e-9  # of sums of fractions of a cent
WATT_SECONDS_PER_KWH = 3_600_000
WHOLE_NUMBER_RATIO = 10  # larger ratios are shown without decimals
ALL_VIDEOS = "All videos"
MIN_ELECTRICITY_COST = 0.001  # in the user's currency; smaller amounts are shown as "under"


def month_start(now: datetime) -> datetime:
    """The start of the current calendar month in local time."""
    here = now.astimezone()
    # That day may have had another UTC offset than today.
    return datetime(here.year, here.month, 1).astimezone()


def spent_this_month(connection: Connection, now: datetime) -> float:
    """US dollars spent since the month began, including removed videos."""
    return spent_since(connection, month_start(now))


def reserved_this_month(connection: Connection, now: datetime) -> float:
    """The most that the requests and batches under way may cost, of those sent since the month began, in US dollars."""
    return reservations.open_usd(connection, month_start(now))


def check_budget(connection: Connection, settings: Settings, most_usd: float, *, now: datetime) -> None:
    """Raise BudgetError if the most that something may cost is not within the month's budget.

    Only in the transaction that reserves the money is this a limit: other processes spend too.
    """
    if most_usd <= 0:
        return
    spent, reserved = spent_this_month(connection, now), reserved_this_month(connection, now)
    if not most_usd <= settings.monthly_budget_usd - spent - reserved + ROUNDING_USD:
        pending = f" and up to {format_usd(reserved)} is reserved for requests under way" if reserved else ""
        budget = format_usd(settings.monthly_budget_usd)
        raise BudgetError(
            f"up to {format_usd(most_usd)} exceeds what is left of this month's budget of {budget}: "
            f"{format_usd(spent)} is spent{pending}. Raise it with `everyframe settings set monthly_budget_usd AMOUNT`"
        )


def record_abandoned_requests(engine: Engine) -> int:
    """Record what a killed process may have paid for, at the highest price. Returns how many images that are."""
    now = datetime.now(UTC)
    with reading(engine) as connection:
        if not reservations.has_requests(connection):
            return 0
    try:
        with writing(engine) as connection:
            return reservations.record_abandoned(connection, lambda one: is_abandoned(one, now), SENDER_ENDED)
    except DatabaseReadOnlyError:  # a library that can only be looked at; the money stays reserved
        return 0


def is_abandoned(request: reservations.OpenRequest, now: datetime) -> bool:
    """Whether the process that sent a request is certainly gone, so that no answer to it will be recorded."""
    if request.sender is not None and is_local(request.sender):
        return not is_process_alive(request.sender)
    return abs((now - request.created_at).total_seconds()) > REMOTE_REQUEST_SECONDS


@dataclass(frozen=True, slots=True)
class AlternativeCost:
    """The cost of the deep pass's frames with another model, in single requests or in batches."""

    model: str
    title: str
    usd: float
    batch_usd: float


@dataclass(frozen=True, slots=True)
class CostSummary:
    """The cost of both passes, for one video or in total, and of the deep pass's frames with other models."""

    quick: PassCost
    deep: PassCost
    electricity: float | None  # of the deep pass, in the user's currency; None: watts or price are not set
    alternatives: tuple[AlternativeCost, ...]

    @property
    def ratio(self) -> float | None:
        """How many times more frames the deep pass has described than the quick pass; None if either has none."""
        return self.deep.frames / self.quick.frames if self.quick.frames and self.deep.frames else None


@dataclass(frozen=True, slots=True)
class VideoCostSummary:
    """The costs of one video."""

    video: VideoCost
    summary: CostSummary


@dataclass(frozen=True, slots=True)
class CostComparison:
    """The costs of all videos in the library and in total, with date and source of the prices."""

    videos: tuple[VideoCostSummary, ...]
    total: CostSummary
    prices_as_of: date
    prices_source: str


def compare(videos: Sequence[VideoCost], settings: Settings) -> CostComparison:
    """Compare the costs of videos. Raises SettingsError if the prices cannot be read."""
    prices = load_prices(settings.home)
    summaries = tuple(VideoCostSummary(video, _summary(video, prices, settings)) for video in videos)
    totals = [
        AlternativeCost(
            price.name,
            price.title,
            sum(each.summary.alternatives[place].usd for each in summaries),
            sum(each.summary.alternatives[place].batch_usd for each in summaries),
        )
        for place, price in enumerate(prices.models)
    ]
    quick = sum((video.quick for video in videos), PassCost())
    deep = sum((video.deep for video in videos), PassCost())
    total = CostSummary(quick, deep, electricity(deep.seconds, settings), tuple(totals))
    return CostComparison(summaries, total, prices.as_of, prices.source)


def electricity(seconds: float, settings: Settings) -> float | None:
    """The cost of electricity for this many seconds of describing; None if watts or price are not set."""
    if settings.power_watts is None or settings.kwh_price is None:
        return None
    return settings.power_watts * seconds / WATT_SECONDS_PER_KWH * settings.kwh_price


def _summary(video: VideoCost, prices: PriceList, settings: Settings) -> CostSummary:
    alternatives = tuple(
        AlternativeCost(price.name, price.title, usd, usd * prices.batch_factor)
        for price in prices.models
        for usd in [_usd(video, price, settings)]
    )
    return CostSummary(video.quick, video.deep, electricity(video.deep.seconds, settings), alternatives)


def _usd(video: VideoCost, price: ModelPrice, settings: Settings) -> float:
    """The cost of describing a video's described frames with this model, in requests of several images."""
    per_request = min(IMAGES_PER_REQUEST, price.max_images)
    requests, rest = divmod(video.deep.frames, per_request)
    usd = requests * _request_usd(video, per_request, price, settings)
    return usd + (_request_usd(video, rest, price, settings) if rest else 0.0)


def _request_usd(video: VideoCost, count: int, price: ModelPrice, settings: Settings) -> float:
    prompt = _prompt_tokens(count, settings.language, settings.events)
    thinking = EXPECTED_THINKING_TOKENS if price.thinking == "always" else 0
    deep = video.deep
    answer = ceil(deep.output_tokens / deep.calls) if deep.output_tokens else EXPECTED_OUTPUT_TOKENS
    size = stored_size(video.width, video.height, settings.stored_edge)
    return price.usd(count * image_tokens(*fitted_size(*size)) + prompt, count * answer + thinking)


@cache
def _prompt_tokens(count: int, language: str, events: tuple[str, ...]) -> int:
    """The tokens of the prompt for this many images."""
    images = [LabelledImage(f"F{number}", b"", 0.0) for number in range(count)]
    return text_tokens(images, context="", language=language, events=known_events(events))


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size of a video's stored images."""
    factor = min(1.0, edge / max(width, height, 1))
    return max(1, round(width * factor)), max(1, round(height * factor))


def summary_line(costs: CostSummary) -> str | None:
    """Both passes side by side: 50 frames @ $0.049, 1,000 frames @ $0.00, 20x more analysis for the same price."""
    quick, deep, ratio = costs.quick, costs.deep, costs.ratio
    if ratio is None:
        return None
    sides = [f"{format_count(side.frames, 'frame')} @ {format_usd(side.usd)}" for side in (quick, deep)]
    if ratio > 1 and not deep.usd:
        more = f"{ratio:,.0f}" if ratio >= WHOLE_NUMBER_RATIO else f"{ratio:.1f}".removesuffix(".0")
        sides.append(f"{more}x more analysis for the same price")
    return ", ".join(sides)


def deep_cost(costs: CostSummary) -> str:
    """The cost of the deep pass, plus electricity if known (without a currency sign: it is in the user's currency)."""
    power = "" if costs.electricity is None else f" + {electricity_text(costs.electricity)} of electricity"
    return f"{format_usd(costs.deep.usd)}{power}"


def electricity_text(amount: float) -> str:
    """An amount in the currency of the user's electricity price."""
    if 0 < amount < MIN_ELECTRICITY_COST / 2:
        return f"under {MIN_ELECTRICITY_COST}"
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.3f}"


def deep_summary(costs: CostSummary) -> str:
    """The deep pass in one line: frames, time, cost."""
    if not costs.deep.calls:
        return "nothing yet"
    return f"{format_count(costs.deep.frames, 'frame')} in {format_duration(costs.deep.seconds)}, {deep_cost(costs)}"


def quick_summary(costs: CostSummary) -> str:
    """The quick pass in one line: frames, tokens in and out, cost."""
    quick = costs.quick
    if not quick.calls:
        return "nothing yet"
    tokens = f"{quick.prompt_tokens:,} tokens in, {quick.output_tokens:,} out"
    return f"{format_count(quick.frames, 'frame')}, {tokens}, {format_usd(quick.usd)}"


def rows(comparison: CostComparison) -> list[dict[str, Any]]:
    """A row for each video and one for all, as numbers, for tables and CSV."""
    videos = [_row(str(each.video.video_id), each.video.title, each.summary) for each in comparison.videos]
    return [*videos, _row("", ALL_VIDEOS, comparison.total)]


def as_data(comparison: CostComparison) -> dict[str, Any]:
    """The comparison for JSON."""
    return {
        "films": [_video_data(each) for each in comparison.videos],
        "total": _data(comparison.total),
        "summary": summary_line(comparison.total),
        "prices": {"as_of": comparison.prices_as_of.isoformat(), "source": comparison.prices_source},
    }


def _row(video_id: str, title: str, costs: CostSummary) -> dict[str, Any]:
    quick, deep = costs.quick, costs.deep
    row: dict[str, Any] = {
        "video_id": video_id,
        "film": title,
        "quick_frames": quick.frames,
        "quick_prompt_tokens": quick.prompt_tokens,
        "quick_output_tokens": quick.output_tokens,
        "quick_usd": round(quick.usd, 6),
        "deep_frames": deep.frames,
        "deep_calls": deep.calls,
        "deep_seconds": round(deep.seconds, 1),
        "deep_usd": round(deep.usd, 6),
        "deep_electricity": None if costs.electricity is None else round(costs.electricity, 4),
    }
    return row | {f"{model.model}_usd": round(model.usd, 4) for model in costs.alternatives}


def _video_data(each: VideoCostSummary) -> dict[str, Any]:
    return {"video_id": each.video.video_id, "title": each.video.title, "kept": each.video.kept, **_data(each.summary)}


def _data(costs: CostSummary) -> dict[str, Any]:
    return {
        "quick": asdict(costs.quick),
        "deep": asdict(costs.deep),
        "deep_electricity": costs.electricity,
        "elsewhere": [asdict(model) | {"saved_usd": model.usd - costs.deep.usd} for model in costs.alternatives],
    }
