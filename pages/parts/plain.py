r"""What models, people, files and cameras say, shown as text: never as Markdown, LaTeX, HTML or an icon.

Long texts go through `st.text`, which reads nothing into them; labels, captions and titles are Markdown to Streamlit,
so `plain` puts a backslash before every character that Markdown could take for its own. Addresses would become links
all the same, after the Markdown is read: a word joiner, which nobody sees, keeps them from being found.
"""

import re

from enrich.wording import printable

ASCII_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
INVISIBLE = re.compile("[\u200b-\u200f\u2028\u2029\u2060\ufeff]")  # marks that hide or turn around what follows
ADDRESS = re.compile(r"(?<=http)(?=://)|(?<=https)(?=://)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
WORD_JOINER = "\u2060"


def shown(text: object) -> str:
    """A text for `st.text`: what would turn the line around or not be seen at all is shown as an escape."""
    return INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), printable(str(text)))


def plain(text: object, limit: int | None = None) -> str:
    """A text for labels and captions, in one line, cut to `limit` characters."""
    line = " ".join(shown(text).split())
    if limit is not None and len(line) > limit:
        line = f"{line[: limit - 1].rstrip()}…"
    return ASCII_PUNCTUATION.sub(r"\\\1", ADDRESS.sub(WORD_JOINER, line))
