"""Waiting for the answers of batches in this terminal: it may end at any time, and others go on.

How commands of the quick pass say how it goes.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from enrich.cli.output import print_error, print_line, say
from enrich.cli.signals import INTERRUPTED, interruptible
from enrich.wording import counted, dollars, first_line

if TYPE_CHECKING:
    from db import batches
    from enrich.library.library import Library

SHOWN_PROBLEMS = 5
WAIT_SECONDS = 1.0  # between two looks at batches


class Reporter:
    """Says how it goes: sentences for people, a line of JSON each for programs."""

    def __init__(self, *, as_json: bool, tells_steps: bool = True) -> None:
        self.as_json = as_json
        self._tells_steps = tells_steps
        self._last = ""

    def step(self, step: str, text: str = "", **facts: Any) -> None:
        """Tell one step; for people only what is new, and only if there is a text."""
        if not self._tells_steps:
            return
        if self.as_json:
            print_line({"step": step, **({"text": text} if text else {}), **facts})
        elif text and text != self._last:
            say(text)
        self._last = text

    def told(self, text: str) -> None:
        """Tell a wait."""
        self.step("waiting", f"{text[:1].upper()}{text[1:]}.")


def report_problems(problems: dict[str, str]) -> None:
    """Why there are no answers, the commonest reasons first."""
    reasons: dict[str, int] = {}
    for reason in problems.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:SHOWN_PROBLEMS]:
        print_error(f"{counted(count, 'picture')} without an answer: {first_line(reason, 300)}")


async def collect_batches(
    library: "Library",
    teller: Reporter,
    video_ids: Sequence[int] | None,
    *,
    stopping: asyncio.Event | None = None,
) -> int:
    """Look after batches, now and until none is open, somebody interrupts or must act; the exit code."""
    from db import batches, queue
    from db.engine import reading, writing
    from db.models import TaskKind
    from enrich.quick.batches import collect_one

    stopping = stopping or asyncio.Event()

    def opened() -> "list[batches.BatchRow]":
        with reading(library.engine) as connection:
            return batches.open_batches(connection, video_ids)

    followed = {row.task_id for row in opened()}
    frames = {frame_id for row in opened() for frame_id in row.batch.frame_ids}
    began = datetime.now(UTC)
    with writing(library.engine) as connection:
        queue.make_due(connection, kind=TaskKind.BATCH, video_ids=video_ids)
    with interruptible(stopping.set):
        while (rows := opened()) and not stopping.is_set():
            collected = await collect_one(library, video_ids=video_ids, told=teller.told)
            if collected is None:
                await _sleep(stopping, WAIT_SECONDS)
                continue
            if collected.says is not None and collected.is_stuck:
                print_error(f"{collected.says}; the batch is kept")
                return 1
            if collected.says is not None:
                teller.told(collected.says)
        followed |= {row.task_id for row in rows}
    return _say_collected(library, teller, sorted(followed), frames, began, is_over=not rows)


def _say_collected(
    library: "Library", teller: Reporter, task_ids: Sequence[int], frames: set[int], began: datetime, *, is_over: bool
) -> int:
    from db import batches, quick
    from db.engine import reading

    with reading(library.engine) as connection:
        found = [row for task_id in task_ids if (row := batches.batch(connection, task_id)) is not None]
        usd = quick.quick_cost_usd(connection, frames, since=began)
    lost = len(task_ids) - len(found)
    problems = {label: reason for row in found for label, reason in row.batch.problems.items()}
    saved = sum(len(labels) for row in found for name, labels in row.batch.parts.items() if name in row.batch.saved)
    answered = saved - sum(1 for label in problems if _is_saved(label, found))
    facts: dict[str, Any] = {"answered": answered, "usd": usd, "is_over": is_over, "never_sent": lost}
    facts["problems"] = [{"label": label, "reason": reason} for label, reason in problems.items()]
    if not is_over:
        text = "Claude is not done. Go on later: everyframe quick --collect; a worker in the background does it too."
    elif not task_ids:
        text = "No batch is under way."
    else:
        text = f"{counted(answered, 'picture')} answered, {dollars(usd)}."
    teller.step("done", text, **facts)
    report_problems(problems)
    if lost:
        print_error(f"{'a batch was' if lost == 1 else f'{lost} batches were'} never sent: ask again")
    if not is_over:
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
