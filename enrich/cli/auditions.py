"""The command that has models describe some frames of the user's own, side by side: audition."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, meant, open_library, settings_for
from enrich.cli.output import complain, print_json_line, print_table, say
from enrich.errors import SettingsError
from enrich.wording import clock, counted, first_line, span

if TYPE_CHECKING:
    from enrich.audition.audition import Take, Verdict
    from enrich.audition.choosing import Chosen
    from enrich.library.library import Library

MOST_MODELS = 3
MOST_FRAMES = 100
DAY_SECONDS = 86400


def audition(
    model: Annotated[
        list[str] | None, typer.Option("--model", help=f"A vision model; up to {MOST_MODELS}.", show_default=False)
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, max=MOST_FRAMES, help="How many frames.")] = 12,
    video: Annotated[str | None, typer.Option("--video", help="Only of this video.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models on your own frames.

    What each says of the same frames, and how long it would take for the whole library. No description changes.
    """
    from db.engine import reading
    from enrich.audition.audition import require_peace
    from enrich.audition.choosing import choose

    settings = settings_for("ollama")
    models = list(dict.fromkeys(model or [settings.model]))
    if len(models) > MOST_MODELS:
        raise typer.BadParameter(f"name at most {MOST_MODELS} models", param_hint="--model")
    library = open_library(settings)
    video_id = meant(library, video).id if video else None
    require_peace(library)
    with reading(library.engine) as connection:
        chosen = choose(connection, count=frames, video_id=video_id)
    if not chosen:
        raise SettingsError("there are no frames yet: `everyframe extract` takes them out of the videos")
    verdicts = asyncio.run(_hold(library, models, chosen, as_json=as_json))
    if not as_json:
        _say_verdicts(verdicts)
    if any(verdict.error for verdict in verdicts):
        raise typer.Exit(1)


async def _hold(
    library: "Library", models: Sequence[str], chosen: "Sequence[Chosen]", *, as_json: bool
) -> "list[Verdict]":
    from enrich.audition.audition import hold
    from enrich.describe.registry import make_describer

    titles = {one.video.id: one.video.title for one in chosen}

    def on_take(take: "Take") -> None:
        if as_json:
            print_json_line(asdict(take))
        else:
            _say_take(take, titles[take.video_id])

    verdicts = []
    for model in models:
        describer = make_describer(library.settings.model_copy(update={"model": model}))
        verdict = await hold(library, describer, chosen, on_take=on_take)
        if as_json:
            print_json_line(asdict(verdict))
        verdicts.append(verdict)
    return verdicts


def _say_take(take: "Take", title: str) -> None:
    how = span(take.seconds) if take.seconds is not None else "failed"
    say(f"{take.model}, {first_line(title, 60)} at {clock(take.timestamp)}, {how}: {take.text or take.error}")


def _say_verdicts(verdicts: "Sequence[Verdict]") -> None:
    columns = [("MODEL", "left"), ("SECONDS A FRAME", "right"), ("FOR THE LIBRARY", "right")]
    rows = []
    for verdict in verdicts:
        pace = "not measured" if verdict.seconds_per_frame is None else f"{verdict.seconds_per_frame:.2f}"
        days = verdict.days_for_library
        rows.append((verdict.model, pace, span(None if days is None else days * DAY_SECONDS)))
    say(f"For {counted(verdicts[0].library_frames, 'frame')}:")
    print_table(columns, rows)
    for verdict in verdicts:
        if verdict.error:
            complain(f"{verdict.model}: {verdict.error}")
