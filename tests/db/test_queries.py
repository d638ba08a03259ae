"""Reads of videos, frames, progress and speed."""

import pytest
from sqlalchemy import update

from db import editing, extraction, files, queries, runs, store
from db.models import DEEP, QUICK, Frame, RunState, Video
from db.queries import NoSuchVideoError, Progress
from tests.db.library import (
    NOW,
    add,
    add_run,
    claim,
    claim_extraction,
    claim_frame,
    describe,
    extract,
    fail,
    new_call,
    new_frame,
)

# videos


def test_video_has_its_counts(library):
    video_id = add(library)
    first, second, _ = extract(library, video_id, 3)
    describe(library, first)
    fail(library, second)

    row = queries.video(library, video_id)

    assert (row.kept, row.described, row.covered, row.failed) == (3, 1, 3, 1), "covered counts source frames"
    assert (row.title, row.frame_count, row.extraction_status.value) == ("wedding", 9, "extracted")
    assert row.enrichment_status.value == "enriching"


def test_video_without_frames_has_zero_counts(library):
    row = queries.video(library, add(library))

    assert (row.kept, row.described, row.covered, row.failed) == (0, 0, 0, 0)


def test_failed_quick_task_does_not_count_as_a_failed_frame(library):
    video_id = add(library)
    [frame_id] = extract(library, video_id, 1, passes=(QUICK, DEEP))
    for _ in range(3):
        task = claim_frame(library, frame_id, QUICK)
        store.save_failure(library, task, error="x", not_before=None, analyses=[], now=NOW, run_id=None)
    assert queries.video(library, video_id).failed == 0

    fail(library, frame_id)

    assert queries.video(library, video_id).failed == 1, "one frame, although two of its tasks failed"


def test_baseline_does_not_count_as_described(library):
    video_id = add(library)
    [frame_id] = extract(library, video_id, 1, passes=[QUICK])

    describe(library, frame_id, pass_=QUICK)

    row = queries.video(library, video_id)
    assert (row.kept, row.described, row.covered) == (1, 0, 0)


def test_videos_are_in_the_order_added_with_their_own_counts(library):
    ids = [add(library, name) for name in ("c", "a", "b")]
    for video_id, count in zip(ids, (1, 0, 2), strict=True):
        extract(library, video_id, count)

    assert [(row.title, row.kept) for row in queries.videos(library)] == [("c", 1), ("a", 0), ("b", 2)]
    assert [row.id for row in queries.videos(library, [ids[2], ids[0]])] == [ids[0], ids[2]]
    assert queries.videos(library, []) == []


def test_unknown_video_id_is_reported(library):
    with pytest.raises(NoSuchVideoError, match="there is no video 7: run `everyframe list`"):
        queries.video(library, 7)


# finding a video


@pytest.fixture
def named(library):
    """Video ids by title."""
    titles = ("Wedding", "Wedding party", "Birthday 1987", "Straße", "2")
    return {title: add(library, title) for title in titles}


@pytest.mark.parametrize(
    ("wanted", "title"),
    [
        ("/films/Birthday 1987.mp4", "Birthday 1987"),
        ("1987", "Birthday 1987"),
        ("BIRTH", "Birthday 1987"),
        ("party", "Wedding party"),
        ("wedding", "Wedding"),  # a whole title, although it is part of another
        ("STRASSE", "Straße"),
        ("1", "Wedding"),
        ("2", "Wedding party"),  # the id, although another video has this title
    ],
)
def test_video_is_found_by_id_path_or_unique_part_of_its_title(library, named, wanted, title):
    assert files.find_video(library, wanted).id == named[title]


def test_video_is_found_by_its_absolute_path(library, named):
    found = files.find_video(library, "Straße.mp4", path="/films/Straße.mp4")

    assert found.id == named["Straße"]


def test_ambiguous_name_lists_the_candidates(library, named):
    with pytest.raises(NoSuchVideoError) as caught:
        files.find_video(library, "wed")

    assert "1 Wedding, 2 Wedding party" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", ["funeral", "99", "%", "_", "/films/gone.mp4"])
def test_name_that_matches_no_video_is_reported(library, named, wanted):
    with pytest.raises(NoSuchVideoError, match="no video is called"):
        files.find_video(library, wanted)


@pytest.mark.parametrize("wanted", ["", "  "])
def test_empty_name_matches_no_video(library, wanted):
    add(library)

    with pytest.raises(NoSuchVideoError, match="no video was named"):
        files.find_video(library, wanted)


def test_newest_of_two_videos_with_one_path_is_found(library):
    add(library, fingerprint="what was there before")
    newest = add(library, fingerprint="what is there now")

    assert files.find_video(library, "/films/wedding.mp4").id == newest


# frames


