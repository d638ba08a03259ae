"""Writes: adding, planning, describing and removing videos; each leaves a consistent library."""

import pytest
from sqlalchemy import select, text, update

from db import extraction, files, queries, queue, store
from db.engine import reading, writing
from db.models import (
    AUDIT,
    DEEP,
    QUICK,
    Analysis,
    Expense,
    Frame,
    Location,
    Task,
    TaskKind,
    TaskStatus,
    Video,
)
from db.queue import LeaseLostError
from db.search import SearchDocument, search
from tests.db.library import (
    LATER,
    NOW,
    add,
    add_run,
    claim,
    claim_extraction,
    claim_frame,
    count,
    describe,
    extract,
    frame_ids,
    new_call,
    new_video,
    row_of,
)

# adding


def test_new_file_becomes_a_video_with_an_extraction_task(library):
    video_id, is_new = store.add_video(library, new_video(), sampling="exact", context="Anna's party", now=NOW)

    assert is_new
    row = row_of(library, Video, video_id)
    assert (row.title, row.sampling, row.context, row.added_at) == ("wedding", "exact", "Anna's party", NOW)
    assert (row.extraction_status, row.enrichment_status) == ("pending", "pending")
    assert [task.video_id for task in claim(library, 9, kind=TaskKind.EXTRACT, pass_="")] == [video_id]


def test_adding_a_file_twice_queues_it_once(library):
    first = add(library)

    again = store.add_video(library, new_video(), sampling="distinct", context="", now=LATER)

    assert again == (first, False)
    assert count(library, Video) == count(library, Task) == 1


def locations(library, video_id):
    return queries.video(library, video_id).locations


def test_new_file_is_the_first_location_of_its_video(library):
    first = add(library)

    assert locations(library, first) == ["/films/wedding.mp4"]
    files.record_location(library, first, "/copy/wedding.mp4", now=LATER)
    files.record_location(library, first, "/copy/wedding.mp4", now=LATER)

    assert locations(library, first) == ["/films/wedding.mp4", "/copy/wedding.mp4"]
    assert queries.video(library, first).path == "/films/wedding.mp4"


def test_path_belongs_to_the_video_found_there_last(library):
    first = add(library)
    second = add(library, "other", path="/films/wedding.mp4")

    assert (locations(library, first), locations(library, second)) == ([], ["/films/wedding.mp4"])
    assert queries.video(library, first).path == "/films/wedding.mp4"


def test_preferred_location_comes_before_those_known(library):
    first = add(library)
    files.record_location(library, first, "/copy/wedding.mp4", now=LATER)
    files.prefer_location(library, first, "/new/wedding.mp4", now=LATER)

    assert locations(library, first) == ["/new/wedding.mp4", "/films/wedding.mp4", "/copy/wedding.mp4"]
    assert queries.video(library, first).path == "/new/wedding.mp4"
    assert files.is_first_location(library, first, "/films/wedding.mp4")
    assert not files.is_first_location(library, first, "/new/wedding.mp4")


def test_removed_video_has_no_locations(library):
    store.remove_video(library, add(library))

    assert count(library, Location) == 0


def test_sampling_changes_only_before_extraction_begins(library):
    video_id = add(library)

    assert files.change_sampling(library, video_id, "exact")
    assert queries.video(library, video_id).sampling == "exact"
    extraction.begin_extraction(library, video_id)
    assert not files.change_sampling(library, video_id, "scenes")
    assert queries.video(library, video_id).sampling == "exact"


def test_pass_is_planned_for_frames_without_a_task(library):
    first, second = add(library, "first"), add(library, "second")
    extract(library, first, 2, passes=[DEEP])
    extract(library, second, 3, passes=[])

    assert store.plan_pass(library, DEEP, video_ids=[first]) == 0
    assert store.plan_pass(library, DEEP) == 3
    assert store.plan_pass(library, DEEP) == 0
    assert store.plan_pass(library, QUICK, video_ids=[second]) == 3
    assert len(claim(library, 9)) == 5
    assert {task.video_id for task in claim(library, 9, pass_=QUICK)} == {second}


# describing


def test_description_calls_search_text_and_status_are_saved_together(library):
    video_id = add(library)
    run_id = add_run(library)
    frame_id, _, _ = extract(library, video_id)
    task = claim_frame(library, frame_id)
    warnings = [{"problem": "cut off", "detail": "…"}]

    store.save_description(
        library,
        task,
        store.NewDescription("Grandma laughs", ["joy"], "a woman laughs", ["joy", "table"]),
        analyses=[new_call(is_kept=False, raw_reply="?"), new_call(warnings=warnings)],
        now=NOW,
        run_id=run_id,
    )

    frame = row_of(library, Frame, frame_id)
    assert (frame.local_description, frame.local_tags, frame.enriched_at) == ("Grandma laughs", ["joy"], NOW)
    assert row_of(library, Task, task.id).status == TaskStatus.DONE
    calls = library.execute(select(Analysis.__table__).order_by(Analysis.id)).all()
    assert [(call.frame_id, call.run_id, call.is_kept, call.warnings) for call in calls] == [
        (frame_id, run_id, False, []),
        (frame_id, run_id, True, warnings),
    ]
    assert library.scalar(select(Analysis.pass_)) == DEEP
    assert library.execute(select(SearchDocument.text, SearchDocument.tags)).one() == ("a woman laughs", "joy table")


