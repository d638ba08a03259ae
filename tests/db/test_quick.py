"""The quick pass in the database: what it saves and replaces, what was answered already, what the search finds."""

from typing import Any

import pytest
from sqlalchemy import Connection, select

from db import editing, quick, store
from db.models import QUICK, Analysis, Frame, Task
from db.quick import Sent
from db.reservations import UNCERTAIN, Describing
from db.search import SearchDocument, search
from tests.db.library import NOW, add, describe, extract, new_call

ANSWER = quick.NewQuickDescription(
    text="A couple turns under lanterns",
    tags=("couple", "lanterns"),
    event_type="first dance",
    excitement=8.0,
    search_text="A couple turns under lanterns",
    search_tags=("couple", "lanterns", "first dance"),
)
MEASURED = quick.NewQuickDescription(
    "Baseline, no model: dim", ("dim",), None, 2.0, "Baseline, no model: dim", ("dim",)
)


@pytest.fixture
def frames(library: Connection) -> list[int]:
    return extract(library, add(library), 4)


def call(**changes: Any) -> store.NewAnalysis:
    return new_call(**({"describer": "claude", "model": "m", "prompt_version": "q1", "cost_usd": 0.001} | changes))


def save(library: Connection, frame_id: int, description: quick.NewQuickDescription = ANSWER, **changes: Any) -> None:
    quick.save_quick_description(library, frame_id, description, [call(**changes)], now=NOW)


def found(library: Connection, words: str) -> list[tuple[int, str]]:
    return [(hit.frame_id, hit.source) for hit in search(library, words).hits]


def column(library: Connection, name: str, frame_id: int) -> Any:
    return library.scalar(select(getattr(Frame, name)).where(Frame.id == frame_id))


def test_quick_description_is_searchable_by_its_words_and_event(library: Connection, frames: list[int]) -> None:
    save(library, frames[0])
    assert column(library, "quick_description", frames[0]) == ANSWER.text
    assert column(library, "quick_tags", frames[0]) == ["couple", "lanterns"]
    assert (column(library, "event_type", frames[0]), column(library, "excitement", frames[0])) == ("first dance", 8.0)
    assert column(library, "local_description", frames[0]) is None
    for words in ("lanterns", "first dance"):
        assert found(library, words) == [(frames[0], "quick")]


@pytest.mark.parametrize("quick_first", [True, False])
def test_search_finds_words_of_both_passes_with_the_deep_source(
    library: Connection, frames: list[int], *, quick_first: bool
) -> None:
    if quick_first:
        save(library, frames[0])
    describe(library, frames[0], "Two people on a lawn", tags=["lawn"])
    if not quick_first:
        save(library, frames[0])
    for words in ("lawn", "lanterns", "first dance"):
        assert found(library, words) == [(frames[0], "deep")]
    assert column(library, "local_description", frames[0]) == "Two people on a lawn"


def test_new_quick_text_replaces_the_old_one_and_keeps_the_deep_text(library: Connection, frames: list[int]) -> None:
    save(library, frames[0])
    describe(library, frames[0], "Two people on a lawn", tags=["lawn"])
    again = quick.NewQuickDescription("A wedding cake", ("cake",), "cake", 5.0, "A wedding cake", ("cake",))
    save(library, frames[0], again)
    assert found(library, "lanterns") == []
    assert found(library, "cake") == found(library, "lawn") == [(frames[0], "deep")]
    library.execute(Task.__table__.update().where(Task.frame_id == frames[0]).values(status="todo"))
    describe(library, frames[0], "A man with a knife")
    assert found(library, "lawn") == []
    assert found(library, "cake") == found(library, "knife") == [(frames[0], "deep")]


def test_quick_text_returns_when_a_persons_text_is_deleted(library: Connection, frames: list[int]) -> None:
    editing.edit_frame(library, frames[0], description="Erna and Karl dance", tags=["erna"], now=NOW)
    save(library, frames[0])
    describe(library, frames[0], "Two people on a lawn")
    assert found(library, "Karl") == [(frames[0], "person")]
    assert found(library, "lanterns") == []
    editing.restore_frame(library, frames[0])
    assert found(library, "lanterns") == found(library, "lawn") == [(frames[0], "deep")]


