"""Lease renewal: keeps claimed tasks claimed while work on them is under way.

Renewing needs a thread of its own: neither a busy event loop nor a long decode may lose a lease. It does not detect a
lost lease: saving a result does, since every write of a task is fenced by its lease token. Only a locked database is
retried: any other error ends the thread, and `check` raises it.
"""

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Engine

from db import queue
from db.engine import writing
from db.errors import StorageError
from enrich.worker.lease_sweep import sweep_abandoned
from enrich.worker.outage import Outage
from enrich.worker.threads import BackgroundThread

log = logging.getLogger(__name__)

RENEW_SECONDS = queue.LEASE_SECONDS / 3
RETRY_SECONDS = 2.0  # after a failure, which may have waited BUSY_SECONDS for the lock: the lease must not expire


class LeaseRenewal(BackgroundThread):
    """Renews the leases of the tasks it holds, from entry to exit of its context. Usable from any thread.

    `run_id`: the run of a worker, which also returns abandoned tasks to the queue. Its own leases are renewed first, in
    the same transaction: after the computer slept, every lease has expired.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Iterable[queue.ClaimedTask] = (),
        *,
        run_id: int | None = None,
        outage: Outage | None = None,
    ) -> None:
        super().__init__("lease-renewal")
        self._engine = engine
        self._run_id = run_id
        self._outage = outage or Outage()
        self._tasks = {task.id: task for task in tasks}
        self._lock = threading.Lock()

    def hold(self, task: queue.ClaimedTask) -> None:
        """Renew this task's lease until it is dropped."""
        with self._lock:
            self._tasks[task.id] = task

    def drop(self, task: queue.ClaimedTask) -> None:
        """Stop renewing: the task is finished or released."""
        with self._lock:
            self._tasks.pop(task.id, None)

    def _run(self) -> None:
        pause_seconds = RENEW_SECONDS
        while not self._stop.wait(pause_seconds):
            pause_seconds = RENEW_SECONDS
            with self._lock:
                tasks = list(self._tasks.values())
            if not tasks and self._run_id is None:
                continue
            now = datetime.now(UTC)
            try:
                with writing(self._engine) as connection:
                    queue.renew(connection, tasks, now=now)
                    if self._run_id is not None:
                        sweep_abandoned(connection, now=now, own_run=self._run_id)
            except StorageError as error:
                self._outage.failed(self, error)
                pause_seconds = RETRY_SECONDS
            else:
                self._outage.ended(self)
