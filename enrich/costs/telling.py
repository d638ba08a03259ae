"""Costs in words and in rows, the same in the terminal, on the page and in what is downloaded."""

from dataclasses import asdict
from typing import Any

from enrich.costs.comparison import Bill, Comparison, FilmBill
from enrich.wording import counted, dollars, span

WHOLE_RATIO = 10  # from here on tenths say nothing
ALL_FILMS = "All films"
SMALLEST_POWER_COST = 0.001  # in the user's currency; less is said as under it


def summary(bill: Bill) -> str | None:
    """Both passes side by side: 50 frames @ $0.049, 1,000 frames @ $0.00, 20x more analysis for the same price."""
    quick, deep = bill.quick, bill.deep
    if bill.ratio is None:
        return None
    sides = [f"{counted(side.frames, 'frame')} @ {dollars(side.usd)}" for side in (quick, deep)]
    if bill.ratio > 1 and not deep.usd:
        more = f"{bill.ratio:,.0f}" if bill.ratio >= WHOLE_RATIO else f"{bill.ratio:.1f}".removesuffix(".0")
        sides.append(f"{more}x more analysis for the same price")
    return ", ".join(sides)


def deep_cost(bill: Bill) -> str:
    """What the deep pass cost, electricity too where it is known: without a sign, since its currency is the user's."""
    power = "" if bill.electricity is None else f" + {power_cost(bill.electricity)} of electricity"
    return f"{dollars(bill.deep.usd)}{power}"


def power_cost(amount: float) -> str:
    """A sum in the currency in which the user pays electricity."""
    if 0 < amount < SMALLEST_POWER_COST / 2:
        return f"under {SMALLEST_POWER_COST}"
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.3f}"


def deep_words(bill: Bill) -> str:
    """The deep pass: how many frames, how long, for how much."""
    if not bill.deep.calls:
        return "nothing yet"
    return f"{counted(bill.deep.frames, 'frame')} in {span(bill.deep.seconds)}, {deep_cost(bill)}"


def quick_words(bill: Bill) -> str:
    """The quick pass: how many frames, tokens in and out, for how much."""
    quick = bill.quick
    if not quick.calls:
        return "nothing yet"
    tokens = f"{quick.prompt_tokens:,} tokens in, {quick.output_tokens:,} out"
    return f"{counted(quick.frames, 'frame')}, {tokens}, {dollars(quick.usd)}"


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row a film and one for all, for a table: numbers as they are."""
    films = [_row(str(each.film.video_id), each.film.title, each.bill) for each in comparison.films]
    return [*films, _row("", ALL_FILMS, comparison.total)]


def as_data(comparison: Comparison) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "films": [_film_data(each) for each in comparison.films],
        "total": _data(comparison.total),
        "summary": summary(comparison.total),
        "prices": {"as_of": comparison.prices_as_of.isoformat(), "source": comparison.prices_source},
    }


def _row(video_id: str, title: str, bill: Bill) -> dict[str, Any]:
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


def _film_data(each: FilmBill) -> dict[str, Any]:
    return {"video_id": each.film.video_id, "title": each.film.title, "kept": each.film.kept, **_data(each.bill)}


def _data(bill: Bill) -> dict[str, Any]:
    return {
        "quick": asdict(bill.quick),
        "deep": asdict(bill.deep),
        "deep_electricity": bill.electricity,
        "elsewhere": [asdict(model) | {"saved_usd": model.usd - bill.deep.usd} for model in bill.elsewhere],
    }
