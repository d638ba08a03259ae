"""ClaudeQuick through the real SDK: what is sent, and how good and bad replies are handled."""

import json

import pytest

from enrich.describe.describer import Problem
from enrich.describe.prompt import EVENTS
from enrich.describe.quick.protocol import LabelledImage
from tests.describe.labelled_images import labelled
from tests.standin_claude import Bill


def by_label(entries):
    return {entry.label: entry for entry in entries}


def rows(entries):
    return [call for entry in entries for call in entry.calls]


def paid(entries):
    """The recorded tokens and cost, in the form of the stand-in's bill."""
    calls = rows(entries)
    return (
        sum(call.prompt_tokens for call in calls),
        sum(call.output_tokens for call in calls),
        pytest.approx(sum(call.cost_usd for call in calls), rel=1e-12),
    )


def billed(claude):
    return (
        sum(bill.input_tokens for bill in claude.bills),
        sum(bill.output_tokens for bill in claude.bills),
        claude.usd,
    )


def alone(claude):
    """The labels of the requests after the first."""
    return [request.labels for request in claude.asked[1:]]


async def test_every_image_is_described_truthfully(make_quick):
    entries = await make_quick().ask(labelled(3, 14, 15, 9))
    assert [entry.label for entry in entries] == ["F3", "F14", "F15", "F9"]
    for entry, number in zip(entries, (3, 14, 15, 9), strict=True):
        assert f"number {number}:" in entry.answer.description
        assert f"number {number}" in entry.answer.tags
        assert entry.answer.event_type == (*EVENTS, "other")[number % 26]
        assert entry.answer.excitement == number % 11
        assert (entry.problem, entry.kept) == (None, 0)


async def test_recorded_cost_equals_the_bill(make_quick, claude):
    images = [*labelled(1, 2, 3), *labelled(4, 5, size=(1280, 720)), *labelled(6, size=(180, 320))]
    entries = await make_quick().ask(images)
    assert len(claude.bills) == 1
    assert paid(entries) == billed(claude)
    call = by_label(entries)["F4"].calls[0]
    assert call.prompt_tokens > 2 * by_label(entries)["F1"].calls[0].prompt_tokens  # larger images cost more
    assert (call.describer, call.model, call.prompt_version) == ("claude", "claude-haiku-5-5", "quick-1")
    assert json.loads(call.raw_reply)["label"] == "F4"


async def test_request_has_labels_times_rules_events_and_context(make_quick, claude):
    quick = make_quick(events="bouquet toss, Cake_Cutting")
    await quick.ask(labelled(50, 75), context="The wedding of Anna", language="German")
    request = claude.asked[0]
    assert "Picture F50, at 2.0 s:" in request.text
    assert "Picture F75, at 3.0 s:" in request.text
    assert 'The owner says of the whole video: "The wedding of Anna"' in request.text
    assert "in German" in request.text
    assert "bouquet toss, cake cutting, preparation" in request.text
    schema = request.body["output_config"]["format"]["schema"]
    assert schema["$defs"]["Looked"]["properties"]["event_type"]["enum"][:2] == ["bouquet toss", "cake cutting"]
    assert request.body["thinking"] == {"type": "disabled"}
    assert "temperature" not in request.body


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5-5"])
async def test_every_model_gets_parameters_it_accepts(make_quick, claude, model):
    entries = await make_quick(model=model).ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert paid(entries) == billed(claude)
    assert rows(entries)[0].model == model


async def test_shuffled_answers_find_their_images(make_quick, claude):
    claude.play("shuffled")
    entries = await make_quick().ask(labelled(1, 2, 3, 4, 5))
    assert all(f"number {entry.label[1:]}:" in entry.answer.description for entry in entries)
    assert len(claude.asked) == 1


@pytest.mark.parametrize("trick", ["missing", "doubled", "unknown"])
async def test_missing_and_duplicate_answers_are_retried_alone(make_quick, claude, trick):
    claude.play(trick, times=1, labels=["F2", "F4"])
    entries = await make_quick().ask(labelled(1, 2, 3, 4))
    assert all(f"number {entry.label[1:]}:" in entry.answer.description for entry in entries)
    assert alone(claude) == [("F2",), ("F4",)]
    assert [len(entry.calls) for entry in entries] == [1, 2, 1, 2]
    assert [entry.kept for entry in entries] == [0, 1, 0, 1]
    assert paid(entries) == billed(claude)


