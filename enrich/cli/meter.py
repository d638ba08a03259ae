"""A meter: how far a command is, as a bar where somebody looks, as a line now and then elsewhere. On stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

LINE_SECONDS = 15.0

Meter: TypeAlias = Callable[[str, int, int | None], None]  # what is done, how many so far, of how many if that is known


@contextmanager
def meter() -> Iterator[Meter]:
    """The meter of one command; each thing it is told of gets a bar of its own."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(escape(what), total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show


def _lines() -> Meter:
    last = time.monotonic()

    def show(what: str, done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            print(f"{what}: {done} of {total or '?'}", file=sys.stderr, flush=True)  # noqa: T201
            last = time.monotonic()

    return show
