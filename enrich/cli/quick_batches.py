"""Progress reports of the quick pass, and waiting for the results of batches in the terminal.

Waiting may be interrupted at any time: the batch stays pending, and the worker or a later command collects it.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from enrich.cli.output import INTERRUPTED, interruptible, print_error, print_json_line, say
from enrich.wording import format_count, format_usd, one_line

if TYPE_CHECKING:
    from db import batches
    from enrich.library.library import Library

SHOWN_PROBLEMS = 5
POLL_SECONDS = 1.0  # between two checks of a batch


class Reporter:
    """Reports progress: sentences for people, or one line of JSON per step for programs."""

    def __init__(self, *, as_json: bool, reports_steps: bool = True) -> None:
        self.as_json = as_json
        self._reports_steps = reports_steps
        self._last = ""

    def step(self, step: str, text: str = "", **facts: Any) -> None:
        """Report a step. As text, only if there is one and it has changed."""
        if not self._reports_steps:
            return
        if self.as_json:
            print_json_line({"step": step, **({"text": text} if text else {}), **facts})
        elif text and text != self._last:
            say(text)
        self._last = text

    def waiting(self, text: str) -> None:
        """Report what the command is waiting for."""
        self.step("waiting", f"{text[:1].upper()}{text[1:]}.")


def report_problems(problems: dict[str, str]) -> None:
    """Print why images were not described, the most frequent reasons first."""
    reasons: dict[str, int] = {}
    for reason in problems.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:SHOWN_PROBLEMS]:
        print_error(f"{format_count(count, 'image')} not described: {one_line(reason, 300)}")


async def collect_batches(
    library: "Library",
    reporter: Reporter,
    video_ids: Sequence[int] | None,
    *,
    stopping: asyncio.Event | None = None,
) -> int:
    """Collect batches until none is pending, the user interrupts, or the user must act; the exit code."""
    from db import batches, queue
    from db.engine import reading, writing
    from db.models import TaskKind
    from db.reservations import last_call_id
    from enrich.quick.batches import collect_batch, collect_orphans

    stopping = stopping or asyncio.Event()

    def opened() -> "list[batches.BatchRow]":
        with reading(library.engine) as connection:
            return batches.open_batches(connection, video_ids)

    followed = {row.task_id for row in opened()}
    frames = {frame_id for row in opened() for frame_id in row.batch.frame_ids}
    with writing(library.engine) as connection:
        after_call = last_call_id(connection)
        queue.make_due(connection, kind=TaskKind.BATCH, video_ids=video_ids)
    if video_ids is None:
        for reason in await collect_orphans(library):
            reporter.step("note", f"A batch of a removed video is not finished: {reason}.")
    with interruptible(stopping.set):
        while (rows := opened()) and not stopping.is_set():
            collected = await collect_batch(library, video_ids=video_ids, on_wait=reporter.waiting)
            if collected is None:
                await _sleep(stopping, POLL_SECONDS)
                continue
            if collected.waiting_for is not None and collected.is_stuck:
                print_error(f"{collected.waiting_for}. The batch is kept")
                return 1
            if collected.waiting_for is not None:
                reporter.waiting(collected.waiting_for)
        followed |= {row.task_id for row in rows}
    return _report_collected(library, reporter, sorted(followed), frames, after_call, is_finished=not rows)


def _report_collected(
    library: "Library",
    reporter: Reporter,
    task_ids: Sequence[int],
    frames: set[int],
    after_call: int,
    *,
    is_finished: bool,
) -> int:
    from db import batches, quick
    from db.engine import reading

    with reading(library.engine) as connection:
        found = [row for task_id in task_ids if (row := batches.batch(connection, task_id)) is not None]
        usd = quick.quick_cost_usd(connection, frames, after_call=after_call)
    lost = len(task_ids) - len(found)
    problems = {label: reason for row in found for label, reason in row.batch.problems.items()}
    saved = sum(len(labels) for row in found for name, labels in row.batch.parts.items() if name in row.batch.saved)
    answered = saved - sum(1 for label in problems if _is_saved(label, found))
    facts: dict[str, Any] = {"answered": answered, "usd": usd, "is_over": is_finished, "never_sent": lost}
    facts["problems"] = [{"label": label, "reason": reason} for label, reason in problems.items()]
    if not is_finished:
        text = (
            "The batch is not finished. Collect it later with `everyframe quick --collect`; a running worker also does."
        )
    elif not task_ids:
        text = "No batch is pending."
    else:
        text = f"{format_count(answered, 'image')} described, {format_usd(usd)}."
    reporter.step("done", text, **facts)
    report_problems(problems)
    if lost:
        print_error(
            f"{'1 batch was' if lost == 1 else f'{lost} batches were'} never sent. Run the command again to send it"
        )
    if not is_finished:
        return INTERRUPTED
    return 1 if problems or lost else 0


def _is_saved(label: str, rows: "Sequence[Any]") -> bool:
    return any(label in labels for row in rows for name, labels in row.batch.parts.items() if name in row.batch.saved)


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