def test_late_description_leaves_no_trace(engine):
    with writing(engine) as library:
        frame_id, _, _ = extract(library, add(library))
        late = claim_frame(library, frame_id)
        queue.sweep(library, now=LATER)

    def save_late():
        with writing(engine) as library:
            store.save_description(
                library,
                late,
                store.NewDescription("late", [], "late", []),
                analyses=[new_call()],
                now=NOW,
                run_id=None,
            )

    with pytest.raises(LeaseLostError):
        save_late()

    with reading(engine) as library:
        assert row_of(library, Frame, frame_id).local_description is None
        assert count(library, Analysis) == count(library, SearchDocument) == 0


def test_failure_for_a_removed_video_is_refused(library):
    video_id = add(library)
    frame_id, _, _ = extract(library, video_id)
    task = claim_frame(library, frame_id)
    store.remove_video(library, video_id)

    with pytest.raises(LeaseLostError):
        store.save_failure(library, task, error="x", not_before=None, analyses=[], now=NOW, run_id=None)


def test_task_without_a_frame_has_no_description(library):
    task = claim_extraction(library, add(library))

    with pytest.raises(ValueError, match="not about a frame"):
        store.save_description(library, task, store.NewDescription("x", [], "", []), analyses=[], now=NOW, run_id=None)


def test_failed_attempt_keeps_its_calls(library):
    frame_id, _, _ = extract(library, add(library))
    calls = [new_call(is_kept=False), new_call(is_kept=False)]

    status = store.save_failure(
        library, claim_frame(library, frame_id), error="empty", not_before=LATER, analyses=calls, now=NOW, run_id=None
    )

    assert status is TaskStatus.TODO
    assert count(library, Analysis) == 2
    assert len(claim(library, 9)) == 2, "the failed one backs off"


def test_quick_pass_fills_only_the_quick_columns(library):
    frame_id, _, _ = extract(library, add(library), passes=(QUICK, DEEP))

    describe(library, frame_id, "dim light", tags=["dark"], pass_=QUICK)

    frame = row_of(library, Frame, frame_id)
    assert (frame.quick_description, frame.quick_tags) == ("dim light", ["dark"])
    assert (frame.local_description, frame.local_tags, frame.enriched_at) == (None, None, None)


def test_calls_of_a_removed_frame_are_recorded_without_replies(library):
    store.record_calls(library, 999, [new_call(cost_usd=0.5, raw_reply="a cat")], pass_=AUDIT, now=NOW)

    row = library.execute(select(Analysis.__table__)).one()
    assert (row.frame_id, row.is_kept, row.raw_reply, row.cost_usd) == (None, False, None, 0.5)
    assert library.scalar(select(Expense.cost_usd)) == 0.5


def test_recording_no_calls_inserts_nothing(library):
    frame_id, *_ = extract(library, add(library))

    store.record_calls(library, frame_id, [], pass_=AUDIT, now=NOW)

    assert count(library, Analysis) == 0


def test_calls_may_be_recorded_as_not_kept(library):
    frame_id, *_ = extract(library, add(library))
    run_id = add_run(library)

    store.record_calls(library, frame_id, [new_call()], pass_=DEEP, now=NOW, run_id=run_id, is_kept=False)

    found = library.execute(select(Analysis.frame_id, Analysis.run_id, Analysis.is_kept, Analysis.raw_reply)).one()
    assert found == (frame_id, run_id, False, "{}")


# removing


def test_removed_video_leaves_only_its_calls_without_replies(library):
    gone, stays = add(library, "gone"), add(library, "stays")
    for video_id in (gone, stays):
        frame_id, *_ = extract(library, video_id)
        describe(library, frame_id, "a red balloon", calls=[new_call(raw_reply="a red balloon", latency_seconds=3.0)])
    kept = frame_ids(library, stays)

    store.remove_video(library, gone)

    assert library.scalars(select(Video.id)).all() == [stays]
    assert library.scalars(select(Frame.id).order_by(Frame.timestamp)).all() == kept
    assert set(library.scalars(select(Task.video_id))) == {stays}
    assert library.scalars(select(SearchDocument.frame_id)).all() == [kept[0]]
    assert [hit.frame_id for hit in search(library, "balloon").hits] == [kept[0]]
    calls = library.execute(select(Analysis.frame_id, Analysis.raw_reply, Analysis.latency_seconds)).all()
    assert sorted(calls, key=str) == sorted([(None, None, 3.0), (kept[0], "a red balloon", 3.0)], key=str)


def test_deleting_a_run_keeps_its_calls(library):
    run_id = add_run(library)
    frame_id, *_ = extract(library, add(library))
    describe(library, frame_id, calls=[new_call()])
    library.execute(update(Analysis).values(run_id=run_id))

    library.execute(text("DELETE FROM runs"))

    assert library.execute(select(Analysis.run_id)).all() == [(None,)]
