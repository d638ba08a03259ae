"""Commands that check and upgrade this installation: doctor and migrate."""

import asyncio
import re
import sys
from dataclasses import dataclass, replace
from importlib.metadata import packages_distributions
from shutil import disk_usage, which
from typing import TYPE_CHECKING

import typer

from enrich.cli.models import ollama_of
from enrich.cli.options import AsJson, open_library, settings_for
from enrich.cli.output import print_json, say
from enrich.errors import DescribeError, EveryFrameError, HostDownError, LibraryError
from enrich.logs import without_secrets
from enrich.settings import DEFAULT_OLLAMA_HOST
from enrich.wording import format_bytes

if TYPE_CHECKING:
    from enrich.settings import Settings

MEGABYTE = 1_000_000  # bytes
INSTALL_OLLAMA = (
    "install Ollama from https://ollama.com/download (Linux: curl -fsSL https://ollama.com/install.sh | sh)"
)
UPGRADE = "pip install --upgrade everyframe"
ONE_OPENCV = "pip uninstall {}, then pip install --no-deps opencv-python-headless"  # see docs/install.md


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `remedy` is the command or instruction that fixes it."""

    what: str
    is_good: bool
    finding: str
    remedy: str | None = None


def doctor(as_json: AsJson = False) -> None:
    """Check your setup and show how to fix problems."""
    settings = settings_for()
    checks = [
        replace(check, finding=without_secrets(check.finding))
        for check in (*_machine_checks(settings), *asyncio.run(_ollama_checks(settings)))
    ]
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            say(f"{'ok  ' if check.is_good else 'FAIL'}  {check.what}: {check.finding}")
            if check.remedy:
                say(f"      Fix: {check.remedy}")
    if not all(check.is_good for check in checks):
        raise typer.Exit(1)


def migrate() -> None:
    """Upgrade the library to this version of EveryFrame.

    Backs up the database first.
    """
    from db.engine import make_engine
    from db.errors import StorageError, sqlite_file
    from db.migrate import migrate as upgrade

    settings = settings_for()
    try:
        engine = make_engine(settings.url)
        file = sqlite_file(engine)
        backup = upgrade(engine) if file is None or file.exists() else None
        open_library(settings)
    except StorageError as error:
        raise LibraryError(str(error)) from error
    say(f"The library is up to date.{f' Backup of the previous version: {backup}' if backup else ''}")


def _machine_checks(settings: "Settings") -> list[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [Check("Python", True, version), _video_check(), *_library_checks(settings)]


def _video_check() -> Check:
    wheels = sorted(set(packages_distributions().get("cv2", ())))
    one_opencv = ONE_OPENCV.format(" ".join(wheels) or "opencv-python")
    try:
        import av
        import cv2
    except ImportError as error:
        return Check("video libraries", False, str(error), one_opencv if "libGL" in str(error) else UPGRADE)
    if len(wheels) > 1:  # the last one installed wins, and removing one breaks the other: decision 0002
        return Check("video libraries", False, f"{' and '.join(wheels)} overwrite each other's files", one_opencv)
    return Check("video libraries", True, f"PyAV {av.__version__}, OpenCV {cv2.__version__}")


def _library_checks(settings: "Settings") -> list[Check]:
    from db.engine import write_obstacle
    from db.errors import DatabaseLockedError

    try:
        library = open_library(settings)
        library.require_whole()
    except EveryFrameError as error:
        return [Check("library", False, str(error), _command_in(str(error)))]
    obstacle = write_obstacle(library.engine)
    if obstacle is not None and not isinstance(obstacle, DatabaseLockedError):  # a worker locks it for moments
        return [Check("library", False, str(obstacle))]
    free = disk_usage(settings.home).free // MEGABYTE
    enough = free >= settings.disk_reserve_mb
    finding = f"{format_bytes(free * MEGABYTE)} free, {format_bytes(settings.disk_reserve_mb * MEGABYTE)} reserved"
    remedy = None if enough else "free up disk space, or lower EVERYFRAME_DISK_RESERVE_MB"
    return [Check("library", True, str(settings.home)), Check("disk", enough, finding, remedy)]


async def _ollama_checks(settings: "Settings") -> list[Check]:
    if settings.describer != "ollama":
        return [Check("Ollama", True, f"not needed: the describer is {settings.describer}")]
    describer = ollama_of(settings)
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
                checks.append(Check(f"Ollama at {host}", True, f"{describer.model} is installed (vision model)"))
    finally:
        await describer.close()
    return checks


def _command_in(text: str) -> str | None:
    """The command in an error message: the last text in backticks that has more than one word; None without one."""
    commands = re.findall(r"`([^` ]+ [^`]+)`", text)
    return commands[-1] if commands else None
