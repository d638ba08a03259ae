"""Leases of a process: the sweep returns the tasks of dead processes to the queue, renewal keeps claimed tasks claimed.

The sweep is the only place that judges whose claims are abandoned. A lease that expired does not prove that its holder
is dead: a machine that slept wakes up with every lease expired. So the holder of a claim is looked up first. On this
machine its process decides, on another one the heartbeat of its run; the lease decides only for commands without a run
on another machine, and for commands that were suspended.

Renewing needs a thread of its own: neither a busy event loop nor a long decode may lose a lease. It does not detect a
lost lease: saving a result does, since every write of a task is fenced by its lease token. Only a database that is
locked or full is retried: any other error ends the thread, and `check` raises it.
"""

import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from db import queue, runs
from db.engine import writing
from db.errors import StorageError
from db.runs import ProcessIdentity
from enrich.process import is_alive, is_local, is_process_alive, is_suspended
from enrich.worker.database_thread import Outage
from enrich.worker.threads import BackgroundThread


def sweep_abandoned(connection: Connection, *, now: datetime, own_run: int | None = None) -> int:
    """Return the tasks of abandoned claims to the queue. Returns how many. Call it in a write transaction.

    `own_run`: the run that sweeps and has just renewed its leases. Those of its leases that have expired are of claims
    that were cancelled half-way, and nobody holds them.
    """
    live = {run.id: run for run in runs.live_runs(connection)}

    def is_held(claim: queue.Claim) -> bool | None:
        if claim.run_id is None:
            return _is_command_alive(claim.host)
        if claim.run_id == own_run:
            return None
        run = live.get(claim.run_id)
        return run is not None and is_alive(run)

    return queue.sweep(connection, now=now, is_alive=is_held)


def _is_command_alive(host: str | None) -> bool | None:
    """Whether the process of a command is alive; None if that is unknown, or if it may never continue."""
    process = ProcessIdentity.parse(host) if host is not None else None
    if process is None or not is_local(process) or is_suspended(process):
        return None
    return is_process_alive(process)


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
