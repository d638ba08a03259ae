"""Sending a film's pictures as a batch: first what is about to be sent is committed, then it is sent, then its id."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from db import batches
from db.engine import writing
from enrich.describe.claude.batches import BatchPart, ClaudeBatches
from enrich.describe.claude.describer import ClaudeQuick
from enrich.errors import CallTimeoutError, DescribeError, HostError
from enrich.library.library import Library
from enrich.process import this_process
from enrich.quick.plan import QuickPlan

FIRST_LOOK_SECONDS = 20.0  # after which somebody looks after it
UNCERTAIN = (HostError, CallTimeoutError)  # it may have arrived all the same


async def send(
    library: Library, describer: ClaudeQuick, plan: QuickPlan, *, step: Callable[[str], None] = lambda _: None
) -> int:
    """Send a plan's pictures; the task that stands for the batch.

    Raises DescribeError's subclasses. If it is not certain that nothing arrived, the task stays, and whoever looks
    after it finds out: nothing is sent twice. `step` hears how far it is.
    """
    token = secrets.token_hex(6)
    cut = describer.parts(plan.wanted)
    parts = [BatchPart(f"ef-{token}-{number}", pictures) for number, pictures in enumerate(cut)]
    now = datetime.now(UTC)
    batch = batches.Batch(
        model=describer.model,
        prompt_version=describer.prompt_version,
        context=plan.video.context,
        language=library.settings.language,
        usd=plan.estimate.usd,
        created_at=now.isoformat(),
        sender=asdict(this_process()),
        parts={part.custom_id: dict(part.weights) for part in parts},
    )

    def begin() -> int:
        with writing(library.engine) as connection:
            later = now + timedelta(seconds=FIRST_LOOK_SECONDS)
            return batches.begin(connection, plan.video.id, batch, not_before=later)

    def note(batch_id: str) -> None:
        with writing(library.engine) as connection:
            batches.sent(connection, task_id, batch_id)

    def leave() -> None:
        with writing(library.engine) as connection:
            batches.leave(connection, task_id)

    def forget() -> None:
        with writing(library.engine) as connection:
            batches.forget(connection, task_id)

    task_id = await asyncio.to_thread(begin)
    step("begun")
    try:
        batch_id = await ClaudeBatches(describer).submit(parts, context=batch.context, language=batch.language)
    except DescribeError as error:
        await asyncio.to_thread(leave if isinstance(error, UNCERTAIN) else forget)
        raise
    except BaseException:  # cancelled, say
        leave()
        raise
    step("sent")
    await asyncio.to_thread(note, batch_id)
    return task_id
