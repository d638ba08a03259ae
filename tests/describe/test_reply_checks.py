import time

import pytest

from enrich.describe.prompt import prompt_for
from enrich.describe.reply_checks import is_repetitive, leaks_prompt
from tests.describe.images import question

PROSE = (
    "An elderly woman in a blue dress sits at a long table with a white cloth and laughs. To her left a man with "
    "grey hair raises a glass, and two children reach for the cake in front of them. Behind them there are balloons "
    "and a window through which a garden can be seen. The light is warm, and the mood is happy and relaxed."
)


@pytest.mark.parametrize(
    "text",
    [
        "the man and the woman and " * 20,
        "A man stands. " * 4,
        "cake cake cake cake cake cake cake",
        "a" * 60,
        "他在说话。" * 8,
        "The woman smiles at the camera and the man looks on. " * 3,
        '{"tags": [' + '"chair", ' * 12,
        "A man stands here. A dog runs. A man stands here. A man stands here. A dog runs. A man stands here.",
        " ".join(["red", "green", "blue", "green", "red", "blue", "blue"] * 8),
    ],
)
def test_repetitive_text_is_detected(text):
    assert is_repetitive(text)


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "A dog. A cat. A bird.",
        "very, very, very dark",
        "Ha ha ha ha!",
        "white",
        "",
        "The sign reads 10000000000000000000000000000000.",
        "A woman in a red coat, a man in a red hat, a child in a red scarf.",
        '{"text": "A street.", "tags": ["street", "street lamp", "street sign"], "people": null, "mood": null}',
        "一个男人站在房间里，看着窗外的花园，孩子们在那里玩耍。",
    ],
)
def test_ordinary_descriptions_are_not_repetitive(text):
    assert not is_repetitive(text)


def test_repetition_check_is_fast_on_very_long_text():
    text = "".join(chr(97 + (n * n * 7 + n) % 26) for n in range(200_000))
    start = time.monotonic()
    is_repetitive(text)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "text",
    [
        "Say only what can be seen. Do not name people, and do not guess who somebody is",
        "one to four plain sentences that say what can be seen",
        "USER: what is this? ASSISTANT: A man.",
        "<|im_start|>assistant A man.",
    ],
)
def test_prompt_text_in_a_reply_is_detected(text):
    assert leaks_prompt(text, (), prompt_for(question()))


def test_whole_context_in_a_reply_is_a_leak():
    context = "the party for the opening of the new fire station with everybody from the village"
    assert leaks_prompt(f"This is {context}.", (), prompt_for(question(context=context)))


def test_prompt_text_in_tags_is_detected():
    assert leaks_prompt("A man.", ("up to ten short search terms",), prompt_for(question()))


@pytest.mark.parametrize("text", [PROSE, "A man can be seen in this picture.", "The mood of the moment is happy."])
def test_ordinary_descriptions_do_not_leak_the_prompt(text):
    assert not leaks_prompt(text, ("man", "kitchen", "search light"), prompt_for(question(context="a party")))