def test_measured_text_never_replaces_a_models_text(library: Connection, frames: list[int]) -> None:
    save(library, frames[0])
    save(library, frames[0], MEASURED, describer="baseline", cost_usd=0.0)
    assert column(library, "quick_description", frames[0]) == ANSWER.text
    assert column(library, "event_type", frames[0]) == "first dance"
    kept = library.scalars(select(Analysis.describer).where(Analysis.is_kept)).all()
    assert kept == ["claude"]


def test_measured_text_is_not_searchable_beside_a_models_text(library: Connection, frames: list[int]) -> None:
    save(library, frames[0], MEASURED, describer="baseline", cost_usd=0.0)
    assert found(library, "dim") == [(frames[0], "quick")]
    describe(library, frames[0], "Two people on a lawn")
    assert found(library, "dim") == []


def test_answered_frames_are_known_by_model_and_prompt_version(library: Connection, frames: list[int]) -> None:
    save(library, frames[0])
    paid, free = call(is_kept=False), call(is_kept=False, cost_usd=0.0)
    store.record_calls(library, frames[1], [paid], pass_=QUICK, now=NOW)
    store.record_calls(library, frames[2], [free], pass_=QUICK, now=NOW)
    same = {"describer": "claude", "model": "m", "prompt_version": "q1"}
    sent = {frames[0]: Sent.ANSWERED, frames[1]: Sent.UNANSWERED}
    assert quick.sent_frames(library, frames, Describing(**same)) == sent
    for other in ({"model": "n"}, {"prompt_version": "q2"}, {"describer": "ollama"}):
        assert quick.sent_frames(library, frames, Describing(**(same | other))) == {}


def test_frame_without_a_certain_cost_is_told_apart(library: Connection, frames: list[int]) -> None:
    lost = call(is_kept=False, warnings=[{"problem": UNCERTAIN, "detail": "it was killed"}])
    for frame_id, calls in zip(frames, ([lost], [lost, call(is_kept=False)], [lost, call()]), strict=False):
        store.record_calls(library, frame_id, calls, pass_=QUICK, now=NOW)
    save(library, frames[2])
    what = Describing("claude", "m", "q1")
    assert quick.sent_frames(library, frames, what) == dict(
        zip(frames, (Sent.UNCERTAIN, Sent.UNANSWERED, Sent.ANSWERED), strict=False)
    )


def test_quick_description_of_a_removed_frame_leaves_only_its_cost(library: Connection, frames: list[int]) -> None:
    save(library, 999)
    assert library.scalar(select(SearchDocument.frame_id)) is None
    calls = library.execute(select(Analysis.frame_id, Analysis.is_kept, Analysis.raw_reply, Analysis.cost_usd)).all()
    assert calls == [(None, False, None, 0.001)]


def test_setting_key_frames_replaces_the_old_ones(library: Connection, frames: list[int]) -> None:
    quick.set_key_frames(library, 1, frames[:2])
    quick.set_key_frames(library, 1, frames[1:3])
    assert library.scalars(select(Frame.id).where(Frame.is_keyframe)).all() == frames[1:3]
    assert [candidate.id for candidate in quick.candidates(library, 1)] == frames


def test_event_is_the_frames_own_or_of_the_nearest_key_frame_in_its_scene(
    library: Connection, frames: list[int]
) -> None:
    for frame_id, scene in zip(frames, (0, 0, 1, 1), strict=True):
        library.execute(Frame.__table__.update().where(Frame.id == frame_id).values(scene=scene))
    assert quick.event_of(library, video_id=1, frame_id=frames[0]) is None
    save(library, frames[1])
    assert quick.event_of(library, video_id=1, frame_id=frames[1]) == "first dance"
    assert quick.event_of(library, video_id=1, frame_id=frames[0]) == "first dance"
    assert quick.event_of(library, video_id=1, frame_id=frames[2]) is None  # in another scene
    assert quick.event_of(library, video_id=1, frame_id=999) is None
