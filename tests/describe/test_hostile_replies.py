"""No reply of a model raises, stalls or bloats, and what is read from it can be stored."""

import json
import time
import tracemalloc
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrich.describe.describer import Problem, PromptStyle
from enrich.describe.prompt import FIELDS
from enrich.describe.quick.local import stored_description
from enrich.describe.quick.reply import read_items
from enrich.describe.reply import MAX_REPLY_CHARACTERS, read_reply
from tests.describe.hostile import BROKEN, NESTED, NUMBERS, assert_storable, replies, short_id
from tests.describe.images import call, question

EXAMPLES = 40
QUESTION = question(context="Grandma Erna's 80th birthday in Graz")
PLAIN = question(prompt_style=PromptStyle.PLAIN)
NAMES = [*FIELDS, "description"]
QUICK_NAMES = ["pictures", "label", "description", "tags", "event_type", "excitement"]


def read(raw):
    return read_reply(QUESTION, call(raw))


@settings(max_examples=EXAMPLES, deadline=None)
@given(replies(NAMES), st.booleans())
def test_any_reply_is_read_into_storable_values(raw, thinks):
    raw = f"<think>{raw}</think>" if thinks else raw
    for asked in (QUESTION, PLAIN):
        description, warnings = read_reply(asked, call(raw))
        assert_storable([warning.detail for warning in warnings])
        if description is None:
            assert Problem.EMPTY in [warning.problem for warning in warnings]
        else:
            assert description.text
            assert_storable(astuple(description))


@settings(max_examples=EXAMPLES, deadline=None)
@given(replies(QUICK_NAMES))
def test_any_quick_reply_is_read_into_storable_values(raw):
    for reply in (raw, f'{{"pictures": [{raw}, {{"label": "F2", "description": {json.dumps(raw)}}}]}}'):
        for item in read_items(reply, ("F1", "F2"), ("cake", "other")).values():
            assert_storable((*astuple(item.answer), item.raw))
    assert_storable(stored_description(raw))


@pytest.mark.parametrize(
    "value", [*NESTED, *NUMBERS, "null", "true", "[]", "{}", '"NaN"', '"None."', '"N/A"'], ids=short_id
)
@pytest.mark.parametrize("name", ["text", "description"])
def test_text_that_is_no_text_is_empty(name, value):
    assert read(f'{{"{name}": {value}}}')[0] is None
    assert read_items(f'{{"pictures": [{{"label": "F1", "{name}": {value}}}]}}', ("F1",), ()) == {}


@pytest.mark.parametrize("value", NESTED[1:] + NUMBERS, ids=short_id)
def test_text_is_kept_whatever_the_other_fields_hold(value):
    description, _ = read(f'{{"text": "A woman laughs.", "mood": "happy", "tags": ["woman"], "objects": {value}}}')
    assert (description.text, description.mood, description.tags) == ("A woman laughs.", "happy", ("woman",))


@pytest.mark.parametrize("raw", BROKEN, ids=short_id)
def test_broken_reply_has_no_text(raw):
    assert read(raw)[0] is None


def test_list_beyond_repair_costs_only_itself():
    broken = '{"text": "A woman laughs.", "mood": "happy", "objects": [' + "{x}, " * 200
    description, _ = read(broken)
    assert (description.text, description.mood) == ("A woman laughs.", "happy")


PARTS = [
    ",",
    "{",
    "}",
    "[,",
    "{},",
    '{"a":',
    '{"x":1,',
    '"',
    '\\"',
    "*",
    " ",
    "\n",
    "tags:",
    "tags: \n",
    "<",
    "<think>",
]
PARTS += ["```", "```{", "a ", "null ", "\u2581", "<|", "USER\n", "ab1", "say only what can be seen "]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("before", ["", "{", '{"text": "', '{"text": "A man.", "tags": [', "<think>"])
def test_huge_reply_is_read_within_a_second(before, part):
    raw = before + part * (MAX_REPLY_CHARACTERS // len(part))
    start = time.process_time()
    read(raw)
    assert time.process_time() - start < 1


def test_reply_of_commas_takes_little_memory():
    tracemalloc.start()
    try:
        assert read("{" + "," * 200_000)[0] is None
        assert read("{" + "[," * 100_000)[0] is None
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
