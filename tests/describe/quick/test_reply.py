"""Parsing quick pass replies: answers are found by label, and no reply raises."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrich.describe.describer import Problem
from enrich.describe.prompt import EVENTS, known_events, match_event, normalize_event
from enrich.describe.quick.protocol import QuickAnswer
from enrich.describe.quick.reply import context_name_warnings, read_items, reply_model

EVENT_LIST = known_events()


def item(label="F1", **changes):
    whole = {"label": label, "description": "A cake.", "tags": ["cake"], "event_type": "cake", "excitement": 6}
    return whole | changes


def read(*items, labels=("F1", "F2")):
    return read_items(json.dumps({"pictures": list(items)}), labels, EVENT_LIST)


def test_complete_answer_is_read():
    assert read(item())["F1"].answer == QuickAnswer("A cake.", ("cake",), "cake", 6.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event_type": "First_Dance"}, ("first dance", 6.0)),
        ({"event_type": "a bar brawl"}, ("other", 6.0)),
        ({"event_type": None}, ("other", 6.0)),
        ({"excitement": 11}, ("cake", 10.0)),
        ({"excitement": -1}, ("cake", 0.0)),
        ({"excitement": "7"}, ("cake", 7.0)),
        ({"excitement": "very"}, ("cake", 0.0)),
        ({"excitement": float("nan")}, ("cake", 0.0)),
        ({"excitement": [3]}, ("cake", 0.0)),
    ],
)
def test_events_and_excitement_stay_within_list_and_scale(changes, expected):
    answer = read(item(**changes))["F1"].answer
    assert (answer.event_type, answer.excitement) == expected


def test_tags_are_clean_search_terms():
    answer = read(item(tags=["#Wedding Cake", "wedding cake", "", None, "x" * 90, "Red, White"]))["F1"].answer
    assert answer.tags == ("wedding cake", "red", "white")


@pytest.mark.parametrize("said", [None, "", "  ", "null", 0, False, []])
def test_empty_description_is_no_answer(said):
    assert "F1" not in read(item(description=said)) or said == 0


def test_control_characters_are_removed():
    assert read(item(description="A\x00 cake\x1b[31m.\ud800"))["F1"].answer.description == "A cake [31m.?"


def test_unknown_and_duplicate_labels_have_no_answer():
    found = read(item("F1"), item("F1", description="Another."), item("F3"), item(" F2 "))
    assert list(found) == ["F2"]


def test_truncated_reply_gives_its_complete_items():
    whole = json.dumps({"pictures": [item("F1"), item("F2", description='Braces } and "quotes".')]})
    assert list(read_items(whole[:-2], ("F1", "F2"), EVENT_LIST)) == ["F1", "F2"]
    assert list(read_items(whole[:-5], ("F1", "F2"), EVENT_LIST)) == ["F1"]
    assert read_items(whole[:40], ("F1", "F2"), EVENT_LIST) == {}


STRANGE = ["", "null", "[]", "{}", "5", '"F1"', '{"pictures": 3}', '{"pictures": [1, null]}', "[" * 5000]
FIELDS = st.sampled_from(["pictures", "label", "description", "tags", "event_type", "excitement"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text()


@pytest.mark.parametrize("said", STRANGE)
def test_reply_of_another_form_has_no_answers(said):
    assert read_items(said, ("F1",), EVENT_LIST) == {}


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner), max_leaves=20))
def test_no_reply_raises(value):
    for answer in (found.answer for found in read_items(json.dumps(value), ("F1",), EVENT_LIST).values()):
        assert answer.event_type in EVENT_LIST
        assert 0 <= answer.excitement <= 10


def test_name_from_the_context_alone_has_a_warning():
    answer = QuickAnswer("Erna blows out candles.", ("erna", "candles"), "cake", 8)
    (warning,) = context_name_warnings(answer, context="Grandma Erna's 80th in Graz", language="English")
    assert (warning.problem, warning.detail) == (Problem.CONTEXT_NAME, "Erna")
    assert context_name_warnings(answer, context="", language="English") == ()


def test_users_own_events_come_first_without_duplicates():
    events = known_events(["Bouquet_Toss", "speech", "", "other", "bouquet toss"])
    assert events[:3] == ("bouquet toss", "speech", "preparation")
    assert events[-1] == "other"
    assert len(events) == len(set(events)) == len(EVENTS) + 2
    assert reply_model(events).model_json_schema()["$defs"]["Looked"]["properties"]["event_type"]["enum"] == list(
        events
    )


def test_event_is_recognised_in_any_spelling():
    assert match_event(" First-Dance. ", EVENT_LIST) == "first dance"
    assert normalize_event("x" * 100) == "x" * 40
    assert all(normalize_event(event) == event for event in EVENT_LIST)
