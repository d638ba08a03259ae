"""Commands for vision models: list, pull and remove them on the Ollama servers, and compare them (audition)."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, find_one_video, open_library, settings_for
from enrich.cli.output import confirm, print_error, print_json, print_json_line, print_table, say
from enrich.errors import DescribeError, ModelError, SettingsError
from enrich.wording import format_bytes, format_count, format_duration, format_timestamp, one_line

if TYPE_CHECKING:
    from enrich.audition import AuditionFrame, AuditionReply, AuditionResult
    from enrich.describe.ollama.describer import OllamaDescriber
    from enrich.describe.ollama.models import InstalledModel, PullProgress
    from enrich.library.library import Library
    from enrich.settings import Settings

LINE_SECONDS = 1.0  # between two JSON lines about one layer of a download; servers report more often
MAX_MODELS = 3
MAX_FRAMES = 100
DAY_SECONDS = 86400

models_app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)


@models_app.callback()
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """List, download or remove vision models.

    Without a command, lists the installed models of every host with their measured speed on this computer.

    Example: everyframe models pull llava:13b
    """
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
        say(f"No model is installed. Install one: everyframe models pull {settings.model}")
        return
    columns = [("MODEL", "left"), ("SIZE", "right"), ("VISION", "left"), ("LOADED", "left"), ("SECONDS/FRAME", "right")]
    print_table(
        [*columns, ("HOST", "left")],
        [
            (
                f"{model.name}{' (cloud: not allowed)' if model.is_cloud and not settings.allow_cloud else ''}",
                format_bytes(model.size_bytes),
                "yes" if model.sees else "no",
                {True: "GPU", False: "partly GPU", None: "CPU"}[model.fits_gpu] if model.loaded else "no",
                f"{speeds[model.name]:.2f}" if model.name in speeds else "not measured",
                host,
            )
            for host, model in found
        ],
    )


@models_app.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model name, such as llava:13b.")], as_json: AsJson = False
) -> None:
    """Download a model to every host.

    With --json, prints one line of JSON per step.

    Example: everyframe models pull llava:13b
    """
    settings = settings_for(model=name)
    asyncio.run(_pull_in_lines(settings, name) if as_json else _pull(settings, name))


@models_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model name, such as llava:13b.")],
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Remove it from this host only.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a model from every host.

    Existing descriptions are kept.
    """
    settings = settings_for()
    removed = asyncio.run(_remove(settings, name, host=host, is_confirmed=yes))
    if as_json:
        print_json([{"host": host, "name": model.name, "size_bytes": model.size_bytes} for host, model in removed])
        return
    for where, model in removed:
        say(f"Removed {model.name} ({format_bytes(model.size_bytes)}) from {where}.")


def ollama_of(settings: "Settings") -> "OllamaDescriber":
    """A describer for the configured Ollama servers. The caller closes it."""
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
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        for host in describer.hosts:
            with Progress(*columns) as progress:
                layers: dict[str, object] = {}
                async for part in describer.pull(host, name):
                    if part.total is None:
                        continue
                    if part.status not in layers:
                        layers[part.status] = progress.add_task(one_line(part.status), total=part.total)
                    progress.update(layers[part.status], completed=part.completed or 0)  # type: ignore[arg-type]
            say(f"{name} is installed at {host}.")
    finally:
        await describer.close()


async def _pull_in_lines(settings: "Settings", name: str) -> None:
    describer = ollama_of(settings)
    try:
        for host in describer.hosts:
            last: PullProgress | None = None
            printed_at = 0.0
            async for part in describer.pull(host, name):
                is_new = last is None or part.status != last.status
                is_complete = part.total is not None and part.completed == part.total
                if part != last and (is_new or is_complete or time.monotonic() - printed_at >= LINE_SECONDS):
                    progress = {"status": part.status, "completed": part.completed, "total": part.total}
                    print_json_line({"host": host, **progress})
                    last, printed_at = part, time.monotonic()
    finally:
        await describer.close()


