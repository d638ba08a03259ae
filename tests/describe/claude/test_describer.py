"""Claude's quick look through the real SDK: what is sent, and what becomes of good and bad replies."""

import json

import pytest

from enrich.describe.describer import Problem
from enrich.describe.events import EVENTS
from enrich.describe.quick.protocol import LabelledImage
from tests.describe.labelled_images import labelled
from tests.standin_claude import Bill


def by_label(entries):
    return {entry.label: entry for entry in entries}


def rows(entries):
    return [call for entry in entries for call in entry.calls]


def paid(entries):
    """What is booked, as the stand-in would write it."""
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


async def test_every_picture_is_described_as_what_it_shows(looker):
    entries = await looker().ask(labelled(3, 14, 15, 9))
    assert [entry.label for entry in entries] == ["F3", "F14", "F15", "F9"]
    for entry, number in zip(entries, (3, 14, 15, 9), strict=True):
        assert f"number {number}:" in entry.answer.description
        assert f"number {number}" in entry.answer.tags
        assert entry.answer.event_type == (*EVENTS, "other")[number % 26]
        assert entry.answer.excitement == number % 11
        assert (entry.problem, entry.kept) == (None, 0)


async def test_what_is_booked_is_the_bill_to_the_last_token(looker, claude):
    images = [*labelled(1, 2, 3), *labelled(4, 5, size=(1280, 720)), *labelled(6, size=(180, 320))]
    entries = await looker().ask(images)
    assert len(claude.bills) == 1
    assert paid(entries) == billed(claude)
    call = by_label(entries)["F4"].calls[0]
    assert call.prompt_tokens > 2 * by_label(entries)["F1"].calls[0].prompt_tokens  # the larger costs more
    assert (call.describer, call.model, call.prompt_version) == ("claude", "claude-haiku-5-5", "quick-1")
    assert json.loads(call.raw_reply)["label"] == "F4"


async def test_a_request_holds_labels_times_rules_events_and_context(looker, claude):
    looks = looker(events="bouquet toss, Cake_Cutting")
    await looks.ask(labelled(50, 75), context="The wedding of Anna", language="German")
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
async def test_every_model_is_asked_in_the_way_it_accepts(looker, claude, model):
    entries = await looker(model=model).ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert paid(entries) == billed(claude)
    assert rows(entries)[0].model == model


async def test_answers_in_another_order_find_their_pictures(looker, claude):
    claude.play("shuffled")
    entries = await looker().ask(labelled(1, 2, 3, 4, 5))
    assert all(f"number {entry.label[1:]}:" in entry.answer.description for entry in entries)
    assert len(claude.asked) == 1


@pytest.mark.parametrize("trick", ["missing", "doubled", "unknown"])
async def test_what_is_missing_doubled_or_misnamed_is_asked_for_once_more_alone(looker, claude, trick):
    claude.play(trick, times=1, labels=["F2", "F4"])
    entries = await looker().ask(labelled(1, 2, 3, 4))
    assert all(f"number {entry.label[1:]}:" in entry.answer.description for entry in entries)
    assert alone(claude) == [("F2",), ("F4",)]
    assert [len(entry.calls) for entry in entries] == [1, 2, 1, 2]
    assert [entry.kept for entry in entries] == [0, 1, 0, 1]
    assert paid(entries) == billed(claude)


async def test_what_is_missing_twice_has_no_answer_but_a_reason_and_is_paid_for(looker, claude):
    claude.play("missing", labels=["F2"])
    entries = await looker().ask(labelled(1, 2, 3))
    lost = by_label(entries)["F2"]
    assert (lost.answer, lost.kept) == (None, None)
    assert lost.problem == "Claude gave no answer for this picture, or more than one"
    assert len(lost.calls) == 2
    assert paid(entries) == billed(claude)


