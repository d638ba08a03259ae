"""Formatting of counts, durations, timestamps, sizes and untrusted text, shared by the terminal and the dashboard."""

import re
from datetime import datetime, timedelta

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet evaluates a cell that starts with one of these
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Control characters that a terminal acts on, bidirectional overrides, and surrogates that no encoding can write.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters escaped, so that it is safe to print in a terminal."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def format_count(count: int, noun: str) -> str:
    """A count with its noun: 1 video, 2,000 videos."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_timestamp(seconds: float | None) -> str:
    """A timestamp in a video: 1:02:03.450."""
    if seconds is None:
        return "?"
    sign = "-" if seconds < 0 else ""
    millis = round(abs(seconds) * 1000)
    hours, rest = divmod(millis, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, part = divmod(rest, 1000)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{whole:02d}.{part:03d}"


def format_duration(seconds: float | None) -> str:
    """A duration in its two largest units: 3 h 20 min."""
    if seconds is None:
        return "not measured"
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    for size, name, small_size, small_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            large, rest = divmod(whole, size)
            small = rest // small_size
            return f"{large} {name} {small} {small_name}" if small else f"{large} {name}"
    return f"{whole} s"


def format_finish_time(seconds: float, now: datetime) -> str:
    """The local time `seconds` after `now` (aware), as short as it is clear: 07:00, Thursday 14:00, 3 December."""
    then = (now + timedelta(seconds=seconds)).astimezone()  # the clock may change until then
    if seconds < 18 * UNIT_SECONDS["h"]:
        return f"{then:%H:%M}"
    if seconds < 6 * UNIT_SECONDS["d"]:
        return f"{then:%A %H:%M}"
    return f"{then.day} {then:%B}" + (f" {then.year}" if then.year != now.year else "")


def format_bytes(count: float) -> str:
    """A size in bytes with its unit: 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_usd(amount: float) -> str:
    """An amount in US dollars, with more digits for small amounts: $0.0042, $0.049, $12.30."""
    if 0 < amount < 0.00005:  # noqa: PLR2004
        return "under $0.0001"
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.3f}" if amount >= 0.01 else f"${amount:.4f}"  # noqa: PLR2004


def parse_duration(text: str) -> float:
    """The seconds of a duration as users type it: 8h, 1h30m, 45s, 90 (seconds). Raises ValueError."""
    text = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise ValueError(f"{text!r} is not a duration: write 8h, 1h30m or 45s")
    return sum(float(number) * UNIT_SECONDS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", text))


def spreadsheet_text(text: str) -> str:
    """Text for a CSV cell: quoted if a spreadsheet would evaluate it as a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(FORMULA_PREFIXES) else text


def one_line(text: str | None, limit: int = 160) -> str:
    """The text on one line, safe to print, shortened to `limit` characters."""
    line = printable(" ".join((text or "").split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
