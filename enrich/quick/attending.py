"""Looking after batches beside a worker's own work: what goes wrong with them is said, and disturbs nothing else."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.quick.batches import collect_one

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks for a batch that is due


async def attend(library: Library, run_id: int) -> None:
    """Look after batches until cancelled."""
    while True:
        try:
            collected = await collect_one(library, run_id=run_id)
        except Exception as error:  # noqa: BLE001  # the night goes on: the batch is looked after again later
            _say("batches wait: %s", error)
        else:
            if collected is not None and collected.says is not None:
                _say("a batch waits: %s", collected.says, video=collected.video_id)
        await asyncio.sleep(LOOK_SECONDS)


class Attendance:
    """Attending for as long as it is entered."""

    def __init__(self, library: Library, run_id: int, *, is_wanted: bool) -> None:
        self._library = library
        self._run_id = run_id
        self._is_wanted = is_wanted
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._is_wanted:
            self._task = asyncio.create_task(attend(self._library, self._run_id))

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _say(text: str, said: object, **where: Any) -> None:
    log.info(text, said, extra=about(Action.BATCH_WAITS, **where))