async def test_of_a_reply_cut_short_the_whole_answers_count_and_the_rest_is_asked_for(looker, claude):
    claude.play("cut off", times=1)
    entries = await looker().ask(labelled(*range(1, 9)))
    assert all(entry.answer for entry in entries)
    kept = [entry.label for entry in entries if entry.kept == 0]
    assert 0 < len(kept) < 8
    assert alone(claude) == [(entry.label,) for entry in entries if entry.label not in kept]
    assert {warning.problem for call in rows(entries) for warning in call.warnings} == {Problem.CUT_OFF}
    assert paid(entries) == billed(claude)


async def test_one_picture_that_is_refused_does_not_cost_the_others_their_answers(looker, claude):
    claude.play("refusal", labels=["F2"])
    entries = await looker().ask(labelled(1, 2, 3))
    assert by_label(entries)["F2"].problem == "Claude declined to describe this picture"
    assert by_label(entries)["F1"].answer
    assert by_label(entries)["F3"].answer
    assert paid(entries) == billed(claude)


@pytest.mark.parametrize("trick", ["empty", "not json"])
async def test_a_reply_without_answers_is_no_end(looker, claude, trick):
    claude.play(trick, times=1)
    entries = await looker().ask(labelled(1, 2))
    assert all(entry.answer for entry in entries)
    assert paid(entries) == billed(claude)


async def test_a_picture_that_is_no_picture_is_not_sent_and_the_others_are(looker, claude):
    broken = LabelledImage("F9", b"no jpeg", 1.0)
    looks = looker()
    assert looks.estimate([*labelled(1), broken, *labelled(2)]) == looks.estimate(labelled(1, 2))
    entries = await looks.ask([*labelled(1), broken, *labelled(2)])
    assert [entry.answer is not None for entry in entries] == [True, False, True]
    assert entries[1].problem == "the stored picture is no JPEG that can be decoded"
    assert entries[1].calls == ()
    assert claude.asked[0].labels == ("F1", "F2")


async def test_a_picture_the_api_cannot_read_does_not_cost_the_others_their_answers(looker, claude):
    whole = labelled(2)[0]
    cut_short = LabelledImage("F2", whole.jpeg[: len(whole.jpeg) // 3], whole.timestamp)
    entries = await looker().ask([*labelled(1), cut_short, *labelled(3)])
    assert [entry.answer is not None for entry in entries] == [True, False, True]
    assert "Could not process image" in entries[1].problem
    assert paid(entries) == billed(claude)


async def test_a_name_from_the_context_is_doubted(looker, monkeypatch):
    monkeypatch.setattr("tests.standin.sight.Sight.text", property(lambda _: "Erna laughs beside a cake."))
    entries = await looker().ask(labelled(1), context="Grandma Erna's birthday")
    (call,) = entries[0].calls
    assert [(warning.problem, warning.detail) for warning in call.warnings] == [(Problem.CONTEXT_NAME, "Erna")]
    assert entries[0].answer.description == "Erna laughs beside a cake."


async def test_a_lost_connection_while_asking_again_keeps_the_answers_there_are(looker, claude):
    claude.play("missing", times=1, labels=["F2"])
    claude.play("die", labels=["F2"])
    entries = await looker().ask(labelled(1, 2, 3))
    assert by_label(entries)["F2"].problem.startswith("Claude cannot be reached")
    assert by_label(entries)["F1"].answer
    assert paid(entries) == billed(claude)


def test_the_stand_ins_prices_are_ours(looker):
    for model in ("claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5-5"):
        price = looker(model=model).price
        for tokens in (1_000, 100_000, 100_001):
            assert Bill(model, tokens, 500, False, ()).usd == pytest.approx(price.usd(tokens, 500))
            assert Bill(model, tokens, 500, True, ()).usd == pytest.approx(price.usd(tokens, 500, factor=0.5))


async def test_whoever_gets_the_pictures_is_named(looker, claude, monkeypatch):
    assert looker().recipient == f"Anthropic (Claude) by way of {claude.address}"
    monkeypatch.delenv("ANTHROPIC_BASE_URL")
    assert looker().recipient == "Anthropic (Claude)"
    assert looker().client.address == "https://api.anthropic.com"
