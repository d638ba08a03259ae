"""Writes: adding, extracting, describing and removing videos; each leaves a consistent library."""

import pytest
from sqlalchemy import event, func, select, text, update

from db import extraction, queue, store
from db.engine import reading, writing
from db.models import AUDIT, DEEP, QUICK, Analysis, Expense, Frame, SearchDocument, Task, TaskKind, TaskStatus, Video
from db.queue import LeaseLostError
from db.search import search
from db.store import AddResult
from tests.db.library import (
    LATER,
    NOW,
    add,
    add_run,
    claim,
    claim_extraction,
    claim_frame,
    describe,
    extract,
    fail,
    frame_ids,
    new_call,
    new_frame,
    new_video,
    status_of,
)


def count(library, table):
    return library.execute(select(func.count()).select_from(table)).scalar_one()


def row_of(library, table, row_id):
    return library.execute(select(table.__table__).where(table.id == row_id)).one()


# adding


def test_new_file_becomes_a_video_with_an_extraction_task(library):
    video_id, adding = store.add_video(library, new_video(), sampling="exact", context="Anna's party", now=NOW)

    assert adding is AddResult.ADDED
    row = row_of(library, Video, video_id)
    assert (row.title, row.sampling, row.context, row.added_at) == ("wedding", "exact", "Anna's party", NOW)
    assert (row.extraction_status, row.enrichment_status) == ("pending", "pending")
    assert [task.video_id for task in claim(library, 9, kind=TaskKind.EXTRACT, pass_="")] == [video_id]


def test_adding_a_file_twice_queues_it_once(library):
    first = add(library)

    again = store.add_video(library, new_video(), sampling="distinct", context="", now=LATER)

    assert again == (first, AddResult.KNOWN)
    assert count(library, Video) == count(library, Task) == 1


def test_moved_file_is_the_same_video_under_its_new_path(library):
    first = add(library)

    again = store.add_video(library, new_video(path="/new/wedding.mp4"), sampling="distinct", context="", now=LATER)

    assert again == (first, AddResult.MOVED)
    assert row_of(library, Video, first).path == "/new/wedding.mp4"
    assert count(library, Video) == count(library, Task) == 1


def test_adding_again_changes_the_context_only_if_given(library):
    video_id = add(library)
    for context in ("Anna and Ben", ""):
        store.add_video(library, new_video(), sampling="distinct", context=context, now=NOW)

        assert row_of(library, Video, video_id).context == "Anna and Ben"


# extracting


def test_kept_frames_are_saved_with_a_task_for_each_pass(library):
    video_id = add(library)
    extract(library, video_id, 3, passes=(QUICK, DEEP))

    tasks = library.execute(select(Task.frame_id, Task.pass_, Task.kind).where(Task.frame_id.is_not(None))).all()

    expected = {(frame, pass_, "describe") for frame in frame_ids(library, video_id) for pass_ in (QUICK, DEEP)}
    assert {tuple(task) for task in tasks} == expected
    assert len(tasks) == 6


def test_interrupted_extraction_resumes_without_duplicates(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    assert store.save_frames(library, task, [new_frame(0), new_frame(1)], passes=[DEEP], now=NOW) == 2
    first, second = frame_ids(library, video_id)
    describe(library, first, "a cake")
    queue.sweep(library, now=LATER)

    again = claim_extraction(library, video_id)
    frames = [new_frame(0, stands_for=1), new_frame(1), new_frame(2)]
    assert store.save_frames(library, again, frames, passes=[DEEP], now=NOW) == 1

    assert frame_ids(library, video_id)[:2] == [first, second]
    row = row_of(library, Frame, first)
    assert (row.local_description, row.stands_for) == ("a cake", 1), "described once, and updated"
    deep = select(func.count()).where(Task.pass_ == DEEP)
    assert library.scalar(deep) == 3, "no frame is queued twice"
    assert library.scalar(deep.where(Task.status == TaskStatus.DONE)) == 1, "no model call is repeated"


def test_frames_of_a_lost_extraction_are_refused(library):
    video_id = add(library)
    late = claim_extraction(library, video_id)
    queue.sweep(library, now=LATER)
    claim_extraction(library, video_id)

    with pytest.raises(LeaseLostError):
        store.save_frames(library, late, [new_frame(0)], passes=[DEEP], now=NOW)

    assert frame_ids(library, video_id) == []


@pytest.mark.parametrize(
    "end",
    [
        lambda library, task: extraction.finish_extraction(library, task, decoded=9, failures=0),
        lambda library, task: extraction.fail_extraction(library, task, error="no video stream"),
        lambda library, task: extraction.postpone_extraction(library, task, reason="gone", not_before=None),
    ],
    ids=["finish", "fail", "postpone"],
)
def test_late_extraction_changes_nothing(engine, end):
    with writing(engine) as library:
        video_id = add(library)
        late = claim_extraction(library, video_id)
        queue.sweep(library, now=LATER)
        before = row_of(library, Video, video_id)

    def come_late():
        with writing(engine) as library:
            end(library, late)

    with pytest.raises(LeaseLostError):
        come_late()

    with reading(engine) as library:
        assert row_of(library, Video, video_id) == before


def test_saving_new_frames_renews_the_lease_and_resets_crashes(library):
    video_id = add(library)
    store.save_frames(library, claim_extraction(library, video_id), [new_frame(0)], passes=[DEEP], now=NOW)
    queue.sweep(library, now=LATER, counts_crash=True)
    task = claim_extraction(library, video_id)
    store.save_frames(library, task, [new_frame(0)], passes=[DEEP], now=LATER)
    assert row_of(library, Task, task.id).crashes == 1, "no new frame: no progress"

    store.save_frames(library, task, [new_frame(1)], passes=[DEEP], now=LATER)

    assert row_of(library, Task, task.id).crashes == 0
    assert queue.sweep(library, now=LATER) == 0


def test_finished_extraction_records_its_failures(library):
    video_id = add(library)

    extract(library, video_id, 3, failures=2)

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.frame_count, row.decode_failures) == ("extracted", 9, 2)
    assert library.scalar(select(Task.status).where(Task.kind == TaskKind.EXTRACT)) == TaskStatus.DONE


