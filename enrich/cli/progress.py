"""Progress of a run on stderr: bars in a terminal, otherwise a line every few seconds."""

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
from enrich.wording import format_duration, one_line
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker

REFRESH_SECONDS = 0.5
LINE_SECONDS = 15.0
PLAN_SECONDS = 15.0
RATE_SECONDS = 60.0  # window of the rolling rate


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """The progress of a run at one point in time."""

    described: int
    total: int  # kept frames, plus those expected from videos that are not extracted yet
    rate: float  # frames per second over the last minute
    seconds_left: float | None
    extracting: str  # title of the video
    extracted: int
    extracted_total: int | None
    problem: str
    plan: str  # what the time limit will achieve; empty while unknown
    describes: bool

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"described {self.described} of {self.total}"] if self.describes else []
        if self.rate:
            parts.append(f"{self.rate:.2f} frames/s")
        if self.describes and self.seconds_left is not None and self.total > self.described:
            parts.append(self.plan or f"{format_duration(self.seconds_left)} left")
        if self.extracting:
            parts.append(f"extracting {self.extracting}: {self.extracted} of about {self.extracted_total or '?'}")
        if self.problem:
            parts.append(f"waiting: {self.problem}")
        return ", ".join(parts)


class ProgressReader:
    """Takes snapshots of a worker's progress and tracks the rate between them."""

    def __init__(self, worker: Worker, library: Library, options: RunOptions) -> None:
        self._worker = worker
        self._library = library
        self._options = options
        self._history: list[tuple[float, int]] = []
        self._started_at = time.monotonic()
        self._plan, self._planned_at = "", float("-inf")

    def snapshot(self) -> ProgressSnapshot:
        """The current progress. Reads the database."""
        status = self._worker.status
        settings = self._library.settings
        with reading(self._library.engine) as connection:
            counts = queries.progress(connection, self._worker.pass_, self._options.video_ids)
            speed = measured_speed(connection, settings)
        extracting = status.extracting
        coming = 0
        if extracting is not None and extracting.decoded:
            rest = max(0, (extracting.video.frame_count or 0) - extracting.decoded)
            coming = round(rest * extracting.kept / extracting.decoded)
        done = counts.done + counts.failed
        now = time.monotonic()
        self._history = [(at, count) for at, count in self._history if now - at < RATE_SECONDS] + [(now, done)]
        since, before = self._history[0]
        return ProgressSnapshot(
            described=done,
            total=done + counts.left + coming,
            rate=(done - before) / (now - since) if now > since else 0.0,
            seconds_left=seconds_for(counts.left + coming, speed, settings),
            extracting=extracting.video.title if extracting else "",
            extracted=extracting.decoded if extracting else 0,
            extracted_total=extracting.video.frame_count if extracting else None,
            problem=one_line(status.reason) if status.state is RunState.WAITING else "",
            plan=self._planned(),
            describes=self._options.describe,
        )

    def _planned(self) -> str:
        """The plan for the remaining time, cached for some seconds because it reads the whole library."""
        within, now = self._options.within_seconds, time.monotonic()
        if within is not None and now - self._planned_at >= PLAN_SECONDS:
            seconds = max(0.0, self._started_at + within - now)
            self._plan = planned(self._library, self._options.video_ids, seconds=seconds) or ""
            self._planned_at = now
        return self._plan


async def watch(worker: Worker, library: Library, options: RunOptions) -> None:
    """Show a worker's progress on stderr until cancelled."""
    console = Console(stderr=True, highlight=False)
    reader = ProgressReader(worker, library, options)
    if console.is_terminal:
        await _show_bars(reader, console, describes=options.describe)
    else:
        await _print_lines(reader)


async def _print_lines(reader: ProgressReader) -> None:
    last = ""
    while True:
        await asyncio.sleep(LINE_SECONDS)
        line = (await asyncio.to_thread(reader.snapshot)).line()
        if line and line != last:
            print(line, file=sys.stderr, flush=True)  # noqa: T201
            last = line


async def _show_bars(reader: ProgressReader, console: Console, *, describes: bool) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        extracting = progress.add_task("Extracting", total=None, note="", visible=False)
        describing = progress.add_task("Describing", total=None, note="", visible=describes)

        def show(snapshot: ProgressSnapshot) -> None:
            is_known = snapshot.seconds_left is not None and snapshot.total > snapshot.described
            left = (snapshot.plan or f"{format_duration(snapshot.seconds_left)} left") if is_known else ""
            rate = f"{snapshot.rate:.2f} frames/s" if snapshot.rate else ""
            note = (
                f"waiting: {snapshot.problem}" if snapshot.problem else "  ".join(part for part in (rate, left) if part)
            )
            progress.update(describing, completed=snapshot.described, total=snapshot.total or None, note=escape(note))
            progress.update(
                extracting,
                description=f"Extracting {escape(one_line(snapshot.extracting, 30))}",
                completed=snapshot.extracted,
                total=snapshot.extracted_total,
                visible=bool(snapshot.extracting),
            )
            progress.refresh()

        try:
            while True:
                show(await asyncio.to_thread(reader.snapshot))
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            show(reader.snapshot())  # leave the bars at the final counts
