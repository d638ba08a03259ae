"""The gallery lists each kept frame once, in time order, and filters them."""

import pytest

from db import editing, gallery
from db.gallery import FrameFilter
from db.models import DEEP, QUICK
from tests.db.library import NOW, add, describe, extract, fail, new_call

WARNINGS = [{"problem": "repeats", "detail": "la la la"}]


@pytest.fixture
def video(library):
    """Eight frames: 0 described, 1 with warnings, 2 failed, 3 corrected, 4 approved, 5 quick, 6 and 7 waiting."""
    video_id = add(library, duration=0.76)
    frames = extract(library, video_id, 8, passes=(QUICK, DEEP))
    describe(library, frames[0], "a dog", tags=["dog", "grass"], calls=[new_call()])
    describe(library, frames[1], "a cat", tags=["cat"], calls=[new_call(warnings=WARNINGS)])
    fail(library, frames[2], "the reply was empty")
    describe(library, frames[3], "a cake", tags=["dog"])
    editing.edit_frame(library, frames[3], description="Erna's cake", tags=["cake", 'a "b" tag'], now=NOW)
    describe(library, frames[4], "a ring", tags=["dog"])
    editing.approve_frame(library, frames[4], is_approved=True, now=NOW)
    describe(library, frames[5], "a quick look", tags=["dog"], pass_=QUICK)
    return video_id, frames


def test_card_has_the_best_text_and_its_source(library, video):
    video_id, frames = video
    cards = gallery.cards(library, video_id)

    assert [card.id for card in cards] == frames
    assert [(card.text, card.source) for card in cards[2:6]] == [
        (None, None),
        ("Erna's cake", "person"),
        ("a ring", "deep"),
        ("a quick look", "quick"),
    ]
    assert [card.has_warnings for card in cards] == [False, True] + [False] * 6
    assert [card.error for card in cards][1:4] == [None, "the reply was empty", None]
    assert [card.is_reviewed for card in cards][3:5] == [False, True]


@pytest.mark.parametrize(
    ("show", "wanted"),
    [
        (FrameFilter.ALL, [0, 1, 2, 3, 4, 5, 6, 7]),
        (FrameFilter.WAITING, [5, 6, 7]),
        (FrameFilter.WARNINGS, [1]),
        (FrameFilter.FAILED, [2]),
        (FrameFilter.CORRECTED, [3]),
        (FrameFilter.REVIEWED, [4]),
        (FrameFilter.UNREVIEWED, [0, 1, 2, 3, 5, 6, 7]),
    ],
)
def test_filter_applies_to_cards_count_and_neighbours(library, video, show, wanted):
    video_id, frames = video
    assert [frames.index(card.id) for card in gallery.cards(library, video_id, show=show)] == wanted
    assert gallery.count(library, video_id, show=show) == len(wanted)
    before = [number for number in wanted if number < 4]
    after = [number for number in wanted if number > 4]
    assert gallery.neighbours(library, video_id, 0.4, show=show) == (
        frames[before[-1]] if before else None,
        frames[after[0]] if after else None,
    )


def test_tag_filter_matches_whole_tags_of_the_best_source(library, video):
    video_id, frames = video
    assert [card.id for card in gallery.cards(library, video_id, tag="dog")] == [frames[0], frames[4], frames[5]]
    assert [card.id for card in gallery.cards(library, video_id, tag='a "b" tag')] == [frames[3]]
    assert gallery.count(library, video_id, tag="do") == 0
    assert gallery.count(library, video_id, tag="%") == 0
    assert gallery.count(library, video_id, show=FrameFilter.REVIEWED, tag="dog") == 1


def test_pages_follow_each_other_in_both_directions(library, video):
    video_id, frames = video
    first = gallery.cards(library, video_id, limit=3)
    second = gallery.cards(library, video_id, limit=3, after=first[-1].timestamp)
    assert [card.id for card in first + second] == frames[:6]
    assert gallery.cards(library, video_id, limit=3, before=second[0].timestamp) == first
    assert gallery.cards(library, video_id, before=0.0) == gallery.cards(library, video_id, after=0.7) == []


def test_warning_disappears_when_a_later_call_replaces_the_text(library, video):
    video_id, frames = video
    library.exec_driver_sql("UPDATE tasks SET status = 'todo' WHERE frame_id = ? AND pass = 'deep'", (frames[1],))
    describe(library, frames[1], "another cat", calls=[new_call()])
    assert gallery.count(library, video_id, show=FrameFilter.WARNINGS) == 0


def test_timeline_has_every_bucket_and_every_frame_once(library, video):
    video_id, _ = video
    buckets = gallery.timeline(library, video_id, buckets=4)
    assert [bucket.start for bucket in buckets] == pytest.approx([0, 0.19, 0.38, 0.57])
    assert [bucket.end for bucket in buckets] == pytest.approx([0.19, 0.38, 0.57, 0.76])
    assert [bucket.kept for bucket in buckets] == [2, 2, 2, 2]
    assert [bucket.described for bucket in buckets] == [2, 1, 1, 0]
    assert [bucket.failed for bucket in buckets] == [0, 1, 0, 0]
    assert {bucket.excitement for bucket in buckets} == {None}
    assert sum(bucket.kept for bucket in gallery.timeline(library, video_id)) == 8
    assert gallery.timeline(library, add(library, "new", duration=None)) == []


def test_video_of_unknown_duration_ends_with_its_last_frame(library):
    video_id = add(library, duration=None)
    extract(library, video_id, 4)
    assert [bucket.kept for bucket in gallery.timeline(library, video_id, buckets=3)] == [1, 1, 2]


def test_scenes_and_tags_of_a_video(library, video):
    video_id, _ = video
    [scene] = gallery.scenes(library, video_id)
    assert (scene.number, scene.start, scene.end, scene.kept) == (0, 0.0, 0.7, 8)
    assert gallery.tags(library, video_id)[:2] == [("dog", 3), ('a "b" tag', 1)]
    assert gallery.tags(library, video_id, limit=1) == [("dog", 3)]
    assert gallery.tags(library, add(library, "new")) == []


def test_calls_are_listed_newest_first(library, video):
    _, frames = video
    library.exec_driver_sql("UPDATE tasks SET status = 'todo' WHERE frame_id = ? AND pass = 'deep'", (frames[1],))
    describe(library, frames[1], "another cat", calls=[new_call(model="moondream")])
    calls = gallery.calls(library, frames[1])
    assert [(call.model, call.pass_, call.warnings) for call in calls] == [
        ("moondream", DEEP, []),
        ("llava:13b", DEEP, WARNINGS),
    ]
    assert gallery.calls(library, frames[7]) == []


def test_latest_cards_are_the_last_described(library, video):
    _, frames = video
    library.exec_driver_sql("UPDATE frames SET enriched_at = '2026-06-01 00:00:00.000000' WHERE id = ?", (frames[1],))
    found = gallery.latest(library, limit=2)
    assert [card.id for card in found] == [frames[1], frames[4]]
    assert found[0].title == "wedding"


def test_poster_is_the_sharpest_well_lit_frame_after_a_third(library, video):
    video_id, frames = video
    library.exec_driver_sql("UPDATE frames SET sharpness = 90, brightness = 5 WHERE id = ?", (frames[5],))
    library.exec_driver_sql("UPDATE frames SET sharpness = 50 WHERE id IN (?, ?)", (frames[0], frames[4]))
    early, none = add(library, "early", duration=100.0), add(library, "none")
    [only] = extract(library, early, 1)
    assert gallery.poster(library, [video_id, early, none]) == {video_id: frames[4], early: only}
    assert gallery.poster(library, []) == {}
