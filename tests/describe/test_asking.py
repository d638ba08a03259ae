import asyncio
import json

import pytest

from enrich.describe.asking import WORST_FIRST, CrashIsolation, ask, ask_hosts_in_turn
from enrich.describe.baseline import BaselineDescriber
from enrich.describe.describer import Pass, Problem, PromptStyle
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.reply import read_reply
from enrich.errors import CallFailedError, CallTimeoutError, HostDownError, RunnerCrashedError
from tests.describe.images import call, question
from tests.standin import StandIn, Trick

CONTEXT = "Grandma Erna's 80th birthday"


def kinds(warnings):
    return [warning.problem for warning in warnings]


class Scripted:
    """A describer with scripted replies or errors. It cannot show timing or protocol."""

    name, model, target_pass, hosts = "scripted", "m", Pass.DEEP, ("box",)

    def __init__(self, *replies):
        self.replies = list(replies)
        self.prompt_styles = []

    async def describe(self, asked, *, host):
        assert host == "box"
        self.prompt_styles.append(asked.prompt_style)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return call(reply)

    def read(self, asked, made):
        return read_reply(asked, made)


def reply(text, **fields):
    return json.dumps({"text": text} | fields)


async def test_good_reply_takes_one_call(describer, standin):
    answer = await ask(describer, question(12), host=standin.address)
    assert "Frame number 12" in answer.description.text
    assert len(answer.calls) == len(standin.chats) == 1
    assert answer.warnings == answer.calls[0].warnings == ()
    assert answer.unverified_names == ()


@pytest.mark.parametrize(
    ("trick", "problem"),
    [
        (Trick.EMPTY, Problem.EMPTY),
        (Trick.THINKS, Problem.EMPTY),
        (Trick.SPACES, Problem.EMPTY),
        (Trick.CUT_OFF, Problem.CUT_OFF),
        (Trick.NOT_JSON, Problem.NOT_JSON),
        (Trick.REPEATS, Problem.REPEATS),
        (Trick.LEAKS, Problem.LEAKS_PROMPT),
    ],
)
async def test_flagged_reply_is_retried_in_plain_style_and_replaced(describer, standin, trick, problem):
    standin.play(trick)
    answer = await ask(describer, question(12), host=standin.address)
    assert "Frame number 12" in answer.description.text
    assert len(answer.calls) == 2
    assert problem in kinds(answer.calls[0].warnings)
    assert answer.calls[1].warnings == ()
    assert answer.warnings == ()
    first, second = standin.chats
    assert first.body["format"]
    assert not second.body.get("format")


@pytest.mark.parametrize("trick", [Trick.CUT_OFF, Trick.REPEATS, Trick.LEAKS])
async def test_two_flagged_replies_keep_a_text_with_its_warning(describer, standin, trick):
    standin.play(trick, stubborn=True)
    answer = await ask(describer, question(12), host=standin.address)
    assert answer.description.text
    assert len(answer.calls) == len(standin.chats) == 2
    assert answer.warnings
    assert all(made.warnings for made in answer.calls)


async def test_two_empty_replies_give_no_description(describer, standin):
    standin.play(Trick.EMPTY, stubborn=True)
    answer = await ask(describer, question(12), host=standin.address)
    assert answer.description is None
    assert kinds(answer.warnings) == [Problem.EMPTY]
    assert len(answer.calls) == 2


async def test_context_name_is_retried_without_context(describer, standin):
    standin.play(Trick.CONTEXT_NAME, word="Erna")
    answer = await ask(describer, question(12, context=CONTEXT), host=standin.address)
    assert "Erna" not in answer.description.text
    assert answer.unverified_names == ()
    assert kinds(answer.calls[0].warnings) == [Problem.CONTEXT_NAME]
    first, second = standin.chats
    assert "Erna" in first.prompt
    assert "Erna" not in second.prompt
    assert second.body["format"]


async def test_name_in_the_kept_description_is_unverified():
    describer = Scripted(reply("Erna laughs."), reply(""))
    answer = await ask(describer, question(context=CONTEXT), host="box")
    assert describer.prompt_styles == [PromptStyle.STRUCTURED, PromptStyle.WITHOUT_CONTEXT]
    assert answer.description.text == "Erna laughs."
    assert answer.unverified_names == ("Erna",)


async def test_name_repeated_without_context_stays_unverified():
    describer = Scripted(reply("Erna laughs."), reply("A cake for Erna."))
    answer = await ask(describer, question(context=CONTEXT), host="box")
    assert answer.description.text == "Erna laughs."
    assert answer.unverified_names == ("Erna",)


async def test_context_name_with_a_worse_problem_is_retried_in_plain_style():
    describer = Scripted("Erna laughs at the cake.", "Erna laughs.\nTags: cake")
    answer = await ask(describer, question(context=CONTEXT), host="box")
    assert describer.prompt_styles == [PromptStyle.STRUCTURED, PromptStyle.PLAIN]
    assert answer.description.tags == ("cake",)
    assert answer.unverified_names == ("Erna",)


