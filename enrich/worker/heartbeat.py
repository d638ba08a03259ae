"""The heartbeat: a thread that writes a run's sign of life and reads the requests made to it.

It is a thread, not a coroutine, so that a busy event loop does not look dead. The heartbeat says that the process is
alive; `progress_at` says when it last finished something. A request found in the runs table (pause, resume, stop) is
passed on again with every poll, until the worker records that it was carried out. Only a locked database is retried:
any other error ends the thread, and `check` raises it.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from db import runs
from db.engine import reading, writing
from db.errors import StorageError
from enrich.worker.database_thread import Outage
from enrich.worker.threads import BackgroundThread

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
POLL_SECONDS = 0.5  # how soon a request is noticed


class Heartbeat(BackgroundThread):
    """Beats from entry to exit of its context. The callbacks are called in the heartbeat's thread."""

    def __init__(
        self,
        engine: Engine,
        run_id: int,
        *,
        counts: Callable[[], dict[str, Any]],
        on_request: Callable[[str], None],
        activity: Callable[[], dict[str, Any]] = dict,
        last_progress_at: Callable[[], datetime | None] = lambda: None,
        outage: Outage | None = None,
    ) -> None:
        super().__init__("heartbeat")
        self._engine = engine
        self._outage = outage or Outage()
        self._run_id = run_id
        self._counts = counts
        self._on_request = on_request
        self._activity = activity
        self._last_progress_at = last_progress_at
        self._written_progress_at: datetime | None = None

    def _run(self) -> None:
        beat_at = time.monotonic()
        while not self._stop.wait(min(BEAT_SECONDS, POLL_SECONDS)):
            is_due = time.monotonic() - beat_at >= BEAT_SECONDS
            try:
                if is_due:
                    beat_at = time.monotonic()
                    self._beat()
                    self._outage.ended(self)
                else:
                    self._poll()
            except StorageError as error:
                self._outage.failed(self, error)  # returns if the next beat may succeed

    def _beat(self) -> None:
        now = datetime.now(UTC)
        activity, progress_at = self._activity(), self._last_progress_at()
        with writing(self._engine) as connection:
            if progress_at is not None and progress_at != self._written_progress_at:
                runs.record_progress(connection, self._run_id, now=progress_at)
            request = runs.record_heartbeat(connection, self._run_id, counts=self._counts(), activity=activity, now=now)
        self._written_progress_at = progress_at
        if request:
            self._on_request(request)

    def _poll(self) -> None:
        with reading(self._engine) as connection:
            request = runs.requested(connection, self._run_id)
        if request:
            self._on_request(request)
