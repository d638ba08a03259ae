"""Commands about the models of the Ollama servers: what is there, pull, remove.

The command that has models describe some frames of the user's own, side by side: audition.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, find_one_video, open_library, settings_for
from enrich.cli.output import print_error, print_json, print_json_line, print_table, say
from enrich.errors import DescribeError, ModelError, SettingsError
from enrich.wording import clock, counted, first_line, size, span

if TYPE_CHECKING:
    from enrich.audition import AuditionFrame, AuditionReply, AuditionResult
    from enrich.describe.ollama.describer import OllamaDescriber
    from enrich.describe.ollama.models import InstalledModel, PullProgress
    from enrich.library.library import Library
    from enrich.settings import Settings

LINE_SECONDS = 1.0  # between two JSON lines about one layer of a download; servers say more
models_app = typer.Typer(
    help="Show, pull or remove vision models.",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)
MOST_MODELS = 3
MOST_FRAMES = 100
DAY_SECONDS = 86400


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models of every host: size, whether they see, seconds a frame here."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_for()
    found = asyncio.run(_installed(settings))
    speeds = _speeds(settings, [model.name for _, model in found])
    rows = [
        {
            "host": host,
            "name": model.name,
            "size_bytes": model.size_bytes,
            "family": model.family,
            "parameter_size": model.parameter_size,
            "digest": model.digest,
            "sees": model.sees,
            "is_cloud": model.is_cloud,
            "loaded": model.loaded,
            "fits_gpu": model.fits_gpu,
            "seconds_per_frame": speeds.get(model.name),
        }
        for host, model in found
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"No model is installed. Get one: ollama pull {settings.model}")
        return
    columns = [("MODEL", "left"), ("SIZE", "right"), ("SEES", "left"), ("LOADED", "left"), ("SECONDS A FRAME", "right")]
    print_table(
        [*columns, ("HOST", "left")],
        [
            (
                f"{model.name}{' (cloud: refused)' if model.is_cloud and not settings.allow_cloud else ''}",
                size(model.size_bytes),
                "yes" if model.sees else "no",
                {True: "GPU", False: "partly GPU", None: "processor"}[model.fits_gpu] if model.loaded else "no",
                f"{speeds[model.name]:.2f}" if model.name in speeds else "not measured",
                host,
            )
            for host, model in found
        ],
    )


@models_app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, such as llava:13b.")], as_json: AsJson = False
) -> None:
    """Download a model to every host, with a progress bar, or a JSON line for every step."""
    settings = settings_for(model=name)
    asyncio.run(_pull_in_lines(settings, name) if as_json else _pull(settings, name))


@models_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, such as llava:13b.")],
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Only from this host, else from every one.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a model from the hosts that have it; what it has described stays."""
    settings = settings_for()
    removed = asyncio.run(_remove(settings, name, host=host, is_sure=yes))
    if as_json:
        print_json([{"host": host, "name": model.name, "size_bytes": model.size_bytes} for host, model in removed])
        return
    for where, model in removed:
        say(f"Removed {model.name} ({size(model.size_bytes)}) from {where}.")


def ollama_of(settings: "Settings") -> "OllamaDescriber":
    """The Ollama servers of the settings. The caller closes it."""
    from enrich.describe.ollama.describer import OllamaDescriber

    return OllamaDescriber(settings)


async def _installed(settings: "Settings") -> "list[tuple[str, InstalledModel]]":
    describer = ollama_of(settings)
    found = []
    try:
        for host in describer.hosts:
            try:
                found += [(host, model) for model in await describer.installed(host)]
            except DescribeError as error:
                if len(describer.hosts) == 1:
                    raise
                print_error(str(error))
    finally:
        await describer.close()
    return found


