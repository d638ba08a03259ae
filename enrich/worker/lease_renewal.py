"""Lease renewal: keeps claimed tasks claimed while work on them is under way.

Renewing needs a thread of its own: neither a busy event loop nor a long decode may lose a lease. It does not detect a
lost lease: saving a result does, since every write of a task is fenced by its lease token.
"""

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Engine

from db import queue
from db.engine import writing
from db.errors import StorageError
from enrich.worker.outage import Outage

log = logging.getLogger(__name__)

RENEW_SECONDS = queue.LEASE_SECONDS / 3
RETRY_SECONDS = 2.0  # after a failure, which may have waited BUSY_SECONDS for the lock: the lease must not expire


class LeaseRenewal:
    """Renews the leases of the tasks it holds, from entry to exit of its context. Usable from any thread.

    `sweeps`: also return the expired leases of other processes to the queue. Its own are renewed first, in the same
    transaction: after the computer slept, every lease has expired.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Iterable[queue.ClaimedTask] = (),
        *,
        sweeps: bool = False,
        outage: Outage | None = None,
    ) -> None:
        self._engine = engine
        self._sweeps = sweeps
        self._outage = outage or Outage()
        self._tasks = {task.id: task for task in tasks}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everyframe-lease-renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

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
            if not tasks and not self._sweeps:
                continue
            now = datetime.now(UTC)
            try:
                with writing(self._engine) as connection:
                    queue.renew(connection, tasks, now=now)
                    if self._sweeps:
                        queue.sweep(connection, now=now)
            except StorageError as error:
                try:
                    self._outage.failed(self, error)
                except StorageError:  # the run ends with it
                    return
                pause_seconds = RETRY_SECONDS
            else:
                self._outage.ended(self)
