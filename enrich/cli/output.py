"""What the command line prints: text, tables and JSON on stdout; one-line errors and progress on stderr.

And how a command ends gracefully on Ctrl-C or SIGTERM.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from enrich.logs import without_secrets
from enrich.wording import json_text, one_line, printable

INTERRUPTED = 130  # exit code after Ctrl-C


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the running event loop at the first SIGINT or SIGTERM; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)  # also wakes the loop

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


PIPE_WIDTH = 200  # columns, when stdout is not a terminal
STATUS_WORDS = {  # of a video's extraction and description, as shown to people
    "pending": "waiting",
    "skimmed": "previewed",
    "extracting": "extracting",
    "extracted": "extracted",
    "enriching": "describing",
    "enriched": "described",
    "failed": "failed",
}
LINE_SECONDS = 15.0  # between two lines of progress, when stderr is not a terminal
Meter: TypeAlias = Callable[[str, int, int | None], None]  # label, count done, total if known


def console() -> Console:
    """A console for the current stdout (tests replace it); no colours unless it is a terminal."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_WIDTH)


def say(text: str = "") -> None:
    """Print a line. Model output and file names are printed as text, never interpreted as markup.

    Further lines in it are indented: a name with a line break cannot look like another message.
    """
    console().print(Text(printable(text).replace("\n", "\n    ")), soft_wrap=True)


def confirm(question: str, *, aborts: bool = True) -> bool:
    """Ask the user at the terminal, on one line. Raises typer.Abort if the answer is no, unless `aborts` is False."""
    return typer.confirm(one_line(question, None), abort=aborts)


def print_error(text: str) -> None:
    """Print an error as one line on stderr, without secrets."""
    print(one_line(f"everyframe: {without_secrets(text)}", None), file=sys.stderr)  # noqa: T201


def print_json(value: Any) -> None:
    """Print a value as JSON; dataclasses as objects, times in ISO 8601."""
    print(as_json_text(value))  # noqa: T201


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON and flush, for programs that follow the progress."""
    print(as_json_text(value, indent=None), flush=True)  # noqa: T201


def as_json_text(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON, with control characters escaped and other characters as they are."""
    return json_text(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def print_table(columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[object]]) -> None:
    """Print a table. Each column is its heading and `left` or `right`."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, justify in columns:
        table.add_column(
            heading, justify="right" if justify == "right" else "left", no_wrap=justify == "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(one_line(cell, None)) for cell in row))
    console().print(table)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


@contextmanager
def meter() -> Iterator[Meter]:
    """A progress display on stderr: a bar for each label in a terminal, otherwise a line every few seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _meter_lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        tasks: dict[str, TaskID] = {}

        def show(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = progress.add_task(one_line(label, None), total=total)
            progress.update(tasks[label], completed=done, total=total)

        yield show


def _meter_lines() -> Meter:
    last = time.monotonic()

    def show(label: str, done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            print(f"{one_line(label, None)}: {done} of {total or '?'}", file=sys.stderr, flush=True)  # noqa: T201
            last = time.monotonic()

    return show
