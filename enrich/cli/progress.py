"""Progress of a run on stderr: bars in a terminal, otherwise a line every few seconds."""

import asyncio
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from db import queries
from db.engine import reading
from db.models import DEEP, RunState
from enrich.cli.estimate import planned
from enrich.control.status import read_status
from enrich.control.status_wording import checking_text, frames_text, is_finished, time_left_text
from enrich.library.library import Library
from enrich.wording import one_line
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker

REFRESH_SECONDS = 0.5
LINE_SECONDS = 15.0
PLAN_SECONDS = 15.0
BAR_COLUMNS = 16  # of the terminal's, which may have 80: the time left must fit beside it


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """The progress of a run at one point in time, in the words of the dashboard."""

    described: int
    share: float | None  # of the source frames, 0 to 1; None: their number is not known
    counts: str  # frames described, of those to describe
    failed: int
    rate: float  # frames per second, lately
    seconds_left: float | None  # None without a basis
    left: str  # the time left, or the work left while there is no basis for a time; empty if nothing is left
    extracting: str  # title of the video
    extracted: int
    extracted_total: int | None
    problem: str
    describes: bool

    @property
    def percent(self) -> str:
        """The share, rounded down: 100 % only when everything is covered."""
        return "" if self.share is None else f"{int(100 * self.share)}%"

    def line(self) -> str:
        """All of it in one line."""
        share = f" ({self.percent})" if self.percent else ""
        parts = [f"described {self.counts} frames{share}"] if self.describes else []
        if self.failed and self.describes:
            parts.append(f"{self.failed:,} failed")
        if self.rate:
            parts.append(f"{self.rate:.2f} frames/s")
        if self.describes and self.left and not self.problem:
            parts.append(self.left)
        if self.extracting:
            parts.append(f"extracting {self.extracting}: {self.extracted} of about {self.extracted_total or '?'}")
        if self.problem:
            parts.append(f"waiting: {self.problem}")
        return ", ".join(parts)


class ProgressReader:
    """Takes snapshots of a worker's progress."""

    def __init__(self, worker: Worker, library: Library, options: RunOptions) -> None:
        self._worker = worker
        self._library = library
        self._options = options
        self._started_at = time.monotonic()
        self._plan, self._planned_at = "", float("-inf")

    def snapshot(self) -> ProgressSnapshot:
        """The current progress. Reads the database: the same figures as on the dashboard."""
        status = self._worker.status
        chosen, now = self._options.video_ids, datetime.now().astimezone()
        found = read_status(self._library.engine, now=now, measures=False, video_ids=chosen)
        described, share, counts = found.described, found.completion.share, frames_text(found)
        if self._worker.pass_ != DEEP:
            described, share, counts = self._quick_progress()
        extracting = status.extracting
        left = "" if is_finished(found) else time_left_text(found, now)
        if found.seconds_left is not None:
            left = self._planned() or left
        elif (checking := checking_text(found)) is not None and status.state is RunState.RUNNING:
            left = checking.rstrip(".")
        return ProgressSnapshot(
            described=described,
            share=share,
            counts=counts,
            failed=found.failed,
            rate=found.rate,
            seconds_left=found.seconds_left,
            left=left,
            extracting=extracting.video.title if extracting else "",
            extracted=extracting.decoded if extracting else 0,
            extracted_total=extracting.video.frame_count if extracting else None,
            problem=one_line(status.reason) if status.state is RunState.WAITING else "",
            describes=self._options.describe,
        )

    def _quick_progress(self) -> tuple[int, float | None, str]:
        """What the baseline has measured: its frames are not those that the status counts as described."""
        with reading(self._library.engine) as connection:
            tasks = queries.progress(connection, self._worker.pass_, self._options.video_ids)
            is_open = bool(queries.open_extractions(connection, self._options.video_ids))
        total = tasks.done + tasks.failed + tasks.left
        if is_open:
            return tasks.done, None, f"{tasks.done:,}/estimating"
        return tasks.done, tasks.done / total if total else None, f"{tasks.done:,}/{total:,}"

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
            print(one_line(line, None), file=sys.stderr, flush=True)  # noqa: T201
            last = line


async def _show_bars(reader: ProgressReader, console: Console, *, describes: bool) -> None:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR_COLUMNS),
        TextColumn("{task.fields[counts]} {task.fields[percent]:>4}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        empty: dict[str, Any] = {"note": "", "counts": "", "percent": ""}
        extracting = progress.add_task("Extracting", total=None, visible=False, **empty)
        describing = progress.add_task("Describing", total=None, visible=describes, **empty)

        def show(snapshot: ProgressSnapshot) -> None:
            rate = f"{snapshot.rate:.2f} frames/s" if snapshot.rate else ""
            failed = f"{snapshot.failed:,} failed" if snapshot.failed else ""
            parts = [f"waiting: {snapshot.problem}"] if snapshot.problem else [snapshot.left, rate, failed]
            progress.update(
                describing,
                completed=snapshot.share or 0.0,
                total=None if snapshot.share is None else 1.0,
                counts=snapshot.counts,
                percent=snapshot.percent,
                note=one_line(", ".join(part for part in parts if part), None),
            )
            total = snapshot.extracted_total
            progress.update(
                extracting,
                description=f"Extracting {one_line(snapshot.extracting, 30)}",
                completed=snapshot.extracted,
                total=total,
                counts=f"{snapshot.extracted:,}/{total or '?'}",
                percent=f"{min(100, 100 * snapshot.extracted // total)}%" if total else "",
                visible=bool(snapshot.extracting),
            )
            progress.refresh()

        try:
            while True:
                show(await asyncio.to_thread(reader.snapshot))
                await asyncio.sleep(REFRESH_SECONDS)
        finally:
            show(reader.snapshot())  # leave the bars at the final counts
