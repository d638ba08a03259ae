"""What the deep pass would have cost with each of Claude's models, by the formula for tokens, and what it cost here.

A picture counts as it would be sent, ten to a request with the words of the quick pass around them; a description is
as long as the local model's were. Electricity is watts × time on the clock × price of a kilowatt hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from math import ceil

from db.costs import FilmCost, Spent
from enrich.describe.claude.prices import ModelPrice, PriceList, load_prices
from enrich.describe.claude.request import OUTPUT_TOKENS, THOUGHT_TOKENS, words_tokens
from enrich.describe.claude_limits import PICTURES_A_REQUEST, fitted_size, picture_tokens
from enrich.describe.events import known_events
from enrich.describe.quick.protocol import Labelled
from enrich.settings import Settings

WATT_SECONDS_A_KWH = 3_600_000


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the deep pass's frames would have cost with a model, asked at once or in a batch."""

    model: str
    title: str
    usd: float
    batch_usd: float


@dataclass(frozen=True, slots=True)
class Bill:
    """What both passes took, for a film or in all, and what the deep one would have cost elsewhere."""

    quick: Spent
    deep: Spent
    electricity: float | None  # of the deep pass, in the currency of the setting; None: watts or price are not given
    elsewhere: tuple[Elsewhere, ...]

    @property
    def ratio(self) -> float | None:
        """How many times more frames the deep pass has described than the quick one; None without either."""
        return self.deep.frames / self.quick.frames if self.quick.frames and self.deep.frames else None


@dataclass(frozen=True, slots=True)
class FilmBill:
    """One film's bill."""

    film: FilmCost
    bill: Bill


@dataclass(frozen=True, slots=True)
class Comparison:
    """All bills, with the day and the source of the prices. `total` is of the films that are there."""

    films: tuple[FilmBill, ...]
    total: Bill
    prices_as_of: date
    prices_source: str


def compare(films: Sequence[FilmCost], settings: Settings) -> Comparison:
    """The bills of films. Raises SettingsError if the prices cannot be read."""
    prices = load_prices(settings.home)
    bills = tuple(FilmBill(film, _bill(film, prices, settings)) for film in films)
    sums = [
        Elsewhere(
            price.name,
            price.title,
            sum(each.bill.elsewhere[place].usd for each in bills),
            sum(each.bill.elsewhere[place].batch_usd for each in bills),
        )
        for place, price in enumerate(prices.models)
    ]
    deep = sum((film.deep for film in films), Spent())
    total = Bill(sum((film.quick for film in films), Spent()), deep, electricity(deep.seconds, settings), tuple(sums))
    return Comparison(bills, total, prices.as_of, prices.source)


def electricity(seconds: float, settings: Settings) -> float | None:
    """What so much time of describing costs in electricity; None if watts or price are not given."""
    if settings.power_watts is None or settings.kwh_price is None:
        return None
    return settings.power_watts * seconds / WATT_SECONDS_A_KWH * settings.kwh_price


def _bill(film: FilmCost, prices: PriceList, settings: Settings) -> Bill:
    elsewhere = tuple(
        Elsewhere(price.name, price.title, usd, usd * prices.batch_factor)
        for price in prices.models
        for usd in [_usd(film, price, settings)]
    )
    return Bill(film.quick, film.deep, electricity(film.deep.seconds, settings), elsewhere)


def _usd(film: FilmCost, price: ModelPrice, settings: Settings) -> float:
    """What describing a film's described frames would cost, in requests of so many pictures."""
    frames = film.deep.frames
    a_request = min(PICTURES_A_REQUEST, price.most_pictures)
    requests, rest = divmod(frames, a_request)
    usd = requests * _request_usd(film, a_request, price, settings)
    return usd + (_request_usd(film, rest, price, settings) if rest else 0.0)


def _request_usd(film: FilmCost, count: int, price: ModelPrice, settings: Settings) -> float:
    words = _words(count, settings.language, settings.events)
    thought = THOUGHT_TOKENS if price.thinking == "always" else 0
    answer = ceil(film.deep.output_tokens / film.deep.calls) if film.deep.output_tokens else OUTPUT_TOKENS
    size = stored_size(film.width, film.height, settings.stored_edge)
    return price.usd(count * picture_tokens(*fitted_size(*size)) + words, count * answer + thought)


@cache
def _words(count: int, language: str, events: tuple[str, ...]) -> int:
    """What the words around so many pictures count."""
    pictures = [Labelled(f"F{number}", b"", 0.0) for number in range(count)]
    return words_tokens(pictures, context="", language=language, events=known_events(events))


def stored_size(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size of a film's kept pictures."""
    factor = min(1.0, edge / max(width, height, 1))
    return max(1, round(width * factor)), max(1, round(height * factor))
