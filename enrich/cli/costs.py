"""The command `costs`: what the passes cost, and what Claude would have cost instead."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from enrich.cli.options import AsJson, Videos, find_videos, open_library
from enrich.cli.output import print_json, print_table, say
from enrich.wording import format_count, format_duration, format_usd, one_line

if TYPE_CHECKING:
    from db.costs import ModelCost
    from enrich.costs import CostComparison
    from enrich.settings import Settings

LABEL_WIDTH = 12  # characters
MAX_TITLE_CHARACTERS = 40


def costs(videos: Videos = None, as_json: AsJson = False) -> None:
    """Show what the quick pass and the deep pass cost.

    Shows the costs per video and in total, and what the deep pass would have cost with each Claude model.
    """
    from db.costs import model_costs, video_costs
    from db.engine import reading
    from enrich.costs import as_data, compare, record_abandoned_requests, reserved_this_month, spent_this_month

    library = open_library()
    wanted = find_videos(library, videos)
    record_abandoned_requests(library.engine)
    with reading(library.engine) as connection:
        now = datetime.now(UTC)
        video_bills = video_costs(connection, wanted)
        models = model_costs(connection)
        spent = spent_this_month(connection, now)
        reserved = reserved_this_month(connection, now)
    found = compare(video_bills, library.settings)
    if as_json:
        month = {"spent_usd": spent, "promised_usd": reserved, "budget_usd": library.settings.monthly_budget_usd}
        print_json({**as_data(found), "models": [_model(model) for model in models], "month": month})
        return
    if not video_bills and not models and not reserved:  # removed videos stay in the books
        say("The library is empty. Add videos: everyframe add PATH")
        return
    if video_bills:
        _print_videos(found)
        say()
    if found.total.deep.frames:
        _print_alternatives(found)
        say()
    _print_total(found, models if wanted is None else [], library.settings, spent, reserved)


def _print_videos(found: "CostComparison") -> None:
    from enrich.costs import deep_cost

    heads = [("", "right"), ("Video", "left"), ("Quick pass", "right"), ("Tokens", "right"), ("Cost", "right")]
    heads += [("Deep pass", "right"), ("Time", "right"), ("Cost", "left")]
    print_table(
        heads,
        (
            (
                each.video.video_id,
                one_line(each.video.title, MAX_TITLE_CHARACTERS),
                format_count(each.summary.quick.frames, "frame"),
                f"{each.summary.quick.prompt_tokens + each.summary.quick.output_tokens:,}",
                format_usd(each.summary.quick.usd),
                format_count(each.summary.deep.frames, "frame"),
                format_duration(each.summary.deep.seconds) if each.summary.deep.calls else "",
                deep_cost(each.summary),
            )
            for each in found.videos
        ),
    )


def _print_alternatives(found: "CostComparison") -> None:
    deep = found.total.deep
    say(f"The deep pass ({format_count(deep.frames, 'frame')}) would have cost with Claude:")
    heads = [("Model", "left"), ("Standard", "right"), ("Batch", "right"), ("You saved", "right")]
    print_table(
        heads,
        (
            (
                model.title,
                format_usd(model.usd),
                format_usd(model.batch_usd),
                format_usd(max(0.0, model.usd - deep.usd)),
            )
            for model in found.total.alternatives
        ),
    )
    say(f"Prices as of {found.prices_as_of.isoformat()}, {found.prices_source}")


def _print_total(
    found: "CostComparison", models: "list[ModelCost]", settings: "Settings", spent: float, reserved: float
) -> None:
    from enrich.costs import deep_summary, quick_summary, summary_line

    say(f"{'Quick pass':<{LABEL_WIDTH}}{quick_summary(found.total)}")
    say(f"{'Deep pass':<{LABEL_WIDTH}}{deep_summary(found.total)}")
    if removed := sum(model.removed_usd for model in models):
        say(f"{'Removed':<{LABEL_WIDTH}}{format_usd(removed)} for videos that are no longer in the library")
    waiting = f", plus up to {format_usd(reserved)} reserved for requests and batches under way" if reserved else ""
    say(f"{'This month':<{LABEL_WIDTH}}{format_usd(spent)} of {format_usd(settings.monthly_budget_usd)}{waiting}")
    if line := summary_line(found.total):
        say()
        say(line)


def _model(model: "ModelCost") -> dict[str, object]:
    values = asdict(model)
    return {"pass": values.pop("pass_"), **values}
