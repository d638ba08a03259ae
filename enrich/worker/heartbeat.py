"""The keeper: a thread that writes the run's heartbeat and pushes the leases of claimed tasks on.

It is a thread, not a coroutine, so that a busy event loop does not lose the leases. It says that the process lives;
whether it gets on is told by `progress_at`. A request found in the runs table is handed on, again and again until the
worker notes that it has obeyed.

Holding a claimed task while it is worked on outside a worker: a thread pushes its lease on.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import queue, runs
from db.engine import reading, writing
from enrich.logs import Action, about

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
LOOK_SECONDS = 0.5  # how soon a request is noticed
RENEW_SECONDS = queue.LEASE_SECONDS / 3


class Heartbeat:
    """Keeps a run alive in the database while it is entered as a context."""

    def __init__(
        self,
        engine: Engine,
        run_id: int,
        *,
        counts: Callable[[], dict[str, Any]],
        on_request: Callable[[str], None],
        activity: Callable[[], dict[str, Any]] = dict,
        last_progress_at: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._run_id = run_id
        self._counts = counts
        self._on_request = on_request
        self._activity = activity
        self._last_progress_at = last_progress_at
        self._progress_at: datetime | None = None  # as written
        self._jobs: dict[int, queue.ClaimedTask] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="everyframe-keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def hold(self, job: queue.ClaimedTask) -> None:
        """Keep this task's lease from running out, until it is dropped."""
        with self._lock:
            self._jobs[job.id] = job

    def drop(self, job: queue.ClaimedTask) -> None:
        """The task is settled: forget it."""
        with self._lock:
            self._jobs.pop(job.id, None)

    def _run(self) -> None:
        since_beat = since_renewal = 0.0
        while not self._stop.wait(min(BEAT_SECONDS, LOOK_SECONDS)):
            since_beat += min(BEAT_SECONDS, LOOK_SECONDS)
            try:
                if since_beat < BEAT_SECONDS:
                    self._look()
                    continue
                since_renewal += since_beat
                since_beat = 0.0
                renews = since_renewal >= RENEW_SECONDS
                self._beat(renews=renews)
                if renews:
                    since_renewal = 0.0
            except OperationalError as error:  # locked for long, or the disk is full: the next beat may pass
                log.warning("the heartbeat waits: %s", error.orig, extra=about(Action.DATABASE_LOCKED))

    def _beat(self, *, renews: bool) -> None:
        with self._lock:
            jobs = list(self._jobs.values()) if renews else []
        now = datetime.now(UTC)
        activity, last_progress_at = self._activity(), self._last_progress_at()
        with writing(self._engine) as connection:
            queue.renew(connection, jobs, now=now)
            if renews:
                queue.sweep(connection, now=now)
            if last_progress_at is not None and last_progress_at != self._progress_at:
                runs.record_progress(connection, self._run_id, now=last_progress_at)
            request = runs.record_heartbeat(connection, self._run_id, counts=self._counts(), activity=activity, now=now)
        self._progress_at = last_progress_at
        if request:
            self._on_request(request)

    def _look(self) -> None:
        with reading(self._engine) as connection:
            request = runs.requested(connection, self._run_id)
        if request:
            self._on_request(request)


@contextmanager
def held(engine: Engine, job: queue.ClaimedTask) -> Iterator[None]:
    """Keep the lease of a task from running out; whoever works on it finds out if it is lost when saving."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(RENEW_SECONDS):
            try:
                with writing(engine) as connection:
                    queue.renew(connection, [job], now=datetime.now(UTC))
            except OperationalError:  # locked for long: the next time may pass
                continue

    thread = threading.Thread(target=renew, name="everyframe-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
