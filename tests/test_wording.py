"""Untrusted text is safe for a terminal, JSON and a spreadsheet, and stays readable."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrich.wording import json_text, markdown_text, one_line, printable, spreadsheet_text

UNSAFE = {
    "clear the screen": "\x1b[2J",
    "C1 control sequence": "\x9b2J",
    "link": "\x1b]8;;http://evil\x07",
    "window title": "\x1b]0;pwned\x9c",
    "carriage return": "\r",
    "backspace": "\x08",
    "form feed": "\x0c",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "lone surrogate": "\udce9",
    "hidden text": "\U000e0069\U000e0067\U000e006e",
    "hidden text behind a flag": "🏴" + "".join(chr(0xE0000 + ord(letter)) for letter in "ignore"),
    "joiner that joins nothing": "\u200d",
    "selectors that hide bytes": "\U000e0100\U000e0155",
}
KEPT = (
    "Hochzeit Jürgen & Søren",
    "婚礼",
    "حفل زفاف",
    "می‌خواهم",  # a non-joiner between two letters
    "👨‍👩‍👧 family",  # joiners between emoji
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f Highlands",
    "葛\U000e0100城",
    "tab\there",
)


@pytest.mark.parametrize("unsafe", UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_characters_are_escaped_everywhere(unsafe):
    text = f"party{unsafe}x.mp4"
    characters = {character for character in unsafe if not character.isascii() or character < " "} - {"🏴"}
    for safe in (printable, one_line, markdown_text, spreadsheet_text):
        assert not characters & set(safe(text))
    written = json_text(json.dumps({"title": text}, ensure_ascii=False))
    assert not characters & set(written)
    assert json.loads(written) == {"title": text}


@pytest.mark.parametrize("text", KEPT)
def test_words_and_emoji_of_all_languages_are_kept(text):
    assert printable(text) == spreadsheet_text(text) == text
    assert json_text(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "%1", "|x", "＝1", "＋1", "－1", "＠x", "﹢1")
BEFORE = ("", " ", "\t", "\n", "\r", "\r\n", '"', "'", ' "', "\u00a0", "\u3000", "\x0b")


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_are_quoted_in_a_spreadsheet(before, formula):
    text = spreadsheet_text(before + formula)
    assert text[0] in "'\\"  # an escaped control character is no formula either


@pytest.mark.parametrize("separator", [";", "; ", "\t", "\n", "\r"])
def test_formulas_after_another_separator_are_quoted(separator):
    """A spreadsheet in Germany separates the cells of a CSV file at semicolons."""
    out = io.StringIO()
    csv.writer(out).writerow([1, spreadsheet_text(f"a beach{separator}=cmd|' /C calc'!A0")])
    cells = re.split(r"[;\t\n]", out.getvalue())
    assert not [cell for cell in cells if cell.lstrip().startswith("=")]


@pytest.mark.parametrize("text", ["a beach - at noon", "x = 1", "3 + 4", "me@home", "100 %", "it's ok; done"])
def test_harmless_cells_are_unchanged(text):
    assert spreadsheet_text(text) == text


def test_one_line_has_no_line_break_and_its_limit():
    assert one_line("a\n b\r\nc\u2028d\x85e") == "a b c d e"
    assert one_line(None) == ""
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert one_line("x" * 500, None) == "x" * 500


@given(st.text())
def test_json_reads_as_the_same_text(text):
    assert json.loads(json_text(json.dumps(text, ensure_ascii=False))) == text


@given(st.text())
def test_escaping_twice_changes_nothing_more(text):
    assert printable(printable(text)) == printable(text)
