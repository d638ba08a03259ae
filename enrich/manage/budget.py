"""The end of a night, as people say it: within 8 hours, by 07:00. A worker then takes up no new work, and ends.

It is a moment of the clock on the wall, so that it stays the same when the worker is started again after a crash.
"""

import re
from datetime import UTC, datetime, time, timedelta

from enrich.wording import seconds_in

LONGEST_SECONDS = 366 * 86400.0
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


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
