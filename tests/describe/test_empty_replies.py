"""Replies that only look like answers are empty. What stands beside them is kept."""

import json

import pytest

from enrich.describe.describer import Problem, PromptStyle, ReplyWarning
from enrich.describe.prompt import FIELDS, prompt_for, reply_schema
from enrich.describe.reply import MAX_REPLY_CHARACTERS, read_reply
from tests.describe.images import call, question

EMPTY = (None, (ReplyWarning(Problem.EMPTY),))
CONTEXT = "a dog runs on the beach with a red ball in the evening"
TOKENS = ["<unused50>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "[INST]", "</s>", "<0x0A>", "<pad>"]
TOKENS += [
    "<end_of_turn>",
    "<start_of_image>",
    "\u2581",
    "<unk>",
    "[PAD]",
    "<extra_id_0>",
    "<|reserved_special_token_7|>",
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<start_of_turn>model",
    "<|turn>model",
    "<turn|>",
    "[PAD151645]",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
]
OPENING = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|turn>", "[INST]")


def read(raw, **more):
    return read_reply(question(**more), call(raw))


@pytest.mark.parametrize("token", TOKENS)
def test_special_tokens_alone_are_empty(token):
    for raw in (token, token * 90, f"{token} {token}\n", json.dumps({"text": token * 9, "tags": [token]})):
        assert read(raw) == EMPTY
        assert read(raw, prompt_style=PromptStyle.PLAIN) == EMPTY


@pytest.mark.parametrize("token", [token for token in TOKENS if not token.startswith(OPENING)])
def test_stray_special_tokens_are_removed(token):
    whole = json.dumps({"text": f"A man{token} walks.", "tags": [f"{token}man"]})
    for raw in (whole, f"{token}{whole}{token}"):
        description, warnings = read(raw)
        assert (" ".join(description.text.split()), description.tags) == ("A man walks.", ("man",))
        assert warnings == ()


def test_markup_of_another_chat_turn_is_flagged():
    description, warnings = read("<|im_start|>assistant\nA man walks.")
    assert description.text == "A man walks."
    assert ReplyWarning(Problem.LEAKS_PROMPT) in warnings


NOTHING = [
    "null",
    "NaN",
    "None",
    "N/A",
    "undefined",
    "nil",
    "'null'",
    "(none)",
    "null null null",
    "...",
    "!!!",
    "12",
    "7.5",
]
NOTHING += [
    "[]",
    "{}",
    "[null]",
    '""',
    '"null"',
    "string",
    "text",
    "true",
    "<html>502</html>",
    "---",
    "\ufffd\ufffd",
    "\U0001f600",
    "Assistant:",
    "model",
    "### Answer:",
    "```json",
]


@pytest.mark.parametrize("nothing", NOTHING)
def test_words_for_nothing_are_empty(nothing):
    assert read(nothing) == EMPTY
    assert read(nothing, prompt_style=PromptStyle.PLAIN) == EMPTY
    assert read(json.dumps({"text": nothing})) == EMPTY


@pytest.mark.parametrize("style", PromptStyle)
def test_prompt_alone_is_empty(style):
    prompt = prompt_for(question(context=CONTEXT, prompt_style=style))
    for raw in (
        prompt,
        " ".join(prompt.split()[-40:]),
        json.dumps({"text": prompt}),
        json.dumps({"text": prompt[:200]}),
    ):
        assert read(raw, context=CONTEXT, prompt_style=style) == EMPTY


@pytest.mark.parametrize(
    "said",
    [
        reply_schema(),
        reply_schema()["properties"],
        FIELDS,
        dict.fromkeys(FIELDS, "string"),
        {name: name for name in FIELDS},
        {"text": {"type": "string"}, "tags": {"type": ["array", "null"], "items": {"type": "string"}}},
    ],
)
def test_schema_alone_is_empty(said):
    assert read(json.dumps(said)) == EMPTY
    assert read(f"```json\n{json.dumps(said, indent=2)}\n```") == EMPTY


def test_token_cut_off_in_a_long_reply_is_empty():
    assert read("<unused1234>" * (MAX_REPLY_CHARACTERS // 12 + 1)) == EMPTY


SHORT = [
    "A dog.",
    "Dog",
    "\u732b",
    "\u72ac\u304c\u3044\u307e\u3059\u3002",
    "\uac15\uc544\uc9c0",
    "Nothing.",
    "I cannot see any image.",
]
SHORT += ["A single frame of a video game.", "The model walks.", "An assistant helps a user.", "A white wall <3"]


@pytest.mark.parametrize("text", SHORT)
def test_short_answers_are_kept(text):
    assert read(text)[0].text == text
    assert read(text, prompt_style=PromptStyle.PLAIN) == (read(text)[0], ())
    description, warnings = read(json.dumps({"text": text}))
    assert (description.text, warnings) == (text, ())


def test_words_beside_an_echo_are_kept_and_flagged():
    echo = FIELDS["text"]
    description, warnings = read(json.dumps({"text": echo, "people": "two men", "setting": "kitchen"}))
    assert description.text == "two men. kitchen"
    assert warnings == (ReplyWarning(Problem.LEAKS_PROMPT),)


def test_description_in_the_words_of_the_context_is_no_echo():
    description, _ = read(json.dumps({"text": f"{CONTEXT.capitalize()}."}), context=CONTEXT)
    assert description.text == f"{CONTEXT.capitalize()}."


GOOD = json.dumps({"text": "A man walks.", "tags": ["man"]})


@pytest.mark.parametrize(
    "thinking",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"I see {{someone}}. The answer is:\n{GOOD}\nDone.",
        '{"text": null} no: ' + GOOD,
        GOOD.replace("text", "description"),
    ],
)
def test_json_in_thinking_is_the_answer(thinking):
    description, warnings = read(f"<think>{thinking}</think>")
    assert (description.text, description.tags, warnings) == ("A man walks.", ("man",), ())


def test_thinking_beside_an_answer_is_not_the_answer():
    other = json.dumps({"text": "A dog.", "tags": []})
    assert read(f"<think>{GOOD}</think>{other}")[0].text == "A dog."
    assert read("<think>A man {maybe} walks.</think>") == EMPTY