async def _remove(
    settings: "Settings", name: str, *, host: str | None, is_confirmed: bool
) -> "list[tuple[str, InstalledModel]]":
    """Delete a model, after confirmation; returns the hosts and the deleted models."""
    from enrich.settings import host_address, is_same_model

    try:
        only = host_address(host) if host is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from error
    describer = ollama_of(settings)
    try:
        hosts = [one for one in describer.hosts if only in (None, one)]
        if not hosts:
            raise SettingsError(f"{only} is not one of your hosts: {', '.join(describer.hosts)}")
        has = [(one, model) for one in hosts for model in await describer.installed(one)]
        found = [(one, model) for one, model in has if is_same_model(model.name, name)]
        if not found:
            raise ModelError(
                f"`{name}` is not installed at {' or '.join(hosts)}. List installed models with `everyframe models`"
            )
        _confirm_removal(settings, found, is_confirmed=is_confirmed)
        for one, model in found:
            await describer.remove(one, model.name)
    finally:
        await describer.close()
    return found


def _confirm_removal(settings: "Settings", found: "list[tuple[str, InstalledModel]]", *, is_confirmed: bool) -> None:
    """Ask for confirmation. Raises typer.Abort, or SettingsError if stdin is not a terminal."""
    if is_confirmed:
        return
    from enrich.settings import is_same_model

    _, model = found[0]
    is_used = is_same_model(model.name, settings.model)
    what = f"{model.name} ({format_bytes(model.size_bytes)}{', your current model' if is_used else ''})"
    where = " and ".join(host for host, _ in found)
    if not sys.stdin.isatty():
        raise SettingsError(f"pass --yes to delete {what} from {where}")
    confirm(f"Delete {what} from {where}?")


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
        list[str] | None,
        typer.Option("--model", help=f"A vision model to compare; repeatable, up to {MAX_MODELS}.", show_default=False),
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, max=MAX_FRAMES, help="Number of frames to describe.")] = 12,
    video: Annotated[str | None, typer.Option("--video", help="Use frames of this video only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models on your own frames.

    Describes the same frames with each model, and estimates how long each would take for the whole library. Existing
    descriptions do not change.

    Example: everyframe audition --model llava:13b --model moondream
    """
    from db.engine import reading
    from enrich.audition import choose_frames, require_idle_worker

    settings = settings_for("ollama")
    models = list(dict.fromkeys(model or [settings.model]))
    if len(models) > MAX_MODELS:
        raise typer.BadParameter(f"use at most {MAX_MODELS} models", param_hint="--model")
    library = open_library(settings)
    video_id = find_one_video(library, video).id if video else None
    require_idle_worker(library)
    with reading(library.engine) as connection:
        chosen = choose_frames(connection, count=frames, video_id=video_id)
    if not chosen:
        raise SettingsError("there are no frames yet. Extract some with `everyframe extract`")
    results = asyncio.run(_audition(library, models, chosen, as_json=as_json))
    if not as_json:
        _print_results(results)
    if any(result.error for result in results):
        raise typer.Exit(1)


async def _audition(
    library: "Library", models: Sequence[str], chosen: "Sequence[AuditionFrame]", *, as_json: bool
) -> "list[AuditionResult]":
    from enrich.audition import run_audition
    from enrich.describe.registry import make_describer

    titles = {one.video.id: one.video.title for one in chosen}

    def on_reply(reply: "AuditionReply") -> None:
        if as_json:
            print_json_line(asdict(reply))
        else:
            _print_reply(reply, titles[reply.video_id])

    results = []
    for model in models:
        describer = make_describer(library.settings.model_copy(update={"model": model}))
        result = await run_audition(library, describer, chosen, on_reply=on_reply)
        if as_json:
            print_json_line(asdict(result))
        results.append(result)
    return results


def _print_reply(reply: "AuditionReply", title: str) -> None:
    duration = format_duration(reply.seconds) if reply.seconds is not None else "failed"
    where = f"{one_line(title, 60)} at {format_timestamp(reply.timestamp)}"
    say(f"{reply.model}, {where}, {duration}: {reply.text or reply.error}")


def _print_results(results: "Sequence[AuditionResult]") -> None:
    columns = [("MODEL", "left"), ("SECONDS/FRAME", "right"), ("WHOLE LIBRARY", "right")]
    rows = []
    for result in results:
        speed = "not measured" if result.seconds_per_frame is None else f"{result.seconds_per_frame:.2f}"
        days = result.days_for_library
        rows.append((result.model, speed, format_duration(None if days is None else days * DAY_SECONDS)))
    say(f"Time for {format_count(results[0].library_frames, 'frame')} in the library:")
    print_table(columns, rows)
    for result in results:
        if result.error:
            print_error(f"{result.model}: {result.error}")
