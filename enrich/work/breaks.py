"""The breaks of a run: while somebody has paused it, and outside its working hours."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from db.models import RunState
from db.runs import PAUSE
from enrich.clock import Hours


@dataclass(frozen=True, slots=True)
class Break:
    """The state a worker is to be in now, and the reason people read."""

    state: RunState
    reason: str | None = None


class Breaks:
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

    def now(self) -> Break | None:
        """The break there is to be now; None if the worker may work."""
        if self._is_paused:
            return Break(RunState.PAUSED)
        now = datetime.now(UTC)
        if self.hours.is_open(now):
            return None
        if self._hours_begin is None or self._hours_begin <= now:  # it is sought minute by minute
            self._hours_begin = self.hours.next_change(now)
        begin = self._hours_begin
        return Break(
            RunState.WAITING, f"working hours begin at {begin:%H:%M}" if begin else "there are no hours to work"
        )
