r"""Render untrusted text (model output, user input, file names, camera metadata) as text, never as Markdown or HTML.

Long texts go through `st.text`, which interprets nothing; `shown` prepares them. Streamlit renders labels, captions
and titles as Markdown, so `plain` puts a backslash before every ASCII punctuation character. Streamlit's autolinker
runs after Markdown parsing and ignores backslashes; an invisible word joiner inside each URL keeps it from matching.
"""

import re

from enrich.wording import printable

ASCII_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
INVISIBLE = re.compile("[\u200b-\u200f\u2028\u2029\u2060\ufeff]")  # zero-width, line-breaking and direction marks
LINK_MARKER = re.compile(r"(?<=http)(?=://)|(?<=https)(?=://)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
WORD_JOINER = "\u2060"


def shown(text: object) -> str:
    """Text for `st.text`: invisible characters and direction overrides are written as escapes."""
    return INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), printable(str(text)))


def plain(text: object, limit: int | None = None) -> str:
    """Markdown-escaped text for labels and captions: one line, cut to `limit` characters before escaping."""
    line = " ".join(shown(text).split())
    if limit is not None and len(line) > limit:
        line = f"{line[: limit - 1].rstrip()}…"
    return ASCII_PUNCTUATION.sub(r"\\\1", LINK_MARKER.sub(WORD_JOINER, line))
