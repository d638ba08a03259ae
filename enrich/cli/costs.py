"""The command that says what the passes cost, and what they would have cost elsewhere."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from enrich.cli.options import AsJson, Videos, find_videos, open_library
from enrich.cli.output import print_json, print_table, say
from enrich.wording import counted, dollars, first_line, span

if TYPE_CHECKING:
    from db.costs import ModelCost
    from enrich.costs import CostComparison
    from enrich.settings import Settings

WIDTH = 12  # of the first column of lines
LONGEST_TITLE = 40  # characters


def costs(videos: Videos = None, as_json: AsJson = False) -> None:
    """Say what the quick and the deep pass cost.

    For each film and in all; and what the deep pass would have cost with each of Claude's models.
    """
    from db.batches import pending_usd
    from db.costs import model_costs, video_costs
    from db.engine import reading
    from enrich.costs import as_data, compare, spent_this_month

    library = open_library()
    wanted = find_videos(library, videos)
    with reading(library.engine) as connection:
        films = video_costs(connection, wanted)
        models = model_costs(connection)
        spent = spent_this_month(connection, datetime.now(UTC))
        promised = pending_usd(connection)
    found = compare(films, library.settings)
    if as_json:
        month = {"spent_usd": spent, "promised_usd": promised, "budget_usd": library.settings.monthly_budget_usd}
        print_json({**as_data(found), "models": [_model(model) for model in models], "month": month})
        return
    if not films:
        say("The library is empty: everyframe add PATH")
        return
    _say_films(found)
    say()
    if found.total.deep.frames:
        _say_elsewhere(found)
        say()
    _say_total(found, models if wanted is None else [], library.settings, spent, promised)


def _say_films(found: "CostComparison") -> None:
    from enrich.costs import deep_cost

    heads = [("", "right"), ("Film", "left"), ("Quick pass", "right"), ("Tokens", "right"), ("Cost", "right")]
    heads += [("Deep pass", "right"), ("Time", "right"), ("Cost", "left")]
    print_table(
        heads,
        (
            (
                each.film.video_id,
                first_line(each.film.title, LONGEST_TITLE),
                counted(each.bill.quick.frames, "frame"),
                f"{each.bill.quick.prompt_tokens + each.bill.quick.output_tokens:,}",
                dollars(each.bill.quick.usd),
                counted(each.bill.deep.frames, "frame"),
                span(each.bill.deep.seconds) if each.bill.deep.calls else "",
                deep_cost(each.bill),
            )
            for each in found.films
        ),
    )


def _say_elsewhere(found: "CostComparison") -> None:
    deep = found.total.deep
    say(f"The deep pass, {counted(deep.frames, 'frame')}, would have cost:")
    heads = [("Model", "left"), ("At once", "right"), ("In batches", "right"), ("Saved", "right")]
    print_table(
        heads,
        (
            (model.title, dollars(model.usd), dollars(model.batch_usd), dollars(max(0.0, model.usd - deep.usd)))
            for model in found.total.elsewhere
        ),
    )
    say(f"Prices of {found.prices_as_of.isoformat()}, {found.prices_source}")


def _say_total(
    found: "CostComparison", models: "list[ModelCost]", settings: "Settings", spent: float, promised: float
) -> None:
    from enrich.costs import deep_words, quick_words, summary

    say(f"{'Quick pass':<{WIDTH}}{quick_words(found.total)}")
    say(f"{'Deep pass':<{WIDTH}}{deep_words(found.total)}")
    if removed := sum(model.removed_usd for model in models):
        say(f"{'Removed':<{WIDTH}}{dollars(removed)} for films that are not in the library any more")
    waiting = f", and about {dollars(promised)} on its way in batches" if promised else ""
    say(f"{'This month':<{WIDTH}}{dollars(spent)} of {dollars(settings.monthly_budget_usd)}{waiting}")
    if line := summary(found.total):
        say()
        say(line)


def _model(model: "ModelCost") -> dict[str, object]:
    values = asdict(model)
    return {"pass": values.pop("pass_"), **values}
