"""What the command line prints: tables and sentences on stdout, errors in one line on stderr, JSON on request.

A meter: how far a command is, as a bar where somebody looks, as a line now and then elsewhere. On stderr.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from enrich.wording import UNPRINTABLE, printable

PIPE_WIDTH = 200  # columns, where nobody has a window
LINE_SECONDS = 15.0
Meter: TypeAlias = Callable[[str, int, int | None], None]  # what is done, how many so far, of how many if that is known


def console() -> Console:
    """Stdout as it is now (tests replace it); no colours where nobody sees them."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_WIDTH)


def say(text: str = "") -> None:
    """Print a line. What models and file names say is text, never markup."""
    console().print(Text(printable(text)), soft_wrap=True)


def print_error(text: str) -> None:
    """Print an error as one line on stderr."""
    print(printable(" ".join(f"everyframe: {text}".split())), file=sys.stderr)  # noqa: T201


def print_json(value: Any) -> None:
    """Print a value as JSON; dataclasses by their fields, times in ISO 8601."""
    print(as_json_text(value))  # noqa: T201


def print_line(value: Any) -> None:
    """Print a value as JSON in one line, at once: for whoever follows what is being done."""
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    print(UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text), flush=True)  # noqa: T201


def print_json_line(value: Any) -> None:
    """Print a value as JSON in one line, at once: one of several, for whoever reads along."""
    print(as_json_text(value, indent=None), flush=True)  # noqa: T201


def as_json_text(value: Any, *, indent: int | None = 2) -> str:
    """A value as JSON: readable letters as they are, all else as escapes."""
    text = json.dumps(value, default=_plain, ensure_ascii=False, indent=indent)
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_table(columns: Iterable[tuple[str, str]], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; each column is its heading and `left` or `right`."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, justify in columns:
        table.add_column(
            heading, justify="right" if justify == "right" else "left", no_wrap=justify == "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(" ".join(str(cell).split()))) for cell in row))
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
    """The meter of one command; each thing it is told of gets a bar of its own."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _meter_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(escape(what), total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show


def _meter_lines() -> Meter:
    last = time.monotonic()

    def show(what: str, done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            print(f"{what}: {done} of {total or '?'}", file=sys.stderr, flush=True)  # noqa: T201
            last = time.monotonic()

    return show
