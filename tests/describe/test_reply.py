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


def test_a_good_reply_is_read_without_a_doubt():
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
def test_fences_small_talk_thoughts_and_lists_around_the_json_do_not_matter(raw):
    description, warnings = read(raw)
    assert description.text == GOOD["text"]
    assert description.tags == ("birthday", "laughing")
    assert warnings == ()


def test_line_breaks_within_a_text_are_read_though_json_forbids_them():
    assert read('{"text": "Two\nlines."}')[0].text == "Two lines."


def test_tags_are_lower_case_trimmed_and_not_repeated():
    description, _ = read(
        json.dumps(GOOD | {"tags": [" Cake ", "#cake", "CAKE", "Old  Woman", "", "tags", "null", "x" * 99]})
    )
    assert description.tags == ("cake", "old woman")


def test_more_tags_than_anybody_wants_are_left_out():
    assert len(read(json.dumps(GOOD | {"tags": [f"tag {n}" for n in range(99)]}))[0].tags) == 20


def test_a_list_written_as_text_becomes_a_list():
    assert read(json.dumps(GOOD | {"tags": "cake, old woman; garden"}))[0].tags == ("cake", "old woman", "garden")


def test_a_text_written_as_a_list_becomes_a_text():
    description, _ = read(json.dumps(GOOD | {"people": ["a woman", "two men"], "visible_text": ["EXIT", "7"]}))
    assert description.people == "a woman, two men"
    assert description.visible_text == "EXIT, 7"


def test_values_of_other_kinds_are_taken_as_words():
    odd = {"people": 2, "mood": True, "objects": [{"name": "Cup", "count": 2}, 7], "setting": {"room": "kitchen"}}
    description, warnings = read(json.dumps(GOOD | odd))
    assert description.people == "2"
    assert description.mood == ""
    assert description.objects == ("cup", "7")
    assert description.setting == "kitchen"
    assert warnings == ()


@pytest.mark.parametrize("nothing", [None, "", "null", "None", "N/A", "unknown.", []])
def test_words_for_nothing_are_nothing(nothing):
    assert read(json.dumps(GOOD | {"visible_text": nothing}))[0].visible_text == ""


@pytest.mark.parametrize(
    "raw", ["", "  \n\t ", "{}", '{"text": ""}', "{" + "\n \t" * 600, "<think>What is it?</think>", "<think>Hm"]
)
def test_a_reply_without_any_text_is_empty(raw):
    description, warnings = read(raw)
    assert description is None
    assert [warning.problem for warning in warnings] == [Problem.EMPTY]


def test_a_reply_without_the_text_field_is_described_by_its_other_fields():
    description, warnings = read(json.dumps(GOOD | {"text": None}))
    assert description.text == "one old woman. laughing. garden. happy. table, cake"
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_prose_is_kept_as_text_and_noticed():
    description, warnings = read("An old woman laughs.")
    assert description.text == "An old woman laughs."
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
def test_of_a_reply_that_was_cut_off_what_is_there_is_kept(share):
    whole = json.dumps(GOOD | {"text": 'An old woman "Oma" laughs.'})
    description, warnings = read(whole[: int(len(whole) * share)], CUT)
    assert description.text.startswith("An old woman")
    assert "{" not in description.text
    assert '"text"' not in description.text
    assert [warning.problem for warning in warnings] == [Problem.CUT_OFF]
    if share > 0.6:
        assert "birthday" in description.tags


def test_every_way_of_cutting_a_reply_short_leaves_clean_text():
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
def test_json_that_is_slightly_wrong_is_mended_and_noticed(raw):
    description, warnings = read(raw)
    assert description.text == "A man laughs."
    assert description.tags == ("man",)
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_of_json_beyond_repair_the_words_are_kept():
    description, warnings = read("{text: A man laughs, tags: man}")
    assert "A man laughs" in description.text
    assert [warning.problem for warning in warnings] == [Problem.NOT_JSON]


def test_a_reply_cut_off_before_any_text_is_empty_and_cut_off():
    assert problems('{"te', CUT) == [Problem.CUT_OFF, Problem.EMPTY]


