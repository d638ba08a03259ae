"""Times of the local clock: the working hours of the worker, and the deadline of a run.

Both survive clock changes. A time that occurs twice in autumn counts as working time twice; a time that spring skips
does not count, and working hours that would start in the gap start right after it. A deadline is a point in time, not
a duration, so it stays the same when the worker restarts after a crash.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from enrich.wording import parse_duration

# Working hours

DAY_MINUTES = 24 * 60
MAX_LOOKAHEAD_DAYS = 3  # working hours that fall into a skipped hour come a day later
FORECAST_DAYS = 3660  # no forecast reaches further
_HOURS = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*[-–]\s*(\d{1,2})(?::(\d{2}))?")
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_TICK_SECONDS = 1e-5  # above the rounding of datetimes to microseconds


@dataclass(frozen=True, slots=True)
class Hours:
    """Working hours as spans of minutes since midnight, (first, one past the last). No spans means always.

    A span that ends before it starts crosses midnight. `zone` None is the system's time zone.
    """

    spans: tuple[tuple[int, int], ...] = ()
    zone: tzinfo | None = None

    def is_open(self, moment: datetime) -> bool:
        """Whether the worker may work at this (aware) time."""
        local = moment.astimezone(self.zone)
        return self._contains(local.hour * 60 + local.minute)

    def next_change(self, moment: datetime) -> datetime | None:
        """When the hours next start or end after this (aware) time, in local time; None if they never change."""
        if not self.is_limited:
            return None
        was_open = self.is_open(moment)
        tick = moment.astimezone(UTC).replace(second=0, microsecond=0)
        for _ in range(MAX_LOOKAHEAD_DAYS * DAY_MINUTES):  # minute by minute, so that no clock change is missed
            tick += _MINUTE
            if self.is_open(tick) != was_open:
                return tick.astimezone(self.zone)
        return None

    @property
    def is_limited(self) -> bool:
        """Whether there is a time of day at which the worker may not work."""
        return self._minutes_per_day() < DAY_MINUTES

    def seconds_between(self, start: datetime, end: datetime) -> float:
        """How many seconds of working time are between two (aware) times, within FORECAST_DAYS of the first."""
        return self._walk(start, end, math.inf)[1]

    def end_of_work(self, start: datetime, seconds: float) -> datetime | None:
        """When `seconds` of working time have passed since `start` (aware), in UTC; None if not in FORECAST_DAYS."""
        end, worked = self._walk(start, None, seconds)
        return end if worked + _TICK_SECONDS >= seconds else None

    def _walk(self, start: datetime, end: datetime | None, most_seconds: float) -> tuple[datetime, float]:
        """Go from `start` to `end`, at most `most_seconds` of working time; where that is, and the working time."""
        at, worked = start.astimezone(UTC), 0.0
        end = at + FORECAST_DAYS * _DAY if end is None else min(end.astimezone(UTC), at + FORECAST_DAYS * _DAY)
        if not self.spans:  # the status is read twice a second: no walk through the minutes without working hours
            worked = min(most_seconds, max(0.0, (end - at).total_seconds()))
            return at + timedelta(seconds=worked), worked
        day_seconds = 60.0 * self._minutes_per_day()
        while at < end and most_seconds - worked > _TICK_SECONDS:
            has_clock_change = self._offset(at) != self._offset(at + _DAY)
            if at + _DAY <= end and worked + day_seconds < most_seconds and not has_clock_change:
                at, worked = at + _DAY, worked + day_seconds
                continue
            seconds = (min(end, at.replace(second=0, microsecond=0) + _MINUTE) - at).total_seconds()
            if self.is_open(at):
                seconds = min(seconds, most_seconds - worked)
                worked += seconds
            at += timedelta(seconds=seconds)
        return at, worked

    def _offset(self, moment: datetime) -> timedelta | None:
        return moment.astimezone(self.zone).utcoffset()

    def _minutes_per_day(self) -> int:
        return sum(self._contains(minute) for minute in range(DAY_MINUTES))

    def _contains(self, minute: int) -> bool:
        return not self.spans or any(
            start <= minute < end if start < end else (minute >= start or minute < end) for start, end in self.spans
        )

    def __str__(self) -> str:
        return ",".join(f"{_time_of_day(start)}-{_time_of_day(end)}" for start, end in self.spans)


def parse_hours(text: str, zone: tzinfo | None = None) -> Hours:
    """Working hours from `22:00-07:00`, or several separated by commas; empty means always.

    Raises ValueError with the expected format.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return Hours(tuple(_parse_span(part) for part in parts), zone)


