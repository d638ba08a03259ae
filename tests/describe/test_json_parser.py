import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrich.describe.json_parser import MAX_DEPTH, objects_in, parse_json, token_count
from tests.describe.hostile import BROKEN, NESTED, NUMBERS, assert_storable, replies, short_id


@settings(max_examples=60, deadline=None)
@given(replies(["text", "tags"]) | st.text())
def test_parser_raises_only_value_errors_and_returns_storable_values(text):
    try:
        value = parse_json(text)
    except ValueError:
        return
    assert_storable(value)


@pytest.mark.parametrize("number", NUMBERS, ids=short_id)
def test_numbers_no_database_holds_become_null(number):
    assert parse_json(f'{{"tags": [{number}]}}') in ({"tags": [None]}, {"tags": [0.0]})


@pytest.mark.parametrize("number", [0, -7, 2**63 - 1, 3.25])
def test_other_numbers_are_kept(number):
    assert parse_json(json.dumps(number)) == number


@pytest.mark.parametrize("text", NESTED[1:4] + NESTED[5:] + BROKEN[:5], ids=short_id)
def test_deep_or_broken_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_brackets_in_strings_are_no_nesting():
    text = "[" * 5000 + '\\"'
    assert parse_json(json.dumps({"text": text})) == {"text": text}
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_texts_and_names_are_storable():
    assert parse_json('{"a\\ud800": "b\\u0000\\udfff\\n"}') == {"a?": "b ?\n"}


@pytest.mark.parametrize("part", [",", "[,", '{"a":', '"', '\\"', "[]", "{},", '"\\u'])
def test_a_million_characters_are_parsed_within_a_second(part):
    text = "[" + part * (1_000_000 // len(part))
    start = time.process_time()
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    assert time.process_time() - start < 1


def test_objects_are_found_between_other_words():
    text = 'I see {this}: {"text": "a } b"} or [{"text": "c"}] {'
    assert list(objects_in(text, attempts=5)) == [{"text": "a } b"}, {"text": "c"}]
    assert list(objects_in("{" * 9999, attempts=5)) == []


@pytest.mark.parametrize("value", [-1, 2**31, 2**63, True, 1.5, "7", None, [], float("nan")])
def test_incredible_numbers_of_tokens_are_unknown(value):
    assert token_count(value) is None
    assert token_count(712) == 712
