"""The progress of a worker in a terminal: bars where somebody looks, a line now and then elsewhere."""

import asyncio
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from db import queries
from db.engine import reading
from db.models import RunState
from enrich.cli.estimate import planned
from enrich.library.library import Library
from enrich.schedule.forecast import measured_speed, seconds_for
from enrich.wording import first_line, span
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker

LOOK_SECONDS = 0.5
LINE_SECONDS = 15.0
PLAN_SECONDS = 15.0
RATE_SECONDS = 60.0  # the rate is that of the last minute


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Where a run stands at one moment."""

    described: int
    total: int  # kept frames there are, and those still expected of videos not decoded yet
    rate: float  # frames a second over the last minute
    seconds_left: float | None
    decoding: str
    decoded: int
    decoded_total: int | None
    trouble: str
    plan: str  # what a time limit will reach, once that can be told
    describes: bool

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"described {self.described} of {self.total}"] if self.describes else []
        if self.rate:
            parts.append(f"{self.rate:.2f} frames/s")
        if self.describes and self.seconds_left is not None and self.total > self.described:
            parts.append(self.plan or f"{span(self.seconds_left)} left")
        if self.decoding:
            parts.append(f"decoding {self.decoding}: {self.decoded} of about {self.decoded_total or '?'}")
        if self.trouble:
            parts.append(f"waiting: {self.trouble}")
        return ", ".join(parts)


class ProgressReader:
    """Looks at a worker now and then and knows the rate."""

    def __init__(self, worker: Worker, library: Library, order: RunOptions) -> None:
        self._worker = worker
        self._library = library
        self._order = order
        self._history: list[tuple[float, int]] = []
        self._began = time.monotonic()
        self._plan, self._planned_at = "", float("-inf")

    def look(self) -> ProgressSnapshot:
        """One look; reads the database."""
        status = self._worker.status
        settings = self._library.settings
        with reading(self._library.engine) as connection:
            stands = queries.progress(connection, self._worker.pass_, self._order.video_ids)
            speed = measured_speed(connection, settings)
        extracting = status.extracting
        coming = 0
        if extracting is not None and extracting.decoded:
            rest = max(0, (extracting.video.frame_count or 0) - extracting.decoded)
            coming = round(rest * extracting.kept / extracting.decoded)
        done = stands.done + stands.failed
        now = time.monotonic()
        self._history = [(at, count) for at, count in self._history if now - at < RATE_SECONDS] + [(now, done)]
        since, before = self._history[0]
        return ProgressSnapshot(
            described=done,
            total=done + stands.left + coming,
            rate=(done - before) / (now - since) if now > since else 0.0,
            seconds_left=seconds_for(stands.left + coming, speed, settings),
            decoding=extracting.video.title if extracting else "",
            decoded=extracting.decoded if extracting else 0,
            decoded_total=extracting.video.frame_count if extracting else None,
            trouble=first_line(status.reason) if status.state is RunState.WAITING else "",
            plan=self._planned(),
            describes=self._order.describe,
        )

    def _planned(self) -> str:
        """The plan for the time that is left; made anew now and then, since it reads the whole library."""
        within, now = self._order.within_seconds, time.monotonic()
        if within is not None and now - self._planned_at >= PLAN_SECONDS:
            seconds = max(0.0, self._began + within - now)
            self._plan = planned(self._library, self._order.video_ids, seconds=seconds) or ""
            self._planned_at = now
        return self._plan


async def watch(worker: Worker, library: Library, order: RunOptions) -> None:
    """Show a worker's progress on stderr until cancelled."""
    console = Console(stderr=True, highlight=False)
    looker = ProgressReader(worker, library, order)
    if console.is_terminal:
        await _bars(looker, console, describes=order.describe)
    else:
        await _lines(looker)


async def _lines(looker: ProgressReader) -> None:
    last = ""
    while True:
        await asyncio.sleep(LINE_SECONDS)
        line = (await asyncio.to_thread(looker.look)).line()
        if line and line != last:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
            last = line


async def _bars(looker: ProgressReader, console: Console, *, describes: bool) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        decoding = progress.add_task("Decoding", total=None, note="", visible=False)
        describing = progress.add_task("Describing", total=None, note="", visible=describes)

        def show(look: ProgressSnapshot) -> None:
            is_known = look.seconds_left is not None and look.total > look.described
            left = (look.plan or f"{span(look.seconds_left)} left") if is_known else ""
            rate = f"{look.rate:.2f} frames/s" if look.rate else ""
            note = f"waiting: {look.trouble}" if look.trouble else "  ".join(part for part in (rate, left) if part)
            progress.update(describing, completed=look.described, total=look.total or None, note=escape(note))
            progress.update(
                decoding,
                description=f"Decoding {escape(first_line(look.decoding, 30))}",
                completed=look.decoded,
                total=look.decoded_total,
                visible=bool(look.decoding),
            )
            progress.refresh()

        try:
            while True:
                show(await asyncio.to_thread(looker.look))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            show(looker.look())  # the bar ends where the run has ended
