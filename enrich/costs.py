"""The month's budget: a calendar month of the user's own time, and all that was paid in it, for whatever.

What the deep pass would have cost with each of Claude's models, by the formula for tokens, and what it cost here.

A picture counts as it would be sent, ten to a request with the words of the quick pass around them; a description is
as long as the local model's were. Electricity is watts × time on the clock × price of a kilowatt hour.

Costs in words and in rows, the same in the terminal, on the page and in what is downloaded.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cache
from math import ceil
from typing import Any

from sqlalchemy import Connection

from db.costs import PassCost, VideoCost, spent_between
from enrich.describe.claude.prices import ModelPrice, PriceList, load_prices
from enrich.describe.claude.request import (
    IMAGES_PER_REQUEST,
    OUTPUT_TOKENS,
    THOUGHT_TOKENS,
    fitted_size,
    image_tokens,
    words_tokens,
)
from enrich.describe.events import known_events
from enrich.describe.quick.protocol import LabelledImage
from enrich.errors import BudgetError
from enrich.settings import Settings
from enrich.wording import counted, dollars, span

WATT_SECONDS_A_KWH = 3_600_000
WHOLE_RATIO = 10  # from here on tenths say nothing
ALL_VIDEOS = "All films"
SMALLEST_POWER_COST = 0.001  # in the user's currency; less is said as under it


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """The first moment of the calendar month here, and that of the next one."""
    here = now.astimezone()
    naive = datetime(here.year, here.month, 1)  # noqa: DTZ001  # the zone is that of that day, which may not be today's
    following = datetime(here.year + here.month // 12, here.month % 12 + 1, 1)  # noqa: DTZ001
    return naive.astimezone(), following.astimezone()


def spent_this_month(connection: Connection, now: datetime) -> float:
    """US dollars paid since the month began, also for films that were removed since."""
    return spent_between(connection, *month_of(now))


def check_budget(
    connection: Connection, settings: Settings, usd: float, *, now: datetime, promised: float = 0.0
) -> None:
    """Raise BudgetError if so much more does not fit into the month. `promised`: on its way and not booked yet."""
    spent = spent_this_month(connection, now)
    left = settings.monthly_budget_usd - spent - promised
    if usd > left:
        on_the_way = f" and {dollars(promised)} is on its way" if promised else ""
        raise BudgetError(
            f"{dollars(usd)} does not fit into this month's budget of {dollars(settings.monthly_budget_usd)}: "
            f"{dollars(spent)} is spent{on_the_way}. Allow more: everyframe settings set monthly_budget_usd AMOUNT"
        )


@dataclass(frozen=True, slots=True)
class AlternativeCost:
    """What the deep pass's frames would have cost with a model, asked at once or in a batch."""

    model: str
    title: str
    usd: float
    batch_usd: float


@dataclass(frozen=True, slots=True)
class CostSummary:
    """What both passes took, for a film or in all, and what the deep one would have cost elsewhere."""

    quick: PassCost
    deep: PassCost
    electricity: float | None  # of the deep pass, in the currency of the setting; None: watts or price are not given
    elsewhere: tuple[AlternativeCost, ...]

    @property
    def ratio(self) -> float | None:
        """How many times more frames the deep pass has described than the quick one; None without either."""
        return self.deep.frames / self.quick.frames if self.quick.frames and self.deep.frames else None


@dataclass(frozen=True, slots=True)
class VideoCostSummary:
    """One film's bill."""

    film: VideoCost
    bill: CostSummary


@dataclass(frozen=True, slots=True)
class CostComparison:
    """All bills, with the day and the source of the prices. `total` is of the films that are there."""

    films: tuple[VideoCostSummary, ...]
    total: CostSummary
    prices_as_of: date
    prices_source: str


def compare(films: Sequence[VideoCost], settings: Settings) -> CostComparison:
    """The bills of films. Raises SettingsError if the prices cannot be read."""
    prices = load_prices(settings.home)
    bills = tuple(VideoCostSummary(film, _bill(film, prices, settings)) for film in films)
    sums = [
        AlternativeCost(
            price.name,
            price.title,
            sum(each.bill.elsewhere[place].usd for each in bills),
            sum(each.bill.elsewhere[place].batch_usd for each in bills),
        )
        for place, price in enumerate(prices.models)
    ]
    deep = sum((film.deep for film in films), PassCost())
    total = CostSummary(
        sum((film.quick for film in films), PassCost()), deep, electricity(deep.seconds, settings), tuple(sums)
    )
    return CostComparison(bills, total, prices.as_of, prices.source)


def electricity(seconds: float, settings: Settings) -> float | None:
    """What so much time of describing costs in electricity; None if watts or price are not given."""
    if settings.power_watts is None or settings.kwh_price is None:
        return None
    return settings.power_watts * seconds / WATT_SECONDS_A_KWH * settings.kwh_price


