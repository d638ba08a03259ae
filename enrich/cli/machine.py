"""Commands about this machine: doctor, models, migrate."""

import asyncio
import re
import sys
from dataclasses import dataclass
from shutil import disk_usage, which
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, open_library, settings_for
from enrich.cli.output import complain, print_json, print_table, say
from enrich.errors import DescribeError, EveryFrameError, HostDownError, LibraryError
from enrich.settings import DEFAULT_OLLAMA_HOST
from enrich.wording import size

if TYPE_CHECKING:
    from enrich.describe.installed import InstalledModel
    from enrich.describe.ollama import OllamaDescriber
    from enrich.settings import Settings

MEGABYTE = 1_000_000
INSTALL_OLLAMA = "install it: https://ollama.com/download (Linux: curl -fsSL https://ollama.com/install.sh | sh)"

models_app = typer.Typer(
    help="Show the vision models that are installed, or pull one.",
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode=None,
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is the command that mends it."""

    what: str
    is_good: bool
    finding: str
    remedy: str | None = None


def doctor(as_json: AsJson = False) -> None:
    """Say what is missing, and the command that mends it."""
    settings = settings_for()
    checks = [*_machine_checks(settings), *asyncio.run(_ollama_checks(settings))]
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            say(f"{'ok  ' if check.is_good else 'FAIL'}  {check.what}: {check.finding}")
            if check.remedy:
                say(f"      mend it: {check.remedy}")
    if not all(check.is_good for check in checks):
        raise typer.Exit(1)


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
def pull(name: Annotated[str, typer.Argument(metavar="NAME", help="A model, such as llava:13b.")]) -> None:
    """Download a model to every host, with a progress bar."""
    settings = settings_for(model=name)
    asyncio.run(_pull(settings, name))


def migrate() -> None:
    """Bring the library to this version.

    A copy of the database is made first.
    """
    from db.engine import make_engine, sqlite_file
    from db.migrate import SchemaError
    from db.migrate import migrate as upgrade

    settings = settings_for()
    try:
        engine = make_engine(settings.url)
        file = sqlite_file(engine)
        copy = upgrade(engine) if file is None or file.exists() else None
        open_library(settings)
    except SchemaError as error:
        raise LibraryError(str(error)) from error
    say(f"The library is up to date{f'; the copy made before: {copy}' if copy else ''}.")


def _machine_checks(settings: "Settings") -> list[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [Check("Python", True, version), _video_check(), *_library_checks(settings)]


def _video_check() -> Check:
    try:
        import av
        import cv2
    except ImportError as error:
        remedy = "pip install --force-reinstall opencv-python-headless" if "libGL" in str(error) else "make setup"
        return Check("video libraries", False, str(error), remedy)
    return Check("video libraries", True, f"PyAV {av.__version__}, OpenCV {cv2.__version__}")


def _library_checks(settings: "Settings") -> list[Check]:
    try:
        open_library(settings).require_whole()
    except EveryFrameError as error:
        return [Check("library", False, str(error), _command_in(str(error)))]
    free = disk_usage(settings.home).free // MEGABYTE
    enough = free >= settings.disk_reserve_mb
    finding = f"{size(free * MEGABYTE)} free, {size(settings.disk_reserve_mb * MEGABYTE)} kept in reserve"
    remedy = None if enough else "free some space, or lower EVERYFRAME_DISK_RESERVE_MB"
    return [Check("library", True, str(settings.home)), Check("disk", enough, finding, remedy)]


async def _ollama_checks(settings: "Settings") -> list[Check]:
    if settings.describer != "ollama":
        return [Check("Ollama", True, f"not asked: the describer is {settings.describer}")]
    describer = _ollama(settings)
    checks = []
    try:
        for host in describer.hosts:
            try:
                await describer.check(host)
            except DescribeError as error:
                is_missing = isinstance(error, HostDownError) and host == DEFAULT_OLLAMA_HOST and not which("ollama")
                remedy = INSTALL_OLLAMA if is_missing else _command_in(str(error))
                checks.append(Check(f"Ollama at {host}", False, str(error), remedy))
            else:
                checks.append(Check(f"Ollama at {host}", True, f"has {describer.model}, which sees"))
    finally:
        await describer.close()
    return checks


def _command_in(text: str) -> str | None:
    """The command an error names, if it names one: the last words in backticks that are more than one word."""
    commands = re.findall(r"`([^` ]+ [^`]+)`", text)
    return commands[-1] if commands else None


async def _installed(settings: "Settings") -> "list[tuple[str, InstalledModel]]":
    describer = _ollama(settings)
    found = []
    try:
        for host in describer.hosts:
            try:
                found += [(host, model) for model in await describer.installed(host)]
            except DescribeError as error:
                if len(describer.hosts) == 1:
                    raise
                complain(str(error))
    finally:
        await describer.close()
    return found


async def _pull(settings: "Settings", name: str) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    describer = _ollama(settings)
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


def _ollama(settings: "Settings") -> "OllamaDescriber":
    from enrich.describe.ollama import OllamaDescriber

    return OllamaDescriber(settings)


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
