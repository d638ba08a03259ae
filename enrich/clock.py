"""Working hours: the times of day at which the worker may work, by the clock on the wall.

A time that the clock shows twice in autumn belongs to the hours twice; a time that it skips in spring not at all, and
hours that would begin then begin right after it.

The end of a night, as people say it: within 8 hours, by 07:00. A worker then takes up no new work, and ends.

It is a moment of the clock on the wall, so that it stays the same when the worker is started again after a crash.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from enrich.wording import seconds_in

DAY_MINUTES = 24 * 60
LONGEST_WAIT_DAYS = 3  # hours that lie in a gap of the clock come a day later
_SPAN = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*[-–]\s*(\d{1,2})(?::(\d{2}))?")
_MINUTE = timedelta(minutes=1)
LONGEST_SECONDS = 366 * 86400.0
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


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


def end_after(text: str, now: datetime) -> datetime:
    """The moment so long after `now` (aware): 8h, 1h30m, 45m. Raises ValueError, which says what to write."""
    seconds = seconds_in(text)
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{text!r} is longer than a year: leave the time out to work until all is done")
    return now.astimezone(UTC) + timedelta(seconds=seconds)


def end_by(text: str, now: datetime) -> datetime:
    """The next moment after `now` (aware) at which the clock shows 07:00, say; or 2026-11-27 07:00.

    Raises ValueError, which says what to write.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is not None:
        try:
            return next_clock(time(int(match[1]), int(match[2])), now)
        except ValueError as error:
            raise ValueError(f"{text!r} is a time that no clock shows: write 07:00") from error
    try:
        end = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time of day: write 07:00, or 2026-11-27 07:00") from error
    if len(text.strip()) <= len("2026-11-27"):
        raise ValueError(f"{text!r} is a day without a time: write {text.strip()} 07:00")
    if end <= now:
        raise ValueError(f"{text!r} is over already: write a time to come")
    return end


def next_clock(clock: time, now: datetime) -> datetime:
    """The next moment after `now` (aware) at which the clock on the wall shows a time.

    One that it shows twice in autumn may be either; one that it skips in spring comes as much later as is skipped.
    """
    today = now.astimezone().date()
    for days in range(3):
        wanted = datetime.combine(today + timedelta(days=days), clock)
        both = sorted(wanted.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        shown = [then for then in both if then.astimezone().replace(tzinfo=None, fold=0) == wanted]
        for then in shown or both[-1:]:
            if then > now:
                return then
    raise ValueError(f"the clock never shows {clock:%H:%M}")


def said_end(until: datetime, now: datetime) -> str:
    """An end as people say it: 07:00, Thursday 07:00, 3 December 07:00; in local time."""
    local, here = until.astimezone(), now.astimezone()
    if local.date() == here.date() or until - now < timedelta(hours=18):
        return f"{local:%H:%M}"
    if abs(until - now) < timedelta(days=6):
        return f"{local:%A %H:%M}"
    return f"{local.day} {local:%B} {local:%H:%M}"
