"""The command `everyframe`. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, cast

import typer

from db.errors import StorageError
from enrich.cli import (
    check,
    control,
    costs,
    entry,
    estimate,
    find,
    frames,
    machine,
    models,
    quick,
    settings,
    videos,
    work,
)
from enrich.cli.dashboard import dashboard
from enrich.cli.demo import demo
from enrich.cli.output import INTERRUPTED, print_error, say
from enrich.errors import EveryFrameError
from enrich.logs import without_secrets, write_crash_report
from enrich.process import keep_files_private
from enrich.settings import data_folder
from enrich.wording import one_line

# Typer vendors click and exports only this subclass of its errors. The base class is two steps up.
ClickError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

app = typer.Typer(
    name="everyframe",
    help=(
        "Describe every frame of your videos with a vision model on your own computer, and search them.\n\n"
        "\b\nGet started:\n"
        "  everyframe doctor             check your setup\n"
        "  everyframe add ~/Videos       add videos or folders\n"
        "  everyframe start              describe them in the background\n"
        "  everyframe search red car     find moments\n"
        "  everyframe dashboard          open the dashboard in your browser"
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        say(f"everyframe {version('everyframe')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of `everyframe` itself, without a command."""


app.command()(machine.doctor)
app.add_typer(models.models_app, name="models")
app.add_typer(settings.settings_app, name="settings")
app.command()(videos.add)
app.command()(estimate.estimate)
app.command()(estimate.plan)
app.command()(work.extract)
app.command()(work.enrich)
app.command()(control.start)
app.command()(control.pause)
app.command()(control.resume)
app.command()(control.stop)
app.command()(control.status)
app.command()(work.worker)
app.command()(frames.first)
app.command("list")(videos.list_videos)
app.command()(find.show)
app.command()(quick.quick)
app.command()(frames.strip)
app.command()(frames.describe)
app.command()(models.audition)
app.command()(costs.costs)
app.command("set")(entry.change)
app.command()(entry.relink)
app.command()(entry.remove)
app.command()(work.retry)
app.command()(find.search)
app.command()(videos.export)
app.command()(check.audit)
app.command()(check.verify)
app.command()(machine.migrate)
app.command()(dashboard)
app.command()(demo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    keep_files_private()
    if isinstance(sys.stdout, io.TextIOWrapper):  # an unencodable character must not abort a command
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="replace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors are printed in one line, without a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    try:
        code = command.main(args=given or ["--help"], prog_name="everyframe", standalone_mode=False)
        sys.stdout.flush()
    except ClickError as error:
        context = getattr(error, "ctx", None)
        message = error.format_message().replace("Value error, ", "")
        print_error(f"{message} (see `{context.command_path if context else 'everyframe'} --help`)")
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted")
        return INTERRUPTED
    except (EveryFrameError, StorageError) as error:
        print_error(str(error))
        return 1
    except BrokenPipeError:  # `everyframe list | head`
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  # users get one line, not a traceback
        print_error(_unexpected(error))
        return 1
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception) -> str:
    """The message for an unexpected error. The traceback is written to a file in the data folder."""
    message = f"{type(error).__name__}: {one_line(without_secrets(str(error)))}"  # half an address shows its password
    file = write_crash_report(data_folder() / "logs", error, datetime.now(UTC))
    return f"{message} (details: {file})" if file is not None else message
