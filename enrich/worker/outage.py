"""Outages of a run's database: which of its threads wait for it, why, and when waiting is given up.

A locked database is retried for `LOCKED_LIMIT_SECONDS`, a full disk until there is space again. Once the run is being
stopped, both are retried for `STOP_LIMIT_SECONDS` only. Any other error is fatal: it is kept in `error`, and the run
ends with it. Reads succeed while writes are locked, so each piece of work is followed by itself.
"""

import logging
import threading
import time
from collections.abc import Hashable

from db.errors import RETRYABLE, DatabaseFailedError, DatabaseFullError, StorageError
from enrich.logs import Action, about

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LOCKED_LIMIT_SECONDS = 600.0
STOP_LIMIT_SECONDS = 10.0
LOG_SECONDS = 60.0  # between two records of the same outage


class Outage:
    """Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, tuple[float, StorageError]] = {}  # what waits: since when, and for what
        self._stopped_at: float | None = None
        self._logged_at = float("-inf")
        self.error: StorageError | None = None  # the run cannot continue

    def failed(self, work: Hashable, error: StorageError) -> None:
        """Record that `work` met an error. Returns if it is to be tried again, else raises."""
        now = time.monotonic()
        with self._lock:
            since, _ = self._waiting.setdefault(work, (now, error))
            self._waiting[work] = (since, error)
            fatal = self._fatal(error, since, now)
            if fatal is not None:
                self._waiting.pop(work)
                self.error = self.error or fatal
            is_logged = fatal is None and now - self._logged_at >= LOG_SECONDS
            if is_logged:
                self._logged_at = now
        if fatal is not None:
            raise fatal from error
        if is_logged:
            log.warning("%s; retrying", error, extra=about(_action(error)))

    def ended(self, work: Hashable) -> None:
        """Record that `work` succeeded, or is not tried again."""
        with self._lock:
            self._waiting.pop(work, None)
            if not self._waiting:
                self._logged_at = float("-inf")

    def stop(self) -> None:
        """Give up soon: the run is being stopped."""
        with self._lock:
            if self._stopped_at is None:
                self._stopped_at = time.monotonic()

    def reason(self) -> str | None:
        """What the run waits for, as the reason of its state; None if it waits for nothing."""
        with self._lock:
            errors = [error for _, error in self._waiting.values()]
        if not errors:
            return None
        full = next((error for error in errors if isinstance(error, DatabaseFullError)), None)
        return str(full) if full is not None else LOCKED_REASON

    def _fatal(self, error: StorageError, since: float, now: float) -> StorageError | None:
        """The error with which the run ends; None if the database is tried again."""
        if not isinstance(error, RETRYABLE):
            return error
        if self._stopped_at is not None and now - max(since, self._stopped_at) >= STOP_LIMIT_SECONDS:
            return error
        if not isinstance(error, DatabaseFullError) and now - since >= LOCKED_LIMIT_SECONDS:
            minutes = LOCKED_LIMIT_SECONDS / 60
            return DatabaseFailedError(f"{error}. It was locked for {minutes:.0f} minutes, so the run ended")
        return None


LOCKED_REASON = "the database is locked by another process: close that program; retrying"


def _action(error: StorageError) -> Action:
    return Action.DATABASE_FULL if isinstance(error, DatabaseFullError) else Action.DATABASE_LOCKED
