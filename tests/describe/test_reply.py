import json

import pytest

from enrich.describe.describer import Description, Problem, PromptStyle, ReplyWarning
from enrich.describe.reply import read_reply
from tests.describe.images import call, question

GOOD = {
    "text": "An old woman laughs at a long table.",
    "tags": ["Birthday", "laughing"],
    "objects": ["table", "cake"],
    "people": "one old woman",
    "activity": "laughing",
    "mood": "happy",
    "setting": "garden",
    "visible_text": None,
}
CUT = ReplyWarning(Problem.CUT_OFF)


def read(raw, *warnings, **more):
    return read_reply(question(**more), call(raw, *warnings))


def problems(raw, *warnings, **more):
    return [warning.problem for warning in read(raw, *warnings, **more)[1]]


def test_good_reply_has_no_warnings():
    description, warnings = read(json.dumps(GOOD))
    assert warnings == ()
    assert description == Description(
        text="An old woman laughs at a long table.",
        tags=("birthday", "laughing"),
        objects=("table", "cake"),
        people="one old woman",
        activity="laughing",
        mood="happy",
        setting="garden",
        visible_text="",
    )


@pytest.mark.parametrize(
    "raw",
    [
        f"```json\n{json.dumps(GOOD)}\n```",
        f"Here is the description:\n{json.dumps(GOOD, indent=2)}\nI hope this helps!",
        f"<think>A woman {{maybe}} laughs.</think>\n{json.dumps(GOOD)}",
        f"[{json.dumps(GOOD)}]",
        json.dumps(GOOD).replace('"text"', '"description"'),
    ],
)
def test_json_is_found_in_fences_chat_thinking_and_lists(raw):
    description, warnings = read(raw)
    assert description.text == GOOD["text"]
    assert description.tags == ("birthday", "laughing")
    assert warnings == ()


def test_line_breaks_in_json_strings_are_accepted():
    assert read('{"text": "Two\nlines."}')[0].text == "Two lines."


def test_tags_are_lower_case_trimmed_and_unique():
    description, _ = read(
        json.dumps(GOOD | {"tags": [" Cake ", "#cake", "CAKE", "Old  Woman", "", "tags", "null", "x" * 99]})
    )
    assert description.tags == ("cake", "old woman")


def test_tags_beyond_the_limit_are_dropped():
    assert len(read(json.dumps(GOOD | {"tags": [f"tag {n}" for n in range(99)]}))[0].tags) == 20


def test_list_given_as_text_becomes_a_list():
    assert read(json.dumps(GOOD | {"tags": "cake, old woman; garden"}))[0].tags == ("cake", "old woman", "garden")


def test_text_given_as_a_list_becomes_text():
    description, _ = read(json.dumps(GOOD | {"people": ["a woman", "two men"], "visible_text": ["EXIT", "7"]}))
    assert description.people == "a woman, two men"
    assert description.visible_text == "EXIT, 7"


def test_values_of_other_types_become_text():
    odd = {"people": 2, "mood": True, "objects": [{"name": "Cup", "count": 2}, 7], "setting": {"room": "kitchen"}}
    description, warnings = read(json.dumps(GOOD | odd))
    assert description.people == "2"
    assert description.mood == ""
    assert description.objects == ("cup", "7")
    assert description.setting == "kitchen"
    assert warnings == ()


@pytest.mark.parametrize("nothing", [None, "", "null", "None", "N/A", "unknown.", []])
def test_words_for_nothing_become_empty(nothing):
    assert read(json.dumps(GOOD | {"visible_text": nothing}))[0].visible_text == ""


@pytest.mark.parametrize(
    "raw", ["", "  \n\t ", "{}", '{"text": ""}', "{" + "\n \t" * 600, "<think>What is it?</think>", "<think>Hm"]
)
def test_reply_without_text_is_empty(raw):
    description, warnings = read(raw)
    assert description is None
    assert [warning.problem for warning in warnings] == [Problem.EMPTY]


def test_reply_without_text_field_uses_the_other_fields():
    description, warnings = read(json.dumps(GOOD | {"text": None}))
    assert description.text == "one old woman. laughing. garden. happy. table, cake"
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_prose_is_kept_as_text_and_flagged():
    description, warnings = read("An old woman laughs.")
    assert description.text == "An old woman laughs."
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_truncated_reply_keeps_what_is_there(share):
    whole = json.dumps(GOOD | {"text": 'An old woman "Oma" laughs.'})
    description, warnings = read(whole[: int(len(whole) * share)], CUT)
    assert description.text.startswith("An old woman")
    assert "{" not in description.text
    assert '"text"' not in description.text
    assert [warning.problem for warning in warnings] == [Problem.CUT_OFF]
    if share > 0.6:
        assert "birthday" in description.tags


def test_every_truncation_leaves_clean_text():
    whole = json.dumps(
        GOOD | {"text": 'She says "hä\\u00e4" and \\n laughs \u00e9', "tags": ["a, b", "c"]}, ensure_ascii=True
    )
    for length in range(len('{"text": "She'), len(whole)):
        description, warnings = read(whole[:length], CUT)
        assert description is not None, whole[:length]
        assert description.text.startswith("She"), whole[:length]
        assert not set(description.text) & set("{}["), whole[:length]
        assert [warning.problem for warning in warnings] == [Problem.CUT_OFF], whole[:length]


