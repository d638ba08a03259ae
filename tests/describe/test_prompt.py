import json

import pytest

from enrich.describe.describer import Image, PromptStyle, Question
from enrich.describe.prompt import FIELDS, PROMPT_VERSION, prompt_for, prompt_version, reply_schema
from tests.describe.images import numbered_jpeg, question

CONTEXT = "Grandma Erna's 80th birthday in Graz"


def test_schema_is_flat_and_only_text_is_required():
    properties = reply_schema()["properties"]
    assert list(properties) == list(FIELDS)
    assert properties["text"] == {"type": "string"}
    for name, rule in properties.items():
        assert name == "text" or "null" in rule["type"], name
        assert "properties" not in rule
    json.dumps(reply_schema())


@pytest.mark.parametrize("prompt_style", [PromptStyle.STRUCTURED, PromptStyle.WITHOUT_CONTEXT])
def test_prompt_lists_the_schemas_fields(prompt_style):
    prompt = prompt_for(question(prompt_style=prompt_style))
    assert "JSON" in prompt
    for name in reply_schema()["properties"]:
        assert f"- {name}: " in prompt


def test_text_comes_first_so_that_truncated_replies_have_it():
    assert next(iter(reply_schema()["properties"])) == "text"


def test_context_is_for_orientation_and_names_are_forbidden():
    prompt = prompt_for(question(context=CONTEXT))
    assert CONTEXT in prompt
    assert "orientation" in prompt
    assert "Do not name people" in prompt


def test_empty_context_is_not_mentioned():
    assert "orientation" not in prompt_for(question(context="  \n "))


def test_style_without_context_omits_the_context():
    prompt = prompt_for(question(context=CONTEXT, prompt_style=PromptStyle.WITHOUT_CONTEXT))
    assert "Erna" not in prompt
    assert "JSON" in prompt


def test_plain_style_asks_for_text_and_tags():
    prompt = prompt_for(question(context=CONTEXT, prompt_style=PromptStyle.PLAIN))
    assert "JSON" not in prompt
    assert "Tags:" in prompt
    assert CONTEXT in prompt


@pytest.mark.parametrize("prompt_style", list(PromptStyle))
def test_quick_pass_event_is_given_for_orientation(prompt_style):
    prompt = prompt_for(question(event="first dance", prompt_style=prompt_style))
    assert '"first dance"' in prompt
    assert "for orientation only: describe in detail what this frame shows" in prompt


@pytest.mark.parametrize("event", ["", "other"])
def test_unnamed_event_is_not_mentioned(event):
    assert prompt_for(question(event=event)) == prompt_for(question())


def test_prompt_names_the_language():
    assert "Write in German." in prompt_for(question(language="German"))


def test_several_images_are_introduced_with_their_times():
    images = tuple(Image(numbered_jpeg(n), n + 0.25) for n in range(3))
    prompt = prompt_for(Question(images))
    assert "3 pictures" in prompt
    assert "0.2 s, 1.2 s, 2.2 s" in prompt


def test_long_context_is_shortened():
    prompt = prompt_for(question(context="we were there " * 1000))
    assert len(prompt) < 3000
    assert 'we were there …"' in prompt or 'we were …"' in prompt or 'we …"' in prompt


def test_line_breaks_in_the_context_are_removed():
    assert 'whole video: "one two"' in prompt_for(question(context="one\n\ntwo"))


def test_request_is_in_every_prompt_style_and_in_the_version():
    for prompt_style in PromptStyle:
        prompt = prompt_for(question(context=CONTEXT, request="Which hat\ndoes he wear?", prompt_style=prompt_style))
        assert '"Which hat does he wear?"' in prompt
        assert prompt.index("Which hat") < prompt.index("Say only what can be seen")
    assert prompt_version(question()) == PROMPT_VERSION
    assert prompt_version(question(request="Which hat?")) == f"{PROMPT_VERSION}+request"
    assert len(prompt_for(question(request="really " * 1000))) < 3000


def test_empty_request_leaves_the_prompt_unchanged():
    assert prompt_for(question(request="")) == prompt_for(question())
    assert "besides" not in prompt_for(question(request=" \n"))
