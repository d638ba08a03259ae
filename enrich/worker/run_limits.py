"""The end of a run's time: from then on no new work is taken up, whatever else is going on.

A length of time is counted from the run's beginning by a clock nobody can set. A moment is one of the clock on the
wall: it holds for the next run too, should this one crash, and is never over before that clock shows it.

The breaks of a run: while somebody has paused it, and outside its working hours.
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

LOOK_SECONDS = 0.5  # at the longest: the clock on the wall may be set


class RunDeadline:
    """The time an order gives a run, counted from when this is made."""

    def __init__(self, order: RunOptions) -> None:
        self._began = time.monotonic()
        self._seconds = order.within_seconds
        self._moment = order.until
        self._was_over = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Once it is over it stays so."""
        left = self.seconds_left()
        self._was_over = self._was_over or (left is not None and left <= 0)
        return self._was_over

    def seconds_left(self) -> float | None:
        """None: there is no end."""
        left = []
        if self._seconds is not None:
            left.append(self._began + self._seconds - time.monotonic())
        if self._moment is not None:
            left.append((self._moment - datetime.now(UTC)).total_seconds())
        return min(left, default=None)

    def at_most(self, seconds: float) -> float:
        """So many seconds, or what is left if that is less."""
        left = self.seconds_left()
        return seconds if left is None else max(0.0, min(seconds, left))

    def told(self) -> str | None:
        """The moment it is over, for the runs table, as far as it can be said now; None: never."""
        left = self.seconds_left()
        if left is None:
            return None
        return (self._moment or datetime.now(UTC) + timedelta(seconds=left)).isoformat()

    def watch(self, when_over: Callable[[], None]) -> None:
        """Have this called on the running loop as soon as it is over, unless `unwatch` comes before."""
        if self.seconds_left() is None:
            return
        if self.is_over:
            when_over()
            return
        self._timer = asyncio.get_running_loop().call_later(self.at_most(LOOK_SECONDS), self.watch, when_over)

    def unwatch(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(frozen=True, slots=True)
class PauseState:
    """The state a worker is to be in now, and the reason people read."""

    state: RunState
    reason: str | None = None


class PauseControl:
    """Says when a run is to rest. `note` is called with a wish once it is obeyed."""

    def __init__(self, hours: Hours, note: Callable[[str], None]) -> None:
        self.hours = hours
        self._note = note
        self._is_paused = False
        self._wish: str | None = None  # not noted yet
        self._hours_begin: datetime | None = None

    def wish(self, wish: str) -> None:
        """Somebody wants a pause, or its end."""
        self._wish = wish
        self._is_paused = wish == PAUSE

    def obey(self) -> None:
        """The worker rests if it is to rest, and works if it is to work: what was wished is done."""
        wish, self._wish = self._wish, None
        if wish is not None:
            self._note(wish)

    def now(self) -> PauseState | None:
        """The break there is to be now; None if the worker may work."""
        if self._is_paused:
            return PauseState(RunState.PAUSED)
        now = datetime.now(UTC)
        if self.hours.is_open(now):
            return None
        if self._hours_begin is None or self._hours_begin <= now:  # it is sought minute by minute
            self._hours_begin = self.hours.next_change(now)
        begin = self._hours_begin
        return PauseState(
            RunState.WAITING, f"working hours begin at {begin:%H:%M}" if begin else "there are no hours to work"
        )
