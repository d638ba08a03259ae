"""The limits of a run: its deadline, its working hours, and the pauses a person requests.

After the deadline no new work is started. A duration is counted from the run's start on the monotonic clock. A point in
time is on the wall clock: it also applies to the next run, should this one crash.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.models import RunState
from db.runs import PAUSE
from enrich.clock import Hours
from enrich.worker.run_options import RunOptions

POLL_SECONDS = 0.5  # the wall clock may be changed meanwhile


class RunDeadline:
    """The deadline of a run that starts now."""

    def __init__(self, options: RunOptions) -> None:
        self._began = time.monotonic()
        self._seconds = options.within_seconds
        self._moment = options.until
        self._was_over = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed. It stays so, even if the clock is set back."""
        left = self.seconds_left()
        self._was_over = self._was_over or (left is not None and left <= 0)
        return self._was_over

    def seconds_left(self) -> float | None:
        """None if there is no deadline."""
        left = []
        if self._seconds is not None:
            left.append(self._began + self._seconds - time.monotonic())
        if self._moment is not None:
            left.append((self._moment - datetime.now(UTC)).total_seconds())
        return min(left, default=None)

    def working_seconds_left(self, hours: Hours) -> float | None:
        """The time left within working hours; None if there is no deadline."""
        left = self.seconds_left()
        if left is None:
            return None
        now = datetime.now(UTC)
        return hours.seconds_between(now, now + timedelta(seconds=max(0.0, left)))

    def at_most(self, seconds: float) -> float:
        """`seconds`, or the time left if that is shorter."""
        left = self.seconds_left()
        return seconds if left is None else max(0.0, min(seconds, left))

    def planned_end(self) -> str | None:
        """When the deadline is due, as ISO 8601 for the runs table; None if there is none."""
        left = self.seconds_left()
        if left is None:
            return None
        return (self._moment or datetime.now(UTC) + timedelta(seconds=left)).isoformat()

    def watch(self, when_over: Callable[[], None]) -> None:
        """Call `when_over` on the running loop once the deadline has passed, unless `unwatch` is called before."""
        if self.seconds_left() is None:
            return
        if self.is_over:
            when_over()
            return
        self._timer = asyncio.get_running_loop().call_later(self.at_most(POLL_SECONDS), self.watch, when_over)

    def unwatch(self) -> None:
        """Cancel the watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(frozen=True, slots=True)
class PauseState:
    """The state of a run that does not work now, and the reason shown to people."""

    state: RunState
    reason: str | None = None


class PauseControl:
    """Decides when a run is paused. `on_done` is called with a request once the worker has carried it out."""

    def __init__(self, hours: Hours, on_done: Callable[[str], None]) -> None:
        self.hours = hours
        self._on_done = on_done
        self._is_paused = False
        self._request: str | None = None  # not carried out yet
        self._hours_begin: datetime | None = None

    def request(self, request: str) -> None:
        """Accept a request to pause or to resume."""
        self._request = request
        self._is_paused = request == PAUSE

    def request_done(self) -> None:
        """Report that the worker has carried out the request."""
        request, self._request = self._request, None
        if request is not None:
            self._on_done(request)

    def now(self) -> PauseState | None:
        """The pause that applies now; None if the worker may work."""
        if self._is_paused:
            return PauseState(RunState.PAUSED)
        now = datetime.now(UTC)
        if self.hours.is_open(now):
            return None
        if self._hours_begin is None or self._hours_begin <= now:  # the search is minute by minute
            self._hours_begin = self.hours.next_change(now)
        begin = self._hours_begin
        return PauseState(
            RunState.WAITING, f"working hours begin at {begin:%H:%M}" if begin else "the working hours never begin"
        )
