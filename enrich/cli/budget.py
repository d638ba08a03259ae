"""The time budget of a night: how it is typed, and the command that says what it will reach."""

import math
from datetime import UTC, datetime
from typing import Annotated

import typer

from enrich.cli.options import AsJson, DescriberName, ModelName, Videos, all_meant, open_library, settings_for
from enrich.cli.output import print_json, say
from enrich.manage.budget import end_after, end_by

UNMEASURED = "the speed of {model} is not known here yet: it is after the first frames are described"

Within = Annotated[str | None, typer.Option("--within", help="Take up no new work after 8h, 30m, 1h30m …")]
By = Annotated[str | None, typer.Option("--by", help="Take up no new work after this time, such as 07:00.")]


def end_of(within: str | None, by: str | None, now: datetime) -> datetime | None:
    """When a night ends by what was typed, None if it has no end; wrong usage where that is no time."""
    if within is not None and by is not None:
        raise typer.BadParameter("use one of --within and --by")
    try:
        if within is not None:
            return end_after(within, now)
        return end_by(by, now) if by is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--by" if within is None else "--within") from error


def plan(
    videos: Videos = None,
    within: Within = None,
    by: By = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Say what a night will reach.

    How fine the library is covered by then, and when all of it is done; nothing is begun.
    """
    from db.engine import reading
    from enrich.cli.planning import plan_text
    from enrich.work.plan import plan as make_plan

    now = datetime.now(UTC)
    end = end_of(within, by, now)
    library = open_library(settings_for(describer, model))
    chosen = all_meant(library, videos)
    seconds = math.inf if end is None else (end - now).total_seconds()
    with reading(library.engine) as connection:
        found = make_plan(connection, library.settings, chosen, seconds=seconds)
    settings = library.settings
    reason = None
    if found is None:
        reason = UNMEASURED.format(model=settings.model if settings.describer == "ollama" else settings.describer)
    elif not found.left:
        reason = "nothing is left to describe"
    text = plan_text(found, now.astimezone()) if found is not None and found.left else None
    if not as_json:
        say(f"Plan:    {text or reason}")
        return
    print_json(
        {
            "seconds": None if end is None else seconds,
            "until": end,
            "calls": found.calls if found else None,
            "left": found.left if found else None,
            "gap_seconds": found.gap if found else None,
            "all_seconds": found.all_seconds if found else None,
            "text": text,
            "reason": reason,
        }
    )