def test_frames_are_paged_in_time_order(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    for number in (2, 0, 1, 3):
        store.save_frames(library, task, [new_frame(number)], passes=[DEEP], now=NOW)

    assert [row.timestamp for row in queries.frames(library, video_id)] == [0.0, 0.1, 0.2, 0.3]
    assert [row.timestamp for row in queries.frames(library, video_id, after=0.1, limit=1)] == [0.2]
    assert queries.frames(library, 99) == []


def test_kept_frame_is_found_for_each_source_frame(library):
    video_id, other = add(library), add(library, "other")
    frames = extract(library, video_id, 2)
    extract(library, other, 9)

    stands = [queries.frame_of_index(library, video_id, index) for index in range(7)]

    assert [row and row.id for row in stands] == [frames[0]] * 3 + [frames[1]] * 3 + [None]


def test_frame_without_an_index_stands_for_nothing(library):
    video_id = add(library)
    extract(library, video_id, 2)
    library.execute(update(Frame).values(index=None, stands_for=None))

    assert queries.frame_of_index(library, video_id, 0) is None


@pytest.mark.parametrize(("timestamp", "shown"), [(-1.0, 0), (0.0, 0), (0.05, 0), (0.1, 1), (0.19, 1), (99.0, 2)])
def test_frame_at_a_time_is_the_last_one_before_it(library, timestamp, shown):
    video_id = add(library)
    frames = extract(library, video_id, 3)

    assert queries.frame_at(library, video_id, timestamp).id == frames[shown]


def test_video_without_frames_has_no_frame_at_any_time(library):
    assert queries.frame_at(library, add(library), 0.0) is None
    assert queries.frame(library, 1) is None


def test_best_text_is_a_persons_then_deep_then_quick(library):
    [frame_id] = extract(library, add(library), 1, passes=(QUICK, DEEP))
    seen = [queries.frame(library, frame_id)]
    describe(library, frame_id, "quick", tags=["q"], pass_=QUICK)
    seen.append(queries.frame(library, frame_id))
    describe(library, frame_id, "deep", tags=["d"])
    seen.append(queries.frame(library, frame_id))
    editing.edit_frame(library, frame_id, description="mine", tags=[], now=NOW)
    seen.append(queries.frame(library, frame_id))

    assert [row.description for row in seen] == [None, "quick", "deep", "mine"]
    assert [row.tags for row in seen] == [[], ["q"], ["d"], []], "the person removed all tags"


def test_frame_has_its_error_until_it_is_described(library):
    [frame_id] = extract(library, add(library), 1)
    assert queries.frame(library, frame_id).error is None
    fail(library, frame_id, "the model's reply was empty")
    assert queries.frame(library, frame_id).error == "the model's reply was empty"

    store.retry(library)
    fail(library, frame_id, "once more", times=1)
    describe(library, frame_id)

    assert queries.frame(library, frame_id).error is None


def warnings_of(problem):
    return [{"problem": problem, "detail": ""}]


def test_frame_has_the_warnings_of_the_kept_reply(library):
    first, second, third = extract(library, add(library), 3)
    refused = new_call(is_kept=False, warnings=warnings_of("not json"))
    describe(library, first, calls=[refused, new_call(warnings=warnings_of("cut off"))])
    describe(library, second, calls=[new_call(), refused])

    rows = {row.id: row.warnings for row in queries.frames(library, 1)}

    assert rows == {first: warnings_of("cut off"), second: [], third: []}


def test_warnings_are_those_of_the_shown_text(library):
    [frame_id] = extract(library, add(library), 1, passes=(QUICK, DEEP))
    describe(library, frame_id, calls=[new_call(warnings=warnings_of("of the deep text"))])
    describe(library, frame_id, pass_=QUICK, calls=[new_call(warnings=warnings_of("of the quick text"))])

    assert queries.frame(library, frame_id).warnings == warnings_of("of the deep text")


def test_warnings_are_read_in_several_chunks(library):
    video_id = add(library)
    frames = extract(library, video_id, 1100)
    task = {task.frame_id: task for task in claim(library, 2000)}
    for frame_id in (frames[0], frames[499], frames[500], frames[-1]):
        store.save_description(
            library,
            task[frame_id],
            store.NewDescription("x", [], "x", []),
            analyses=[new_call(warnings=warnings_of(str(frame_id)))],
            now=NOW,
            run_id=None,
        )

    with_warnings = [row for row in queries.frames(library, video_id) if row.warnings]

    assert [row.id for row in with_warnings] == [frames[0], frames[499], frames[500], frames[-1]]
    assert all(row.warnings == warnings_of(str(row.id)) for row in with_warnings)


# progress and speed


def test_progress_counts_a_pass_by_status(library):
    video_id, other = add(library), add(library, "other")
    frames = extract(library, video_id, 4, passes=(QUICK, DEEP))
    extract(library, other, 2)
    describe(library, frames[0])
    fail(library, frames[1])
    claim(library, 1, video_ids=[video_id])

    assert queries.progress(library, DEEP, [video_id]) == Progress(todo=1, doing=1, done=1, failed=1)
    assert queries.progress(library, DEEP, [video_id]).left == 2
    assert queries.progress(library, DEEP).todo == 3
    assert queries.progress(library, QUICK) == Progress(todo=4, doing=0, done=0, failed=0)
    assert queries.progress(library, DEEP, []) == Progress(todo=0, doing=0, done=0, failed=0)


def test_open_extractions_exclude_extracted_and_failed_videos(library):
    pending, doing, done, failed = (add(library, name) for name in "abcd")
    claim_extraction(library, doing)
    extraction.begin_extraction(library, doing)
    extract(library, done)
    extraction.fail_extraction(library, claim_extraction(library, failed), error="not a video")

    assert [row.id for row in queries.open_extractions(library)] == [pending, doing]
    assert [row.id for row in queries.open_extractions(library, [doing, done])] == [doing]


def test_speed_is_the_mean_of_the_last_20_calls_without_loading(library):
    frames = extract(library, add(library), 23)
    assert queries.speed(library, "ollama", "llava:13b") is None

    for frame_id in frames[:2]:
        describe(library, frame_id, calls=[new_call(latency_seconds=500.0)])
    assert queries.speed(library, "ollama", "llava:13b").seconds_per_frame == 500.0
    describe(library, frames[2], calls=[new_call(latency_seconds=63.0, load_seconds=60.0)])
    for frame_id in frames[3:22]:
        describe(library, frame_id, calls=[new_call(latency_seconds=3.0)])
    describe(library, frames[22], calls=[new_call(model="moondream", latency_seconds=0.5)])

    assert queries.speed(library, "ollama", "llava:13b") == queries.ModelSpeed(calls=20, seconds_per_frame=3.0)
    assert queries.speed(library, "ollama", "moondream") == queries.ModelSpeed(calls=1, seconds_per_frame=0.5)
    assert queries.speed(library, "claude", "llava:13b") is None


def test_retry_counts_towards_the_time_of_its_frame(library):
    [frame_id] = extract(library, add(library), 1)

    describe(library, frame_id, calls=[new_call(is_kept=False, latency_seconds=2.0), new_call(latency_seconds=3.0)])

    assert queries.speed(library, "ollama", "llava:13b") == queries.ModelSpeed(calls=2, seconds_per_frame=5.0)


def test_speed_includes_calls_that_were_not_kept(library):
    [frame_id] = extract(library, add(library), 1)
    call = new_call(is_kept=False, latency_seconds=4.0)
    task = claim_frame(library, frame_id)
    store.save_failure(library, task, error="x", not_before=None, analyses=[call], now=NOW, run_id=None)

    assert queries.speed(library, "ollama", "llava:13b").seconds_per_frame == 4.0


def test_kept_share_is_from_videos_extracted_with_the_same_sampling(library):
    assert queries.kept_share(library, "distinct") is None
    for name, count in (("a", 2), ("b", 4)):
        extract(library, add(library, name), count)
    exact = add(library, "c", sampling="exact")
    store.save_frames(library, claim_extraction(library, exact), [new_frame(0)], passes=[DEEP], now=NOW)
    library.execute(update(Video).where(Video.id == 2).values(frame_count=24))

    assert queries.kept_share(library, "distinct") == pytest.approx((2 + 4) / (6 + 24))
    assert queries.kept_share(library, "exact") is None, "it is not fully extracted"


def test_newest_images_come_first(library):
    video_id, other = add(library), add(library, "other")
    extract(library, video_id, 3)
    extract(library, other, 1)

    assert files.newest_image_paths(library, limit=2, video_id=video_id) == ["2.jpg", "1.jpg"]
    assert files.newest_image_paths(library, limit=9) == ["0.jpg", "2.jpg", "1.jpg", "0.jpg"]


def test_failures_are_grouped_by_error_most_common_first(library):
    video_id, other = add(library), add(library, "other")
    frames = extract(library, video_id, 3)
    fail(library, frames[0], "broken image")
    for frame_id in frames[1:]:
        fail(library, frame_id, "empty reply")
    fail(library, extract(library, other, 1)[0], "broken image", times=2)
    extraction.fail_extraction(library, claim_extraction(library, add(library, "third")), error="not a video")

    assert queries.failures(library, [video_id]) == [("empty reply", 2), ("broken image", 1)]
    assert queries.failures(library)[0] == ("empty reply", 2)
    assert ("not a video", 1) in queries.failures(library)
    assert queries.failures(library, [other]) == [], "it will be retried"


def test_run_has_its_state_and_reason(library):
    run = runs.run(library, add_run(library))

    assert (run.state, run.reason) == (RunState.STARTING, None)
