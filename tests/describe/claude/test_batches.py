"""Batches of quick looks: half the price, results by our own ids, and a batch that is found again after a crash."""

from datetime import UTC, datetime, timedelta

import pytest

from enrich.describe.claude.batches import LIST_PAGE_SIZE, BatchFound, BatchPart, ClaudeBatches
from enrich.describe.claude.client import NotFoundError
from enrich.errors import CallFailedError, HostDownError
from tests.describe.labelled_images import labelled
from tests.standin_claude.handler import BATCHES


@pytest.fixture
async def batches(looker):
    return ClaudeBatches(looker())


def parts(*ids, first=0):
    return [
        BatchPart(name, tuple(labelled(*range(first + 3 * place, first + 3 * place + 3))))
        for place, name in enumerate(ids)
    ]


async def collected(batches, batch, sent, **said):
    weights = {part.custom_id: part.weights for part in sent}
    return {name: entries async for name, entries in batches.results(batch, weights, **said)}


async def test_a_batch_is_sent_polled_and_collected_at_half_the_price(batches, claude):
    sent = parts("v1-a", "v1-b")
    batch = await batches.submit(sent, context="The wedding", language="German")
    state = await batches.poll(batch)
    assert (state.is_ended, state.processing, state.succeeded) == (False, 2, 0)
    assert timedelta(hours=23) < state.expires_at - datetime.now(UTC) < timedelta(hours=25)
    claude.finish()
    state = await batches.poll(batch)
    assert (state.is_ended, state.processing, state.succeeded) == (True, 0, 2)
    results = await collected(batches, batch, sent)
    assert list(results) == ["v1-b", "v1-a"]  # in an order of their own
    for part in sent:
        for image, entry in zip(part.images, results[part.custom_id], strict=True):
            assert entry.label == image.label
            assert f"number {image.label[1:]}:" in entry.answer.description
    calls = [call for entries in results.values() for entry in entries for call in entry.calls]
    assert sum(call.cost_usd for call in calls) == pytest.approx(claude.usd, rel=1e-12)
    assert all(bill.batch for bill in claude.bills)
    assert sum(call.prompt_tokens for call in calls) == sum(bill.input_tokens for bill in claude.bills)


async def test_what_expired_failed_or_went_missing_says_so_and_the_rest_counts(batches, claude):
    sent = parts("a", "b", "c", "d")
    batch = await batches.submit(sent)
    claude.play("missing", labels=["F10"])
    claude.finish(expire=["a"], error=["b"])
    state = await batches.poll(batch)
    assert (state.succeeded, state.errored, state.expired) == (2, 1, 1)
    results = await collected(batches, batch, sent)
    assert {entry.problem for entry in results["a"]} == {"Claude did not get to this picture within a day"}
    assert all("ask again" in entry.problem for entry in results["b"])
    assert all(entry.calls == () for name in ("a", "b") for entry in results[name])
    assert all(entry.answer for entry in results["c"])
    assert [entry.answer is not None for entry in results["d"]] == [True, False, True]


async def test_a_cancelled_batch_says_so(batches, claude):
    sent = parts("a")
    batch = await batches.submit(sent)
    claude.cancel(claude.batches[batch])
    assert (await batches.poll(batch)).is_ended
    results = await collected(batches, batch, sent)
    assert {entry.problem for entry in results["a"]} == {"the batch was cancelled before this picture"}


async def test_results_of_parts_that_are_not_ours_are_passed_over(batches, claude):
    sent = parts("a", "b")
    batch = await batches.submit(sent)
    claude.finish()
    assert list(await collected(batches, batch, sent[:1])) == ["a"]


async def test_a_batch_whose_id_was_lost_is_found_by_what_it_holds(batches, claude):
    before = datetime.now(UTC)
    assert await batches.find(["a", "b"], since=before) is None
    claude.play("die paid", path=BATCHES, times=1)
    with pytest.raises(HostDownError):  # the connection broke, or we were killed, before the id came
        await batches.submit(parts("a", "b"))
    (lost,) = claude.batches
    assert await batches.find(["a", "b"], since=before) == BatchFound(lost, is_certain=False)
    claude.finish()
    assert await batches.find(["a", "b"], since=before) == BatchFound(lost, is_certain=True)
    assert await batches.find(["a", "c"], since=before) is not None  # one id of ours says so for all
    assert await batches.find(["x", "y"], since=before) is None
    assert await batches.find(["a"], since=before) is None  # another number of requests


async def test_others_batches_and_older_ones_are_not_taken_for_ours(batches, claude):
    other = await batches.submit(parts("x", "y"))
    before = datetime.now(UTC)
    assert await batches.find(["a", "b"], since=before, others=[other]) is None
    later = before + timedelta(hours=1)
    assert await batches.find(["a", "b"], since=later) is None
    claude.finish()
    assert await batches.find(["a", "b"], since=before) is None  # it has ended and holds none of ours


async def test_a_lost_batch_is_found_beyond_the_first_page_of_the_list(batches, claude):
    before = datetime.now(UTC)
    lost = await batches.submit(parts("a"))
    claude.finish()
    for number in range(LIST_PAGE_SIZE + 3):
        await batches.submit([BatchPart(f"x{number}", tuple(labelled(1))), BatchPart(f"y{number}", tuple(labelled(2)))])
    assert await batches.find(["a"], since=before) == BatchFound(lost, is_certain=True)
    assert sum(request.path == BATCHES and request.method == "GET" for request in claude.history) == 2


async def test_a_batch_that_is_not_there_is_said_as_that(batches, claude):
    for asked in (batches.poll("msgbatch_gone"), collected(batches, "msgbatch_gone", [])):
        with pytest.raises(NotFoundError, match="Claude has no batch msgbatch_gone for this key"):
            await asked


async def test_a_batch_that_has_not_ended_has_no_results_yet(batches, claude):
    sent = parts("a")
    batch = await batches.submit(sent)
    with pytest.raises(CallFailedError, match="cannot be understood: ask again later"):
        await collected(batches, batch, sent)


async def test_ids_must_differ(batches):
    with pytest.raises(ValueError, match="must differ"):
        await batches.submit([*parts("a"), *parts("a")])


async def test_a_batch_that_is_too_large_is_not_sent(batches, claude, monkeypatch):
    monkeypatch.setattr("enrich.describe.claude.batches.MOST_BATCH_BYTES", 10_000)
    with pytest.raises(Exception, match="too many bytes for one batch"):
        await batches.submit(parts("a"))
    assert claude.history == []