def _parse_span(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a valid time range: write working hours like 22:00-07:00")
    start, end = _parse_minute(text, match[1], match[2]), _parse_minute(text, match[3], match[4])
    if start % DAY_MINUTES == end % DAY_MINUTES and (start, end) != (0, DAY_MINUTES):
        raise ValueError(f"{text!r} starts and ends at the same time: leave working hours empty for no limit")
    return start % DAY_MINUTES, end


def _parse_minute(text: str, hour: str, minute: str | None) -> int:
    minutes = int(hour) * 60 + int(minute or 0)
    if int(minute or 0) >= 60 or minutes > DAY_MINUTES:  # noqa: PLR2004  # minutes in an hour
        raise ValueError(f"{text!r} contains an invalid time: write working hours like 22:00-07:00")
    return minutes


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


# Run deadlines

MAX_RUN_SECONDS = 366 * 86400.0
_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})")


def end_after(text: str, now: datetime) -> datetime:
    """The deadline a duration (8h, 1h30m, 45m) after `now` (aware). Raises ValueError with the expected format."""
    seconds = parse_duration(text)
    if seconds > MAX_RUN_SECONDS:
        raise ValueError(f"{text!r} is longer than a year: leave the limit out to run until everything is described")
    return now.astimezone(UTC) + timedelta(seconds=seconds)


def end_by(text: str, now: datetime) -> datetime:
    """The deadline at a local time: the next 07:00 after `now` (aware), or a date and time such as 2026-11-27 07:00.

    Raises ValueError with the expected format.
    """
    text = text.strip()
    match = _TIME_OF_DAY.fullmatch(text)
    if match is not None:
        try:
            return next_occurrence(time(int(match[1]), int(match[2])), now)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a valid time: write 07:00") from error
    try:
        end = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid time: write 07:00, or 2026-11-27 07:00") from error
    if len(text) <= len("2026-11-27"):
        raise ValueError(f"{text!r} is a date without a time: write {text} 07:00")
    if end <= now:
        raise ValueError(f"{text!r} is in the past: write a future time")
    return end


def next_occurrence(time_of_day: time, now: datetime) -> datetime:
    """The next time after `now` (aware) at which the local clock shows `time_of_day`.

    A time that occurs twice in autumn may be either one; a time that spring skips is as much later as spring skips.
    """
    today = now.astimezone().date()
    for days in range(3):
        wanted = datetime.combine(today + timedelta(days=days), time_of_day)
        both = sorted(wanted.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        shown = [then for then in both if then.astimezone().replace(tzinfo=None, fold=0) == wanted]
        for then in shown or both[-1:]:
            if then > now:
                return then
    raise ValueError(f"the local clock never shows {time_of_day:%H:%M}")


def format_deadline(until: datetime, now: datetime) -> str:
    """A deadline in local time, as short as it is clear: 07:00, Thursday 07:00, 3 December 07:00."""
    local, here = until.astimezone(), now.astimezone()
    if local.date() == here.date() or until - now < timedelta(hours=18):
        return f"{local:%H:%M}"
    if abs(until - now) < timedelta(days=6):
        return f"{local:%A %H:%M}"
    return f"{local.day} {local:%B} {local:%H:%M}"
