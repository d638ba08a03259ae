"""Formatting of counts, durations, timestamps and sizes, and untrusted text made safe for what displays it.

Text of models, files, users and servers goes through one of these functions before it is displayed or exported:
`printable` (a terminal, and any place that shows text as it is), `one_line` (the same on one line), `json_text` (JSON),
`spreadsheet_text` (a CSV cell) and `markdown_text` (Streamlit's labels). All of them escape the same characters.
"""

import json
import re
from datetime import datetime, timedelta

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Control characters that a terminal acts on, except tab and line feed; invisible characters, line and paragraph
# separators and direction overrides, which make a text look like another one; tags, which hide text inside text; and
# surrogates, which no encoding can write. Joiners belong to words and emoji: they are escaped only after ASCII, where
# they join nothing. Kept are also selectors after Han characters, and the tags in the flags of parts of Britain.
_FLAG = "\U0001f3f4\U000e0067\U000e0062[\U000e0061-\U000e007a]{3}\U000e007f"
_UNPRINTABLE = re.compile(
    f"(?P<flag>{_FLAG})"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
    "|(?<![^\x00-\x7f\u200b-\u200f])[\u200c\u200d]"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)
# A sign with which a spreadsheet begins a formula, after spaces and quotes that it may drop.
_SIGN = "[=+\\-@|%＝＋－＠﹢﹣﹦﹫]"
_FORMULA = re.compile(f"^(?=[\\s\"']*{_SIGN}|[\t\n])")
_LATER_FORMULA = re.compile(f"(?<=[;\t\n])(?=[ \\u00a0\\u3000\"']*{_SIGN})")
_ASCII_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_LINK_MARKER = re.compile(r"(?<=http)(?=://)|(?<=https)(?=://)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
WORD_JOINER = "\u2060"


def printable(text: object) -> str:
    """The text with control and invisible characters escaped. Line feeds and tabs are kept."""
    return _UNPRINTABLE.sub(lambda match: match["flag"] or match[0].encode("unicode_escape").decode(), str(text))


def one_line(text: object, limit: int | None = 160) -> str:
    """The text on one line, safe to print, shortened to `limit` characters. None is empty."""
    line = printable(" ".join(("" if text is None else str(text)).split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def json_text(value: str) -> str:
    """JSON with its control and invisible characters escaped, so that it is safe to print and reads as the same."""
    return _UNPRINTABLE.sub(lambda match: match["flag"] or json.dumps(match[0])[1:-1], value)


def spreadsheet_text(text: object) -> str:
    """Text for a CSV cell: safe to print, and quoted where a spreadsheet would evaluate it (OWASP, CSV injection).

    Also at the beginning of a line, and after a semicolon or a tab: a spreadsheet may take them for separators.
    """
    lines = str(text).replace("\r\n", "\n").replace("\r", "\n")  # csv does not quote a lone \r
    cell = printable(lines)
    start = len(cell) - len(cell.lstrip())
    return _FORMULA.sub("'", cell[:start] + _LATER_FORMULA.sub("'", cell[start:]))


def markdown_text(text: object, limit: int | None = None) -> str:
    """Text that Markdown shows as it is, on one line, cut to `limit` characters before it is escaped.

    Streamlit renders labels, captions and titles as Markdown, so every ASCII punctuation character gets a backslash.
    Its autolinker runs after Markdown and ignores backslashes: an invisible word joiner inside each address stops it.
    """
    line = " ".join(printable(text).split())
    if limit is not None and len(line) > limit:
        line = f"{line[: limit - 1].rstrip()}…"
    return _ASCII_PUNCTUATION.sub(r"\\\1", _LINK_MARKER.sub(WORD_JOINER, line))


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
