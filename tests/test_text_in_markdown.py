"""Untrusted text as escaped Markdown and as plain text output."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrich.wording import WORD_JOINER, markdown_text, printable

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[x](http://evil)",
    "![x](http://evil/x.png)",
    "$\\LaTeX$",
    ":red[x] :material/home: :smile:",
    "**bold** _slanted_ `code` ~~gone~~",
    "# a title\n- a list\n1. another\n> said",
    "<https://evil.example>",
    "&lt;b&gt; &#60;",
    "a | b\n--|--",
]


def unescaped(written: str) -> str:
    """The text a reader sees after Markdown rendering of `plain` output."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", written.replace(WORD_JOINER, ""))


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_characters_are_escaped(text):
    written = markdown_text(text)
    assert "\n" not in written
    assert not re.search(r"(?<!\\)(?:\\\\)*[!-/:-@\[-`{-~]", re.sub(r"\\[!-/:-@\[-`{-~]", "", written))
    assert unescaped(written) == " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_output_keeps_markdown_characters(text):
    assert printable(text) == text


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200b", "\u200f", "\u2028", "\ufeff", "\x1b", "\x00", "\x9b"])
def test_invisible_and_direction_marks_are_escaped(mark):
    text = f"film{mark}gpj.exe"
    escape = mark.encode("unicode_escape").decode()
    assert printable(text) == f"film{escape}gpj.exe"
    assert markdown_text(text) == f"film\\{escape}gpj\\.exe"


@pytest.mark.parametrize(
    "text", ["see http://a.example", "HTTPS://a.example/", "www.a.example", "me@a.example", "x@y.z@w.v"]
)
def test_urls_do_not_become_links(text):
    # The patterns by which remark-gfm finds URLs after Markdown parsing.
    read = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown_text(text))
    assert not re.search(r"(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+", read, re.IGNORECASE)
    assert unescaped(markdown_text(text)) == text


def test_letters_of_all_languages_are_kept():
    for text in ("Hochzeit Jürgen & Søren", "婚礼", "حفل زفاف", "ਵਿਆਹ", "2025 年"):
        assert printable(text) == text
        assert markdown_text(text).replace("\\", "") == text


def test_long_text_is_cut_before_escaping():
    assert markdown_text("x" * 50, 10) == "x" * 9 + "…"
    assert markdown_text("!!!!!", 3) == "\\!\\!…"
    assert markdown_text("a word", 6) == "a word"


def test_other_values_are_converted_with_str():
    assert printable(12.5) == "12.5"
    assert markdown_text(None) == "None"


@given(st.text())
def test_no_output_contains_invisible_characters(text):
    for written in (printable(text), markdown_text(text).replace(WORD_JOINER, "")):
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]", written
        )


@given(st.text(), st.integers(1, 40))
def test_cut_text_has_at_most_the_limit(text, limit):
    assert len(unescaped(markdown_text(text, limit))) <= limit