def test_missing_file_postpones_extraction_without_counting_an_attempt(library):
    video_id = add(library)
    extraction.begin_extraction(library, video_id)

    task = claim_extraction(library, video_id)
    extraction.postpone_extraction(library, task, reason="the drive is unplugged", not_before=LATER)

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.error) == ("pending", "the drive is unplugged")
    assert claim(library, kind=TaskKind.EXTRACT, pass_="") == []
    [again] = claim(library, kind=TaskKind.EXTRACT, pass_="", now=LATER)
    assert (again.attempts, again.crashes) == (0, 0)


def test_undecodable_video_fails_at_once_and_can_be_retried(library):
    video_id = add(library)

    extraction.fail_extraction(library, claim_extraction(library, video_id), error="no video stream")

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.enrichment_status, row.error) == ("failed", "failed", "no video stream")

    assert store.retry(library, video_id=video_id) == 1

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.enrichment_status, row.error) == ("pending", "pending", None)
    assert claim_extraction(library, video_id).attempts == 0


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


# enrichment status


def test_video_goes_from_pending_to_enriching_to_enriched(library):
    video_id = add(library)
    frames = extract(library, video_id, 2)
    seen = [status_of(library, video_id)]
    for frame_id in frames:
        describe(library, frame_id)
        seen.append(status_of(library, video_id))

    assert seen == ["pending", "enriching", "enriched"]


def test_video_is_not_enriched_while_it_is_being_extracted(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    extraction.begin_extraction(library, video_id)
    store.save_frames(library, task, [new_frame(0)], passes=[DEEP], now=NOW)

    describe(library, frame_ids(library, video_id)[0])
    assert status_of(library, video_id) == "enriching"

    extraction.finish_extraction(library, task, decoded=3, failures=0)
    assert status_of(library, video_id) == "enriched"


def test_failed_frame_does_not_fail_its_video(library):
    video_id = add(library)
    first, second = extract(library, video_id, 2)

    fail(library, first)
    assert status_of(library, video_id) == "pending"
    describe(library, second)

    assert status_of(library, video_id) == "enriched"


def test_video_fails_only_if_all_frames_failed_and_retry_reopens_it(library):
    video_id = add(library)
    frames = extract(library, video_id, 2)

    for frame_id in frames:
        fail(library, frame_id)
    assert status_of(library, video_id) == "failed"

    assert store.retry(library, frame_id=frames[0]) == 1
    assert status_of(library, video_id) == "pending"
    describe(library, frames[0])
    assert status_of(library, video_id) == "enriched"


def test_retry_of_one_video_leaves_the_others_failed(library):
    videos = [add(library, "first"), add(library, "second")]
    for video_id in videos:
        fail(library, extract(library, video_id, 1)[0])

    assert store.retry(library, video_id=videos[0]) == 1

    assert [status_of(library, video_id) for video_id in videos] == ["pending", "failed"]


def test_retried_extraction_makes_its_video_enriching_again(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    store.save_frames(library, task, [new_frame(0)], passes=[DEEP], now=NOW)
    describe(library, frame_ids(library, video_id)[0])
    extraction.fail_extraction(library, task, error="codec error")
    assert status_of(library, video_id) == "enriched", "all frames so far are described"

    store.retry(library)

    assert status_of(library, video_id) == "enriching"


def test_baseline_does_not_enrich_a_video(library):
    video_id = add(library)
    frames = extract(library, video_id, 2, passes=[QUICK])

    for frame_id in frames:
        describe(library, frame_id, pass_=QUICK, calls=[new_call(describer="baseline")])

    assert status_of(library, video_id) == "pending", "nothing was described, and nothing failed"
    store.refresh_enrichment(library, video_id)
    assert status_of(library, video_id) == "pending"


def test_extracted_video_without_a_pass_is_pending(library):
    video_id = add(library)

    frames = extract(library, video_id, 1, passes=[])

    assert status_of(library, video_id) == "pending"
    store.plan_pass(library, DEEP)
    describe(library, frames[0])
    assert status_of(library, video_id) == "enriched"


def test_video_with_unplanned_frames_is_not_enriched(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    store.save_frames(library, task, [new_frame(0)], passes=[DEEP], now=NOW)
    describe(library, frame_ids(library, video_id)[0])
    store.save_frames(library, task, [new_frame(1)], passes=[], now=NOW)

    extraction.finish_extraction(library, task, decoded=6, failures=0)

    assert status_of(library, video_id) == "enriching"


def test_video_without_decodable_frames_is_failed(library):
    video_id = add(library)

    extract(library, video_id, 0, failures=9)

    assert status_of(library, video_id) == "failed"


def test_enrichment_status_is_computed_from_indexes(engine, library):
    video_id = add(library)
    extract(library, video_id, 1)
    plan = []

    def explain(connection, _cursor, statement, parameters, *_):
        raw = connection.connection.dbapi_connection
        plan.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    event.listen(engine, "before_cursor_execute", explain)
    store.refresh_enrichment(library, video_id)

    of_tasks = [line for line in plan if "tasks" in line]
    assert len(of_tasks) == 2
    assert all("INDEX ix_tasks_video (video_id=? AND status=? AND kind=? AND pass=?)" in line for line in of_tasks), (
        plan
    )


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