async def test_answer_missing_twice_has_a_reason_and_is_paid(make_quick, claude):
    claude.play("missing", labels=["F2"])
    entries = await make_quick().ask(labelled(1, 2, 3))
    lost = by_label(entries)["F2"]
    assert (lost.answer, lost.kept) == (None, None)
    assert lost.problem == "Claude's reply has no answer for this frame, or more than one"
    assert len(lost.calls) == 2
    assert paid(entries) == billed(claude)


async def test_truncated_reply_keeps_answers_and_retries_the_rest(make_quick, claude):
    claude.play("cut off", times=1)
    entries = await make_quick().ask(labelled(*range(1, 9)))
    assert all(entry.answer for entry in entries)
    kept = [entry.label for entry in entries if entry.kept == 0]
    assert 0 < len(kept) < 8
    assert alone(claude) == [(entry.label,) for entry in entries if entry.label not in kept]
    assert {warning.problem for call in rows(entries) for warning in call.warnings} == {Problem.CUT_OFF}
    assert paid(entries) == billed(claude)


async def test_declined_image_does_not_affect_the_others(make_quick, claude):
    claude.play("refusal", labels=["F2"])
    entries = await make_quick().ask(labelled(1, 2, 3))
    assert by_label(entries)["F2"].problem == "Claude declined to describe this frame"
    assert by_label(entries)["F1"].answer
    assert by_label(entries)["F3"].answer
    assert paid(entries) == billed(claude)


@pytest.mark.parametrize("trick", ["empty", "not json"])
async def test_reply_without_answers_is_retried(make_quick, claude, trick):
    claude.play(trick, times=1)
    entries = await make_quick().ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert paid(entries) == billed(claude)


async def test_invalid_jpeg_is_not_sent_and_the_others_are(make_quick, claude):
    broken = LabelledImage("F9", b"no jpeg", 1.0)
    quick = make_quick()
    assert quick.estimate([*labelled(1), broken, *labelled(2)]) == quick.estimate(labelled(1, 2))
    entries = await quick.ask([*labelled(1), broken, *labelled(2)])
    assert [entry.answer is not None for entry in entries] == [True, False, True]
    assert entries[1].problem == "the stored image cannot be decoded as JPEG: run `everyframe verify`"
    assert entries[1].calls == ()
    assert claude.asked[0].labels == ("F1", "F2")


async def test_unreadable_image_does_not_affect_the_others(make_quick, claude):
    whole = labelled(2)[0]
    cut_short = LabelledImage("F2", whole.jpeg[: len(whole.jpeg) // 3], whole.timestamp)
    entries = await make_quick().ask([*labelled(1), cut_short, *labelled(3)])
    assert [entry.answer is not None for entry in entries] == [True, False, True]
    assert "Could not process image" in entries[1].problem
    assert paid(entries) == billed(claude)


async def test_context_name_has_a_warning(make_quick, monkeypatch):
    monkeypatch.setattr("tests.standin.sight.Sight.text", property(lambda _: "Erna laughs beside a cake."))
    entries = await make_quick().ask(labelled(1), context="Grandma Erna's birthday")
    (call,) = entries[0].calls
    assert [(warning.problem, warning.detail) for warning in call.warnings] == [(Problem.CONTEXT_NAME, "Erna")]
    assert entries[0].answer.description == "Erna laughs beside a cake."


async def test_lost_connection_during_a_retry_keeps_the_answers(make_quick, claude):
    claude.play("missing", times=1, labels=["F2"])
    claude.play("die", labels=["F2"])
    entries = await make_quick().ask(labelled(1, 2, 3))
    assert by_label(entries)["F2"].problem.startswith("Claude cannot be reached")
    assert by_label(entries)["F1"].answer
    assert paid(entries) == billed(claude)


def test_stand_in_has_our_prices(make_quick):
    for model in ("claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5-5"):
        price = make_quick(model=model).price
        for tokens in (1_000, 100_000, 100_001):
            assert Bill(model, tokens, 500, False, ()).usd == pytest.approx(price.usd(tokens, 500))
            assert Bill(model, tokens, 500, True, ()).usd == pytest.approx(price.usd(tokens, 500, factor=0.5))


async def test_recipient_names_a_gateway(make_quick, claude, monkeypatch):
    assert make_quick().recipient == f"Anthropic (Claude) via {claude.address}"
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    assert make_quick().recipient == "Anthropic (Claude)"
    assert make_quick().client.address == "https://api.anthropic.com"
