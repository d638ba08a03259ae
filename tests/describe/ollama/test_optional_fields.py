"""A host that refuses `format` or `think` is asked without it; an ordinary failure is not taken for a refusal."""

import pytest

from enrich.describe.describer import PromptStyle
from enrich.describe.ollama.client import ResponseStatusError
from tests.describe.images import question
from tests.standin import Trick

OPAQUE = "llama runner process has terminated: exit status 2"
REASONS = ["failed to load model vocabulary required for format", 'json: unknown field "{field}"', OPAQUE]
PLAIN = question(prompt_style=PromptStyle.PLAIN)


def sent(standin):
    """Which optional fields each call to the model had."""
    calls = [request for request in standin.history if request.path == "/api/chat"]
    return [tuple(name for name in ("format", "think") if request.body.get(name) is not None) for request in calls]


@pytest.mark.parametrize("reason", REASONS)
async def test_host_that_refuses_format_is_asked_without_it(describer, standin, caplog, reason):
    standin.behave(refused_fields=("format",), refusal=reason)
    await describer.prepare(standin.address)
    before = len(standin.history)
    for _ in range(3):
        assert "Frame number 7" in (await describer.describe(question(), host=standin.address)).raw_reply
    assert sent(standin)[-3:] == [("think",)] * 3
    assert len(standin.history) == before + 3
    assert [record.message for record in caplog.records if "refuses" in record.message] == [
        f"`llava:13b` at {standin.address} refuses `format`: asking without it from now on"
    ]


@pytest.mark.parametrize("reason", ['"llava:13b" does not support thinking', 'json: unknown field "think"', OPAQUE])
async def test_host_that_refuses_think_is_asked_without_it(describer, standin, reason):
    standin.behave(refused_fields=("think",), refusal=reason)
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    assert sent(standin)[-1] == ("format",)


@pytest.mark.parametrize("fields", [("format", "think"), ("think", "format")])
@pytest.mark.parametrize("reason", ['unknown field "{field}"', OPAQUE])
async def test_host_may_refuse_both_in_either_order(describer, standin, fields, reason):
    standin.behave(refused_fields=fields, refusal=reason)
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    assert sent(standin)[-1] == ()


async def test_refusal_without_preparation_is_found_too(describer, standin):
    standin.behave(refused_fields=("format",), refusal=OPAQUE)
    await describer.describe(PLAIN, host=standin.address)
    assert (await describer.describe(question(), host=standin.address)).raw_reply
    await describer.describe(question(), host=standin.address)
    assert sent(standin)[-1] == ("think",)


async def test_ordinary_failure_is_no_refusal(describer, standin):
    standin.play(Trick.ERROR)
    with pytest.raises(ResponseStatusError):
        await describer.prepare(standin.address)
    assert sent(standin) == [("format", "think"), ()]  # once without both
    with pytest.raises(ResponseStatusError):
        await describer.describe(question(), host=standin.address)
    assert len(sent(standin)) == 3
    standin.calm()
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    assert sent(standin)[-1] == ("format", "think")


async def test_failure_that_passes_at_once_is_no_refusal(describer, standin):
    standin.play(Trick.ERROR, times=1)
    await describer.prepare(standin.address)
    await describer.describe(question(), host=standin.address)
    assert sent(standin)[-1] == ("format", "think")


async def test_frame_that_fails_costs_one_request_once_fields_are_accepted(describer, standin):
    await describer.prepare(standin.address)
    standin.play(Trick.ERROR)
    for _ in range(3):
        before = len(standin.history)
        with pytest.raises(ResponseStatusError):
            await describer.describe(question(), host=standin.address)
        assert len(standin.history) == before + 1
