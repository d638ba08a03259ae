"""The local quick pass asks a stand-in for Ollama."""

import asyncio
import json

import pytest

from enrich.describe.quick.local import EMPTY_REPLY, OllamaQuick
from enrich.describe.quick.protocol import LabelledImage, instructions
from tests.describe.conftest import FreePayments
from tests.describe.images import numbered_jpeg
from tests.standin import Trick


@pytest.fixture
async def quick(settings):
    made = OllamaQuick(settings(quick_model="llava:13b", quick_describer="ollama"))
    yield made
    await made.close()


async def answer(quick, standin, reply):
    standin.calm()
    standin.play(Trick.SAYS, content=reply)
    image = LabelledImage("F7", numbered_jpeg(7), 0.28)
    (result,) = await quick.ask([image], FreePayments(), context="", language="English")
    return result


async def test_instructions_in_a_quick_reply_are_no_description(quick, standin):
    wording = instructions(context="", language="English", events=quick.events)
    (meaning,) = [line for line in wording.splitlines() if line.startswith("- description: ")]
    meaning = meaning.removeprefix("- description: ")
    for reply in (wording, meaning, json.dumps({"description": meaning, "tags": ["dog"]})):
        result = await answer(quick, standin, reply)
        assert (result.answer, result.problem) == (None, EMPTY_REPLY)


@pytest.mark.parametrize("reply", ["A dog runs.", json.dumps({"text": "A dog runs."}), '{"description": "A dog runs.'])
async def test_quick_reply_of_another_form_is_understood(quick, standin, reply):
    result = await answer(quick, standin, reply)
    assert result.answer.description == "A dog runs."


@pytest.mark.parametrize("trick", [Trick.CRASH, Trick.DIE])
async def test_crash_leaves_the_other_quick_answers(quick, standin, trick):
    standin.behave(delay=0.05, parallel=6)
    standin.play(trick, frames={3})
    images = [LabelledImage(f"F{number}", numbered_jpeg(number), 0.0) for number in range(6)]
    asked = (quick.ask([image], FreePayments(), context="", language="English") for image in images)
    results = [result for results in await asyncio.gather(*asked) for result in results]
    assert [result.label for result in results if result.answer is None] == ["F3"]