def test_a_reply_that_repeats_itself_is_noticed_and_its_text_kept():
    description, warnings = read(json.dumps(GOOD | {"text": "the man and the woman and " * 20}))
    assert description.text.startswith("the man")
    assert [warning.problem for warning in warnings] == [Problem.REPEATS]


def test_a_list_that_never_ends_is_noticed_though_its_terms_are_told_once():
    description, warnings = read('{"text": "A room.", "objects": [' + '"chair", ' * 90, CUT)
    assert description.objects == ("chair",)
    assert [warning.problem for warning in warnings] == [Problem.CUT_OFF, Problem.REPEATS]


def test_a_reply_that_hands_the_prompt_back_is_noticed():
    assert problems(json.dumps(GOOD | {"text": "Say only what can be seen. Do not name people, do"})) == [
        Problem.LEAKS_PROMPT
    ]


def test_what_the_host_knows_is_kept_among_the_doubts():
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
def test_a_name_that_only_the_context_can_have_told_is_noticed(change):
    _, warnings = read(json.dumps(GOOD | change), context=CONTEXT)
    assert warnings == (ReplyWarning(Problem.CONTEXT_NAME, "Erna"),)


def test_ordinary_words_of_the_context_are_no_names():
    assert problems(json.dumps(GOOD | {"text": "Grandma laughs at her birthday party."}), context=CONTEXT) == []


def test_every_name_is_a_doubt_of_its_own():
    _, warnings = read(json.dumps(GOOD | {"text": "Erna sits in Graz."}), context=CONTEXT)
    assert warnings == (ReplyWarning(Problem.CONTEXT_NAME, "Erna"), ReplyWarning(Problem.CONTEXT_NAME, "Graz"))


@pytest.mark.parametrize("visible", ["Happy birthday Erna!", "ALLES GUTE ERNA", "erna 80"])
def test_a_name_that_can_be_read_in_the_picture_is_no_doubt(visible):
    raw = json.dumps(GOOD | {"text": "A cake for Erna.", "visible_text": visible})
    assert problems(raw, context=CONTEXT) == []


def test_a_name_said_without_knowing_the_context_is_a_doubt_all_the_same():
    raw = json.dumps(GOOD | {"text": "A cake for Erna."})
    assert problems(raw, context=CONTEXT, prompt_style=PromptStyle.WITHOUT_CONTEXT) == [Problem.CONTEXT_NAME]


def test_a_plain_reply_is_text_and_tags_and_need_not_be_json():
    description, warnings = read(
        "A woman laughs.\nShe is old.\n\n**Tags:** Woman, cake, laughing", prompt_style=PromptStyle.PLAIN
    )
    assert description.text == "A woman laughs. She is old."
    assert description.tags == ("woman", "cake", "laughing")
    assert warnings == ()


def test_a_plain_reply_that_is_json_all_the_same_is_read_as_json():
    description, warnings = read(json.dumps(GOOD), prompt_style=PromptStyle.PLAIN)
    assert description.tags == ("birthday", "laughing")
    assert warnings == ()


def test_characters_no_database_takes_are_left_out():
    description, _ = read('{"text": "A\\u0000 man\\ud83d in\\u0007 a\\u200d room", "tags": ["x\\u0000y"]}')
    description.text.encode()
    assert "\x00" not in description.text
    assert "\x07" not in description.text
    assert description.tags == ("x y",)


@pytest.mark.parametrize(
    "raw", ["[" * 5000, '{"text":' * 3000, "{]}", '"', "[1, 2]", "7", '{"a": {"text": 1}}', "\ud800", "}{"]
)
def test_nothing_a_model_writes_raises(raw):
    read(raw)
    read(raw, CUT, prompt_style=PromptStyle.PLAIN, context=CONTEXT)


REQUEST = "Say which flowers stand on the table in front of the old woman, Hermine"


def test_an_answer_that_takes_up_the_words_of_the_request_leaks_nothing():
    raw = json.dumps(GOOD | {"text": "Roses stand on the table in front of the old woman, whose cake is white."})
    assert problems(raw, request=REQUEST) == []


def test_a_name_that_only_the_request_can_have_told_is_noticed():
    raw = json.dumps(GOOD | {"text": "Hermine laughs."})
    assert problems(raw, request=REQUEST) == [Problem.CONTEXT_NAME]
