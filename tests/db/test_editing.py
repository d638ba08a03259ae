"""A person's text is searchable, stored beside the model's, and can be deleted again."""

import pytest
from sqlalchemy import func, select

from db import editing, gallery, queries, store
from db.models import DEEP, QUICK, Frame
from db.search import SearchDocument, search
from tests.db.library import LATER, NOW, add, describe, extract


def found(library, words):
    return [hit.frame_id for hit in search(library, words).hits]


def row_of(library, frame_id):
    return library.execute(select(Frame.__table__).where(Frame.id == frame_id)).one()


def count(library, table):
    return library.execute(select(func.count()).select_from(table)).scalar_one()


def edit(library, frame_id, description=None, tags=None):
    editing.edit_frame(library, frame_id, description=description, tags=tags, now=NOW)


@pytest.fixture
def frames(library):
    return extract(library, add(library), 4, passes=(QUICK, DEEP))


@pytest.fixture
def frame_id(frames):
    return frames[0]


def test_edit_is_stored_beside_the_models_text(library, frame_id):
    describe(library, frame_id, "a woman", tags=["party"])

    edit(library, frame_id, "my grandmother", ["grandma"])

    frame = row_of(library, frame_id)
    assert (frame.edited_description, frame.edited_tags, frame.edited_at) == ("my grandmother", ["grandma"], NOW)
    assert (frame.local_description, frame.local_tags) == ("a woman", ["party"])
    assert found(library, "grandmother") == found(library, "grandma") == [frame_id]
    assert found(library, "woman") == []


def test_model_never_overwrites_a_persons_text(library, frame_id):
    edit(library, frame_id, "my grandmother", ["grandma"])

    describe(library, frame_id, "dim light", tags=["dark"], pass_=QUICK)
    describe(library, frame_id, "a woman", tags=["party"])

    frame = row_of(library, frame_id)
    assert (frame.edited_description, frame.edited_tags) == ("my grandmother", ["grandma"])
    assert found(library, "grandmother grandma") == [frame_id]
    assert found(library, "woman") == found(library, "party") == found(library, "dim") == []


def test_part_a_person_did_not_edit_stays_the_models(library, frame_id):
    describe(library, frame_id, "dim light", tags=["dark"], pass_=QUICK)

    edit(library, frame_id, tags=["grandma"])
    assert found(library, "dim grandma") == [frame_id]

    describe(library, frame_id, "a woman", tags=["party"])
    assert found(library, "woman grandma") == [frame_id]
    assert found(library, "dim") == found(library, "party") == []


def test_late_quick_text_does_not_replace_the_deep_text(library, frame_id):
    describe(library, frame_id, "a woman")
    edit(library, frame_id, tags=["grandma"])

    describe(library, frame_id, "dim light", pass_=QUICK)

    assert found(library, "woman") == [frame_id]
    assert found(library, "dim") == []


def test_editing_one_part_keeps_the_edit_of_the_other(library, frame_id):
    edit(library, frame_id, "my grandmother")
    edit(library, frame_id, tags=["grandma"])

    frame = row_of(library, frame_id)
    assert (frame.edited_description, frame.edited_tags) == ("my grandmother", ["grandma"])
    assert found(library, "grandmother grandma") == [frame_id]


def test_edit_of_a_removed_frame_does_nothing(library, frame_id):
    store.remove_video(library, row_of(library, frame_id).video_id)

    edit(library, frame_id, "too late")

    assert count(library, Frame) == count(library, SearchDocument) == 0


def test_restored_frame_is_found_by_the_models_words_without_names(library, frames):
    describe(library, frames[0], "Erna laughs", search_text="laughs", tags=["joy"])
    editing.edit_frame(library, frames[0], description="the cake", tags=["sweet"], now=NOW)
    assert found(library, "cake") == found(library, "sweet") == [frames[0]]

    editing.restore_frame(library, frames[0])

    assert found(library, "laughs") == found(library, "joy") == [frames[0]]
    assert found(library, "cake") == found(library, "Erna") == []
    frame = queries.frame(library, frames[0])
    assert (frame.description, frame.edited_at, frame.edited_tags) == ("Erna laughs", None, None)
    assert search(library, "laughs").hits[0].source == "deep"


def test_newer_text_of_the_model_is_restored(library, frames):
    describe(library, frames[0], "a quick look", pass_=QUICK)
    editing.edit_frame(library, frames[0], description="the cake", tags=None, now=NOW)
    describe(library, frames[0], "a deep look", tags=["deepness"])
    assert found(library, "deepness") == [frames[0]], "the part that was not edited is the model's"

    editing.restore_frame(library, frames[0])

    assert found(library, "deep look") == [frames[0]]
    assert found(library, "quick") == []


def test_restoring_without_a_models_text_removes_the_search_text(library, frames):
    editing.edit_frame(library, frames[0], description="the cake", tags=[], now=NOW)
    editing.restore_frame(library, frames[0])
    editing.restore_frame(library, frames[1])
    assert found(library, "cake") == []


def test_editing_a_missing_frame_does_nothing(library, frames):
    editing.edit_frame(library, 12345, description="the cake", tags=[], now=NOW)
    editing.restore_frame(library, 12345)
    assert found(library, "cake") == []


def test_approval_can_be_taken_back(library, frames):
    editing.approve_frame(library, frames[0], is_approved=True, now=NOW)
    assert queries.frame(library, frames[0]).reviewed_at == NOW
    editing.approve_frame(library, frames[0], is_approved=False, now=LATER)
    assert queries.frame(library, frames[0]).reviewed_at is None


def test_tag_on_a_range_is_added_to_existing_tags(library, frames):
    describe(library, frames[1], tags=["dog"])
    describe(library, frames[2], tags=["cake"])
    assert editing.tag_range(library, 1, 0.1, 0.2, "cake", now=NOW) == 1
    assert editing.tag_range(library, 1, 0.1, 0.3, "cake", now=NOW) == 1
    assert [queries.frame(library, frame_id).tags for frame_id in frames] == [[], ["dog", "cake"], ["cake"], ["cake"]]
    assert [card.id for card in gallery.cards(library, 1, tag="cake")] == frames[1:]
    assert queries.frame(library, frames[1]).description == "a dog runs"


def test_video_title_and_context_can_be_changed(library, frames):
    editing.rename_video(library, 1, "Erna's birthday")
    editing.set_context(library, 1, "in Graz")
    video = queries.video(library, 1)
    assert (video.title, video.context) == ("Erna's birthday", "in Graz")
