"""Batches: half the price, results by custom id, and finding a batch again after a crash."""

from datetime import UTC, datetime, timedelta

import pytest

from enrich.describe.claude.batches import LIST_PAGE_SIZE, BatchFound, BatchPart, ClaudeBatches
from enrich.describe.claude.client import NotFoundError
from enrich.describe.quick.protocol import ReservedRequest
from enrich.errors import CallFailedError, HostDownError
from tests.describe.labelled_images import labelled
from tests.standin_claude.handler import BATCHES


@pytest.fixture
async def batches(make_quick):
    return ClaudeBatches(make_quick())


def parts(*ids, first=0):
    return [
        BatchPart(name, tuple(labelled(*range(first + 3 * place, first + 3 * place + 3))))
        for place, name in enumerate(ids)
    ]


def reserved(sent):
    return [ReservedRequest(name, 1.0) for name in {part.custom_id for part in sent}]


async def submit(batches, sent, **about):
    return await batches.submit(sent, reserved(sent), **about)


async def collected(batches, batch, sent, **said):
    weights = {part.custom_id: part.weights for part in sent}
    return {name: entries async for name, entries in batches.results(batch, weights, **said)}


async def test_batch_is_submitted_polled_and_read_at_half_price(batches, claude):
    sent = parts("v1-a", "v1-b")
    batch = await submit(batches, sent, context="The wedding", language="German")
    state = await batches.poll(batch)
    assert (state.is_ended, state.processing, state.succeeded) == (False, 2, 0)
    assert timedelta(hours=23) < state.expires_at - datetime.now(UTC) < timedelta(hours=25)
    claude.finish()
    state = await batches.poll(batch)
    assert (state.is_ended, state.processing, state.succeeded) == (True, 0, 2)
    results = await collected(batches, batch, sent)
    assert list(results) == ["v1-b", "v1-a"]  # not in the order of the requests
    for part in sent:
        for image, entry in zip(part.images, results[part.custom_id], strict=True):
            assert entry.label == image.label
            assert f"number {image.label[1:]}:" in entry.answer.description
    calls = [call for entries in results.values() for entry in entries for call in entry.calls]
    assert sum(call.cost_usd for call in calls) == pytest.approx(claude.usd, rel=1e-12)
    assert all(bill.batch for bill in claude.bills)
    assert sum(call.prompt_tokens for call in calls) == sum(bill.input_tokens for bill in claude.bills)


async def test_expired_failed_and_missing_results_have_a_reason(batches, claude):
    sent = parts("a", "b", "c", "d")
    batch = await submit(batches, sent)
    claude.play("missing", labels=["F10"])
    claude.finish(expire=["a"], error=["b"])
    state = await batches.poll(batch)
    assert (state.succeeded, state.errored, state.expired) == (2, 1, 1)
    results = await collected(batches, batch, sent)
    assert {entry.problem for entry in results["a"]} == {
        "Claude did not process this frame within a day: run the quick pass again"
    }
    assert all("try again" in entry.problem for entry in results["b"])
    assert all(entry.calls == () for name in ("a", "b") for entry in results[name])
    assert all(entry.answer for entry in results["c"])
    assert [entry.answer is not None for entry in results["d"]] == [True, False, True]


async def test_cancelled_batch_has_a_reason(batches, claude):
    sent = parts("a")
    batch = await submit(batches, sent)
    claude.cancel(claude.batches[batch])
    assert (await batches.poll(batch)).is_ended
    results = await collected(batches, batch, sent)
    assert {entry.problem for entry in results["a"]} == {
        "the batch was cancelled before Claude processed this frame: run the quick pass again"
    }


async def test_results_of_unknown_parts_are_skipped(batches, claude):
    sent = parts("a", "b")
    batch = await submit(batches, sent)
    claude.finish()
    assert list(await collected(batches, batch, sent[:1])) == ["a"]


async def test_batch_with_a_lost_id_is_found(batches, claude):
    before = datetime.now(UTC)
    assert await batches.find(["a", "b"], since=before) is None
    claude.play("die paid", path=BATCHES, times=1)
    with pytest.raises(HostDownError):  # the connection broke before the id arrived
        await submit(batches, parts("a", "b"))
    (lost,) = claude.batches
    assert await batches.find(["a", "b"], since=before) == BatchFound(lost, is_certain=False)
    claude.finish()
    assert await batches.find(["a", "b"], since=before) == BatchFound(lost, is_certain=True)
    assert await batches.find(["a", "c"], since=before) is not None  # one matching id is enough
    assert await batches.find(["x", "y"], since=before) is None
    assert await batches.find(["a"], since=before) is None  # a different number of requests


async def test_known_and_older_batches_are_not_matched(batches, claude):
    other = await submit(batches, parts("x", "y"))
    before = datetime.now(UTC)
    assert await batches.find(["a", "b"], since=before, others=[other]) is None
    later = before + timedelta(hours=1)
    assert await batches.find(["a", "b"], since=later) is None
    claude.finish()
    assert await batches.find(["a", "b"], since=before) is None  # it has ended and has none of these ids


async def test_lost_batch_is_found_beyond_the_first_page(batches, claude):
    before = datetime.now(UTC)
    lost = await submit(batches, parts("a"))
    claude.finish()
    for number in range(LIST_PAGE_SIZE + 3):
        await submit(
            batches, [BatchPart(f"x{number}", tuple(labelled(1))), BatchPart(f"y{number}", tuple(labelled(2)))]
        )
    assert await batches.find(["a"], since=before) == BatchFound(lost, is_certain=True)
    assert sum(request.path == BATCHES and request.method == "GET" for request in claude.history) == 2


async def test_unknown_batch_is_reported(batches, claude):
    for asked in (batches.poll("msgbatch_gone"), collected(batches, "msgbatch_gone", [])):
        with pytest.raises(NotFoundError, match="Claude has no batch msgbatch_gone for this key"):
            await asked


async def test_batch_under_way_has_no_results(batches, claude):
    sent = parts("a")
    batch = await submit(batches, sent)
    with pytest.raises(CallFailedError, match="could not be read: try again later"):
        await collected(batches, batch, sent)


async def test_custom_ids_must_differ(batches):
    with pytest.raises(ValueError, match="must differ"):
        await submit(batches, [*parts("a"), *parts("a")])


async def test_oversized_batch_is_not_sent(batches, claude, monkeypatch):
    monkeypatch.setattr("enrich.describe.claude.batches.MAX_BATCH_BYTES", 10_000)
    with pytest.raises(Exception, match="too large for one batch"):
        await submit(batches, parts("a"))
    assert claude.history == []