@pytest.mark.parametrize(
    "raw",
    [
        '{"text": "A man laughs.", "tags": ["man",],}',
        '{"text": "A man laughs.", "tags": ["man"], "mood": happy}',
        '{"text": "A man laughs.", "tags": ["man"]',
    ],
)
def test_slightly_invalid_json_is_repaired_and_flagged(raw):
    description, warnings = read(raw)
    assert description.text == "A man laughs."
    assert description.tags == ("man",)
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_json_beyond_repair_keeps_its_words():
    description, warnings = read("{text: A man laughs, tags: man}")
    assert "A man laughs" in description.text
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_reply_cut_off_before_its_text_is_empty():
    assert problems('{"te', CUT) == [Problem.CUT_OFF, Problem.EMPTY]


def test_repetitive_reply_is_flagged_and_kept():
    description, warnings = read(json.dumps(GOOD | {"text": "the man and the woman and " * 20}))
    assert description.text.startswith("the man")
    assert [warning.problem for warning in warnings] == [Problem.REPEATS]


def test_endless_list_is_flagged_and_its_terms_are_unique():
    description, warnings = read('{"text": "A room.", "objects": [' + '"chair", ' * 90, CUT)
    assert description.objects == ("chair",)
    assert [warning.problem for warning in warnings] == [Problem.CUT_OFF, Problem.REPEATS]


def test_reply_with_prompt_text_is_flagged():
    assert problems(json.dumps(GOOD | {"text": "Say only what can be seen. Do not name people, do"})) == [
        Problem.LEAKS_PROMPT
    ]


def test_warnings_of_the_host_are_kept():
    assert problems(json.dumps(GOOD), CUT) == [Problem.CUT_OFF]


CONTEXT = "Grandma Erna's 80th birthday in Graz"


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Erna is smiling."},
        {"text": "This is Erna's cake."},
        {"tags": ["grandma erna", "cake"]},
        {"people": "Erna and a man"},
    ],
)
def test_name_from_the_context_is_flagged(change):
    _, warnings = read(json.dumps(GOOD | change), context=CONTEXT)
    assert warnings == (ReplyWarning(Problem.CONTEXT_NAME, "Erna"),)


def test_ordinary_words_of_the_context_are_not_flagged():
    assert problems(json.dumps(GOOD | {"text": "Grandma laughs at her birthday party."}), context=CONTEXT) == []


def test_each_name_has_its_own_warning():
    _, warnings = read(json.dumps(GOOD | {"text": "Erna sits in Graz."}), context=CONTEXT)
    assert warnings == (ReplyWarning(Problem.CONTEXT_NAME, "Erna"), ReplyWarning(Problem.CONTEXT_NAME, "Graz"))


@pytest.mark.parametrize("visible", ["Happy birthday Erna!", "ALLES GUTE ERNA", "erna 80"])
def test_name_legible_in_the_image_is_not_flagged(visible):
    raw = json.dumps(GOOD | {"text": "A cake for Erna.", "visible_text": visible})
    assert problems(raw, context=CONTEXT) == []


def test_name_is_flagged_even_without_context_in_the_prompt():
    raw = json.dumps(GOOD | {"text": "A cake for Erna."})
    assert problems(raw, context=CONTEXT, prompt_style=PromptStyle.WITHOUT_CONTEXT) == [Problem.CONTEXT_NAME]


def test_plain_reply_is_text_and_tags():
    description, warnings = read(
        "A woman laughs.\nShe is old.\n\n**Tags:** Woman, cake, laughing", prompt_style=PromptStyle.PLAIN
    )
    assert description.text == "A woman laughs. She is old."
    assert description.tags == ("woman", "cake", "laughing")
    assert warnings == ()


def test_json_in_a_plain_reply_is_read_as_json():
    description, warnings = read(json.dumps(GOOD), prompt_style=PromptStyle.PLAIN)
    assert description.tags == ("birthday", "laughing")
    assert warnings == ()


def test_characters_that_databases_reject_are_removed():
    description, _ = read('{"text": "A\\u0000 man\\ud83d in\\u0007 a\\u200d room", "tags": ["x\\u0000y"]}')
    description.text.encode()
    assert "\x00" not in description.text
    assert "\x07" not in description.text
    assert description.tags == ("x y",)


@pytest.mark.parametrize(
    "raw", ["[" * 5000, '{"text":' * 3000, "{]}", '"', "[1, 2]", "7", '{"a": {"text": 1}}', "\ud800", "}{"]
)
def test_strange_replies_do_not_raise(raw):
    read(raw)
    read(raw, CUT, prompt_style=PromptStyle.PLAIN, context=CONTEXT)


REQUEST = "Say which flowers stand on the table in front of the old woman, Hermine"


def test_repeating_the_users_request_is_no_prompt_leak():
    raw = json.dumps(GOOD | {"text": "Roses stand on the table in front of the old woman, whose cake is white."})
    assert problems(raw, request=REQUEST) == []


def test_name_from_the_request_is_flagged():
    raw = json.dumps(GOOD | {"text": "Hermine laughs."})
    assert problems(raw, request=REQUEST) == [Problem.CONTEXT_NAME]
