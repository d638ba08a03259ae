"""Reservations: they claim images, count as spent, outlive their video, and end in exactly one record."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from db import batches, reservations, store
from db.models import QUICK, Analysis, Expense
from db.reservations import UNCERTAIN, Describing, Reservation, label_of
from db.runs import ProcessIdentity
from tests.db.library import NOW, add, extract, new_call

WHAT = Describing("claude", "claude-haiku-5-5", "quick-1")
OTHERS = [Describing("claude", "claude-haiku-4-5", "quick-1"), Describing("claude", "claude-haiku-5-5", "quick-2")]
SENDER = ProcessIdentity("here", 7, 1.5, "m")


@pytest.fixture
def video(library: Connection) -> int:
    return add(library)


@pytest.fixture
def labels(library: Connection, video: int) -> list[str]:
    return [label_of(frame_id) for frame_id in extract(library, video, 3)]


def reserve(
    library: Connection, labels: list[str], request: str = "r", what: Describing = WHAT, task_id: int | None = None
) -> None:
    shares = dict.fromkeys(labels, 0.25)
    reservations.reserve(library, request, shares, what, sender=SENDER, now=NOW, task_id=task_id)


def taken(library: Connection, labels: list[str], what: Describing = WHAT, after_call: int = 0) -> set[str]:
    return reservations.taken_labels(library, labels, what, after_call=after_call)


def calls(library: Connection) -> list[tuple[object, ...]]:
    """The recorded calls: their frame, their cost, whether it is uncertain."""
    rows = library.execute(select(Analysis.frame_id, Analysis.cost_usd, Analysis.warnings).order_by(Analysis.id))
    return [(frame, usd, bool(said) and said[0]["problem"] == UNCERTAIN) for frame, usd, said in rows]


def test_reserved_image_is_taken_for_its_model_and_prompt_only(library: Connection, labels: list[str]) -> None:
    reserve(library, labels[:2])
    assert taken(library, labels) == set(labels[:2])
    for other in OTHERS:
        assert taken(library, labels, other) == set()
        reserve(library, labels[:2], str(other), other)


def test_database_itself_refuses_a_second_claim(library: Connection, labels: list[str]) -> None:
    reserve(library, labels)
    with pytest.raises(IntegrityError):
        reserve(library, labels[2:], "other")


def test_image_paid_for_since_the_plan_is_taken(library: Connection, labels: list[str]) -> None:
    paid = new_call(describer=WHAT.describer, model=WHAT.model, prompt_version=WHAT.prompt_version, cost_usd=0.001)
    planned = reservations.last_call_id(library)
    store.record_calls(library, reservations.frame_of(labels[0]), [paid], pass_=QUICK, now=NOW)
    assert taken(library, labels, after_call=planned) == {labels[0]}
    assert taken(library, labels, after_call=reservations.last_call_id(library)) == set()  # agreed to since


def test_removed_image_is_taken(library: Connection, labels: list[str]) -> None:
    assert taken(library, ["F999", labels[0]]) == {"F999"}


def test_uncertain_request_is_recorded_at_its_highest_price(library: Connection, labels: list[str]) -> None:
    reserve(library, labels)
    assert reservations.record_uncertain(library, "r", "it was killed") == 3
    assert calls(library) == [(reservations.frame_of(label), 0.25, True) for label in labels]
    assert library.scalar(select(func.sum(Expense.cost_usd))) == 0.75
    assert taken(library, labels) == set(labels)  # paid for since
    assert reservations.record_uncertain(library, "r", "it was killed") == 0


def test_held_image_costs_nothing_until_it_is_sent_again(library: Connection, labels: list[str]) -> None:
    reserve(library, labels)
    reservations.hold(library, "r", labels[:1])
    assert reservations.open_usd(library, NOW) == 0.0
    assert taken(library, labels) == {labels[0]}
    later = NOW + timedelta(seconds=5)
    assert reservations.reserve_again(library, "r", labels[0], 0.1, new_request="s", now=later)
    assert reservations.open_usd(library, later) == pytest.approx(0.1)
    assert not reservations.reserve_again(library, "r", labels[0], 0.1, new_request="t", now=later)
    reservations.hold(library, "s", [])
    assert library.scalar(select(func.count()).select_from(Reservation)) == 0


def test_killed_sender_of_held_images_leaves_no_cost(library: Connection, labels: list[str]) -> None:
    reserve(library, labels)
    reservations.hold(library, "r", labels[:2])
    assert reservations.record_abandoned(library, lambda _: True, "killed") == 0
    assert calls(library) == []
    assert taken(library, labels) == set()


def test_only_requests_of_ended_senders_are_recorded(library: Connection, labels: list[str]) -> None:
    reserve(library, labels[:1])
    reserve(library, labels[1:], "s")
    senders = []

    def is_abandoned(request: reservations.OpenRequest) -> bool:
        senders.append(request.sender)
        return request.request == "s"

    assert reservations.record_abandoned(library, is_abandoned, "killed") == 2
    assert senders == [SENDER, SENDER]
    assert taken(library, labels[:1]) == set(labels[:1])


def test_money_of_a_removed_video_stays_reserved_and_recorded(
    library: Connection, video: int, labels: list[str]
) -> None:
    reserve(library, labels)
    store.remove_video(library, video)
    again = extract(library, add(library, "next"), 3)
    assert [label_of(frame_id) for frame_id in again] == labels  # the ids are used again
    assert reservations.open_usd(library, NOW) == 0.75
    assert taken(library, labels) == set()
    sent = reservations.open_request(library, "r")
    assert sent is not None
    assert sent.frame_ids == dict.fromkeys(labels)
    reservations.record_uncertain(library, "r", "killed")
    assert calls(library) == [(None, 0.25, True)] * 3


def test_batch_of_a_removed_video_is_an_orphan(library: Connection, video: int, labels: list[str]) -> None:
    sender = {"hostname": "here", "pid": 7, "created_at": 1.5, "machine_id": "m"}
    parts = {"a": dict.fromkeys(labels[:2], 9), "b": dict.fromkeys(labels[2:], 9)}
    batch = batches.Batch(WHAT.model, WHAT.prompt_version, "", "English", 0.1, NOW.isoformat(), sender, parts)
    task_id = batches.begin(library, video, batch, not_before=NOW)
    for name, part in parts.items():
        reserve(library, list(part), name, task_id=task_id)
    reservations.set_batch_id(library, parts, "msgbatch_1")
    assert reservations.orphan_batches(library) == []
    assert reservations.record_abandoned(library, lambda _: True, "killed") == 0  # its collector asks Claude
    store.remove_video(library, video)
    [orphan] = reservations.orphan_batches(library)
    assert (orphan.batch_id, orphan.model, orphan.sender) == ("msgbatch_1", WHAT.model, SENDER)
    assert orphan.requests == {"a": labels[:2], "b": labels[2:]}
    assert "msgbatch_1" in batches.known_batch_ids(library)