async def test_duplicate_text_is_retried(describer, standin):
    standin.play(Trick.SAME_TEXT)
    answer = await ask(
        describer,
        question(12),
        host=standin.address,
        same_text=lambda description: "looks at the camera" in description.text,
    )
    assert kinds(answer.calls[0].warnings) == [Problem.SAME_TEXT]
    assert "Frame number 12" in answer.description.text
    assert answer.warnings == ()


async def test_duplicate_text_twice_is_kept_with_its_warning():
    describer = Scripted(reply("A man.", tags=["man"]), "A man.")
    answer = await ask(describer, question(), host="box", same_text=lambda _: True)
    assert kinds(answer.warnings) == [Problem.SAME_TEXT]
    assert answer.description.tags == ("man",)


async def test_problem_not_worth_a_retry_is_kept_as_a_warning():
    describer = Scripted("Just words.")
    answer = await ask(describer, question(), host="box", worth_retrying=lambda problem: problem is Problem.EMPTY)
    assert answer.description.text == "Just words."
    assert kinds(answer.warnings) == [Problem.NOT_JSON]
    assert len(answer.calls) == 1


async def test_retry_style_depends_on_the_problems_worth_retrying():
    describer = Scripted("Erna laughs.", reply("A woman laughs."))
    await ask(
        describer, question(context=CONTEXT), host="box", worth_retrying=lambda problem: problem is Problem.CONTEXT_NAME
    )
    assert describer.prompt_styles == [PromptStyle.STRUCTURED, PromptStyle.WITHOUT_CONTEXT]


async def test_worse_second_reply_does_not_replace_the_first():
    describer = Scripted("Just words.", "the man and the woman and " * 20)
    answer = await ask(describer, question(), host="box")
    assert answer.description.text == "Just words."
    assert kinds(answer.warnings) == [Problem.NOT_JSON]
    assert len(answer.calls) == 2


@pytest.mark.parametrize("error", [HostDownError("gone"), CallTimeoutError("late")])
async def test_failed_retry_keeps_the_first_reply(error):
    answer = await ask(Scripted("Just words.", error), question(), host="box")
    assert answer.description.text == "Just words."
    assert len(answer.calls) == 1


async def test_failed_first_call_raises(describer, standin):
    standin.stop()
    with pytest.raises(HostDownError):
        await ask(describer, question(), host=standin.address)


@pytest.fixture
async def two_hosts(settings, standin):
    """A describer of two hosts, and the second one."""
    with StandIn() as second:
        describer = OllamaDescriber(settings(ollama_hosts=f"{standin.address},{second.address}"))
        yield describer, second
        await describer.close()


async def test_empty_reply_is_recorded_and_the_next_host_is_asked(two_hosts, standin):
    describer, second = two_hosts
    standin.play(Trick.EMPTY, stubborn=True)
    empty = []
    answer, description = await ask_hosts_in_turn(describer, question(12), on_empty=empty.append)
    assert "Frame number 12" in description.text
    assert [made.host for made in answer.calls] == [second.address]
    assert [made.host for one in empty for made in one.calls] == [standin.address] * 2
    assert [one.description for one in empty] == [None]


async def test_error_of_the_last_host_is_raised(two_hosts, standin):
    describer, second = two_hosts
    standin.stop()
    second.play(Trick.ERROR)
    with pytest.raises(CallFailedError, match=f"^{second.address} returned an error"):
        await ask_hosts_in_turn(describer, question(12))
    # Once without the schema, and once more because it may have been another image in flight.
    assert [bool(request.body.get("format")) for request in second.chats] == [True, False, True]


@pytest.mark.parametrize("trick", [Trick.CRASH, Trick.DIE])
async def test_crash_fails_only_the_image_that_caused_it(describer, standin, trick):
    standin.behave(delay=0.05, parallel=6)
    standin.play(trick, frames={3})
    isolation = CrashIsolation()
    asked = (ask(describer, question(number), host=standin.address, isolation=isolation) for number in range(6))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, one in enumerate(answers) if isinstance(one, Exception)] == [3]
    assert isinstance(answers[3], RunnerCrashedError)
    assert "Frame number 5" in answers[5].description.text


@pytest.mark.parametrize("trick", [Trick.CRASH, Trick.DIE])
async def test_image_that_crashes_its_host_is_sent_to_no_other(two_hosts, standin, trick):
    describer, second = two_hosts
    for host in (standin, second):
        host.play(trick, frames={12})
    with pytest.raises(RunnerCrashedError, match=f"{standin.address}"):
        await ask_hosts_in_turn(describer, question(12))
    assert second.chats == []


async def test_host_that_crashes_over_every_image_is_replaced(two_hosts, standin):
    describer, second = two_hosts
    standin.play(Trick.CRASH)
    answer, _ = await ask_hosts_in_turn(describer, question(12))
    assert [made.host for made in answer.calls] == [second.address]


def test_every_problem_has_a_weight():
    assert sorted(WORST_FIRST) == sorted(Problem)


async def test_baseline_is_asked_like_any_describer():
    answer = await ask(BaselineDescriber(), question(12, context=CONTEXT), host="local")
    assert answer.description.text.startswith("Baseline, no model:")
    assert answer.warnings == ()
    assert len(answer.calls) == 1