async def _pull(settings: "Settings", name: str) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    describer = ollama_of(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        for host in describer.hosts:
            with Progress(*columns) as progress:
                layers: dict[str, object] = {}
                async for part in describer.pull(host, name):
                    if part.total is None:
                        continue
                    if part.status not in layers:
                        layers[part.status] = progress.add_task(part.status, total=part.total)
                    progress.update(layers[part.status], completed=part.completed or 0)  # type: ignore[arg-type]
            say(f"{name} is installed at {host}.")
    finally:
        await describer.close()


async def _pull_in_lines(settings: "Settings", name: str) -> None:
    describer = ollama_of(settings)
    try:
        for host in describer.hosts:
            last: PullProgress | None = None
            said_at = 0.0
            async for part in describer.pull(host, name):
                is_new = last is None or part.status != last.status
                is_whole = part.total is not None and part.completed == part.total
                if part != last and (is_new or is_whole or time.monotonic() - said_at >= LINE_SECONDS):
                    said = {"status": part.status, "completed": part.completed, "total": part.total}
                    print_json_line({"host": host, **said})
                    last, said_at = part, time.monotonic()
    finally:
        await describer.close()


async def _remove(
    settings: "Settings", name: str, *, host: str | None, is_sure: bool
) -> "list[tuple[str, InstalledModel]]":
    """Delete a model, after a question if need be; from where, and what it was."""
    from enrich.describe.ollama.models import whole_name
    from enrich.settings import host_address

    try:
        only = host_address(host) if host is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from error
    describer = ollama_of(settings)
    try:
        hosts = [one for one in describer.hosts if only in (None, one)]
        if not hosts:
            raise SettingsError(f"{only} is none of the hosts: {', '.join(describer.hosts)}")
        has = [(one, model) for one in hosts for model in await describer.installed(one)]
        found = [(one, model) for one, model in has if model.name.lower() == whole_name(name).lower()]
        if not found:
            raise ModelError(f"`{name}` is not installed at {' or '.join(hosts)}: see `everyframe models`")
        _be_sure(settings, found, is_sure=is_sure)
        for one, model in found:
            await describer.remove(one, model.name)
    finally:
        await describer.close()
    return found


def _be_sure(settings: "Settings", found: "list[tuple[str, InstalledModel]]", *, is_sure: bool) -> None:
    """Ask whether the models are to be deleted. Raises typer.Abort, or SettingsError where there is nobody to ask."""
    if is_sure:
        return
    from enrich.describe.ollama.models import whole_name

    _, model = found[0]
    is_used = model.name.lower() == whole_name(settings.model).lower()
    what = f"{model.name} ({size(model.size_bytes)}{', the model that describes your frames' if is_used else ''})"
    where = " and ".join(host for host, _ in found)
    if not sys.stdin.isatty():
        raise SettingsError(f"{what} would be deleted from {where}: say --yes to do it")
    typer.confirm(f"Delete {what} from {where}?", abort=True)


def _speeds(settings: "Settings", names: list[str]) -> dict[str, float]:
    from db import queries
    from db.engine import reading

    library = open_library(settings)
    found = {}
    with reading(library.engine) as connection:
        for name in names:
            for called in (name, name.removesuffix(":latest")):
                if (speed := queries.speed(connection, "ollama", called)) is not None:
                    found[name] = speed.seconds_per_frame
    return found


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
    from enrich.audition import choose_frames, require_idle_worker

    settings = settings_for("ollama")
    models = list(dict.fromkeys(model or [settings.model]))
    if len(models) > MOST_MODELS:
        raise typer.BadParameter(f"name at most {MOST_MODELS} models", param_hint="--model")
    library = open_library(settings)
    video_id = find_one_video(library, video).id if video else None
    require_idle_worker(library)
    with reading(library.engine) as connection:
        chosen = choose_frames(connection, count=frames, video_id=video_id)
    if not chosen:
        raise SettingsError("there are no frames yet: `everyframe extract` takes them out of the videos")
    verdicts = asyncio.run(_hold(library, models, chosen, as_json=as_json))
    if not as_json:
        _say_verdicts(verdicts)
    if any(verdict.error for verdict in verdicts):
        raise typer.Exit(1)


async def _hold(
    library: "Library", models: Sequence[str], chosen: "Sequence[AuditionFrame]", *, as_json: bool
) -> "list[AuditionResult]":
    from enrich.audition import run_audition
    from enrich.describe.registry import make_describer

    titles = {one.video.id: one.video.title for one in chosen}

    def on_take(take: "AuditionReply") -> None:
        if as_json:
            print_json_line(asdict(take))
        else:
            _say_take(take, titles[take.video_id])

    verdicts = []
    for model in models:
        describer = make_describer(library.settings.model_copy(update={"model": model}))
        verdict = await run_audition(library, describer, chosen, on_reply=on_take)
        if as_json:
            print_json_line(asdict(verdict))
        verdicts.append(verdict)
    return verdicts


def _say_take(take: "AuditionReply", title: str) -> None:
    how = span(take.seconds) if take.seconds is not None else "failed"
    say(f"{take.model}, {first_line(title, 60)} at {clock(take.timestamp)}, {how}: {take.text or take.error}")


def _say_verdicts(verdicts: "Sequence[AuditionResult]") -> None:
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
            print_error(f"{verdict.model}: {verdict.error}")
