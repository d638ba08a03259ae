"""Working hours: the times of day at which the worker may work, by the clock on the wall.

A time that the clock shows twice in autumn belongs to the hours twice; a time that it skips in spring not at all, and
hours that would begin then begin right after it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

DAY_MINUTES = 24 * 60
LONGEST_WAIT_DAYS = 3  # hours that lie in a gap of the clock come a day later
_SPAN = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*[-–]\s*(\d{1,2})(?::(\d{2}))?")
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Spans of minutes since midnight, (first, one past the last); one that ends before it begins crosses midnight.

    No span means always. `zone` is the system's own if None.
    """

    spans: tuple[tuple[int, int], ...] = ()
    zone: tzinfo | None = None

    def is_open(self, moment: datetime) -> bool:
        """Whether the worker may work at this (aware) moment."""
        local = moment.astimezone(self.zone)
        return self._has(local.hour * 60 + local.minute)

    def next_change(self, moment: datetime) -> datetime | None:
        """The first moment after this (aware) one at which the hours begin or end, in local time; None if always."""
        if all(self._has(minute) for minute in range(DAY_MINUTES)):
            return None
        was_open = self.is_open(moment)
        tick = moment.astimezone(UTC).replace(second=0, microsecond=0)
        for _ in range(LONGEST_WAIT_DAYS * DAY_MINUTES):  # every minute: no clock change can slip through
            tick += _MINUTE
            if self.is_open(tick) != was_open:
                return tick.astimezone(self.zone)
        return None

    def _has(self, minute: int) -> bool:
        return not self.spans or any(
            begin <= minute < end if begin < end else (minute >= begin or minute < end) for begin, end in self.spans
        )

    def __str__(self) -> str:
        return ",".join(f"{_clock(begin)}-{_clock(end)}" for begin, end in self.spans)


def parse_hours(text: str, zone: tzinfo | None = None) -> Hours:
    """Hours from `22:00-07:00`, or several with commas between; nothing means always.

    Raises ValueError, which says what to write.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return Hours(tuple(_span(part) for part in parts), zone)


def _span(text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} are no working hours: write them like 22:00-07:00")
    begin, end = _minute(text, match[1], match[2]), _minute(text, match[3], match[4])
    if begin % DAY_MINUTES == end % DAY_MINUTES and (begin, end) != (0, DAY_MINUTES):
        raise ValueError(f"{text!r} begin and end at the same time: leave working hours empty for always")
    return begin % DAY_MINUTES, end


def _minute(text: str, hour: str, minute: str | None) -> int:
    minutes = int(hour) * 60 + int(minute or 0)
    if int(minute or 0) >= 60 or minutes > DAY_MINUTES:  # noqa: PLR2004  # of an hour
        raise ValueError(f"{text!r} has a time that no clock shows: write working hours like 22:00-07:00")
    return minutes


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