def _bill(film: VideoCost, prices: PriceList, settings: Settings) -> CostSummary:
    elsewhere = tuple(
        AlternativeCost(price.name, price.title, usd, usd * prices.batch_factor)
        for price in prices.models
        for usd in [_usd(film, price, settings)]
    )
    return CostSummary(film.quick, film.deep, electricity(film.deep.seconds, settings), elsewhere)


def _usd(film: VideoCost, price: ModelPrice, settings: Settings) -> float:
    """What describing a film's described frames would cost, in requests of so many pictures."""
    frames = film.deep.frames
    a_request = min(IMAGES_PER_REQUEST, price.most_pictures)
    requests, rest = divmod(frames, a_request)
    usd = requests * _request_usd(film, a_request, price, settings)
    return usd + (_request_usd(film, rest, price, settings) if rest else 0.0)


def _request_usd(film: VideoCost, count: int, price: ModelPrice, settings: Settings) -> float:
    words = _words(count, settings.language, settings.events)
    thought = THOUGHT_TOKENS if price.thinking == "always" else 0
    answer = ceil(film.deep.output_tokens / film.deep.calls) if film.deep.output_tokens else OUTPUT_TOKENS
    size = stored_size(film.width, film.height, settings.stored_edge)
    return price.usd(count * image_tokens(*fitted_size(*size)) + words, count * answer + thought)


@cache
def _words(count: int, language: str, events: tuple[str, ...]) -> int:
    """What the words around so many pictures count."""
    pictures = [LabelledImage(f"F{number}", b"", 0.0) for number in range(count)]
    return words_tokens(pictures, context="", language=language, events=known_events(events))


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size of a film's kept pictures."""
    factor = min(1.0, edge / max(width, height, 1))
    return max(1, round(width * factor)), max(1, round(height * factor))


def summary(bill: CostSummary) -> str | None:
    """Both passes side by side: 50 frames @ $0.049, 1,000 frames @ $0.00, 20x more analysis for the same price."""
    quick, deep = bill.quick, bill.deep
    if bill.ratio is None:
        return None
    sides = [f"{counted(side.frames, 'frame')} @ {dollars(side.usd)}" for side in (quick, deep)]
    if bill.ratio > 1 and not deep.usd:
        more = f"{bill.ratio:,.0f}" if bill.ratio >= WHOLE_RATIO else f"{bill.ratio:.1f}".removesuffix(".0")
        sides.append(f"{more}x more analysis for the same price")
    return ", ".join(sides)


def deep_cost(bill: CostSummary) -> str:
    """What the deep pass cost, electricity too where it is known: without a sign, since its currency is the user's."""
    power = "" if bill.electricity is None else f" + {power_cost(bill.electricity)} of electricity"
    return f"{dollars(bill.deep.usd)}{power}"


def power_cost(amount: float) -> str:
    """A sum in the currency in which the user pays electricity."""
    if 0 < amount < SMALLEST_POWER_COST / 2:
        return f"under {SMALLEST_POWER_COST}"
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.3f}"


def deep_words(bill: CostSummary) -> str:
    """The deep pass: how many frames, how long, for how much."""
    if not bill.deep.calls:
        return "nothing yet"
    return f"{counted(bill.deep.frames, 'frame')} in {span(bill.deep.seconds)}, {deep_cost(bill)}"


def quick_words(bill: CostSummary) -> str:
    """The quick pass: how many frames, tokens in and out, for how much."""
    quick = bill.quick
    if not quick.calls:
        return "nothing yet"
    tokens = f"{quick.prompt_tokens:,} tokens in, {quick.output_tokens:,} out"
    return f"{counted(quick.frames, 'frame')}, {tokens}, {dollars(quick.usd)}"


def rows(comparison: CostComparison) -> list[dict[str, Any]]:
    """A row a film and one for all, for a table: numbers as they are."""
    films = [_row(str(each.film.video_id), each.film.title, each.bill) for each in comparison.films]
    return [*films, _row("", ALL_VIDEOS, comparison.total)]


def as_data(comparison: CostComparison) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "films": [_film_data(each) for each in comparison.films],
        "total": _data(comparison.total),
        "summary": summary(comparison.total),
        "prices": {"as_of": comparison.prices_as_of.isoformat(), "source": comparison.prices_source},
    }


def _row(video_id: str, title: str, bill: CostSummary) -> dict[str, Any]:
    quick, deep = bill.quick, bill.deep
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
        "deep_electricity": None if bill.electricity is None else round(bill.electricity, 4),
    }
    return row | {f"{model.model}_usd": round(model.usd, 4) for model in bill.elsewhere}


def _film_data(each: VideoCostSummary) -> dict[str, Any]:
    return {"video_id": each.film.video_id, "title": each.film.title, "kept": each.film.kept, **_data(each.bill)}


def _data(bill: CostSummary) -> dict[str, Any]:
    return {
        "quick": asdict(bill.quick),
        "deep": asdict(bill.deep),
        "deep_electricity": bill.electricity,
        "elsewhere": [asdict(model) | {"saved_usd": model.usd - bill.deep.usd} for model in bill.elsewhere],
    }
