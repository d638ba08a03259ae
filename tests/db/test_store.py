"""Writes: adding, extracting, describing, removing; each leaves the library in one true state."""

import pytest
from sqlalchemy import event, func, select, text, update

from db import extraction, queue, store
from db.engine import reading, writing
from db.models import DEEP, QUICK, Analysis, Frame, SearchDocument, Task, TaskKind, TaskStatus, Video
from db.queue import LeaseLostError
from db.search import search
from db.store import AddResult
from tests.db.library import (
    LATER,
    NOW,
    add,
    add_run,
    claim,
    describe,
    extract,
    extract_job,
    fail,
    frame_ids,
    job_of,
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


def test_a_new_file_becomes_a_video_with_its_extraction_in_the_queue(library):
    video_id, adding = store.add_video(library, new_video(), sampling="exact", context="Anna's party", now=NOW)

    assert adding is AddResult.ADDED
    row = row_of(library, Video, video_id)
    assert (row.title, row.sampling, row.context, row.added_at) == ("wedding", "exact", "Anna's party", NOW)
    assert (row.extraction_status, row.enrichment_status) == ("pending", "pending")
    assert [job.video_id for job in claim(library, 9, kind=TaskKind.EXTRACT, pass_="")] == [video_id]


def test_the_same_file_again_is_known_and_queued_once(library):
    first = add(library)

    again = store.add_video(library, new_video(), sampling="distinct", context="", now=LATER)

    assert again == (first, AddResult.KNOWN)
    assert count(library, Video) == count(library, Task) == 1


def test_a_moved_file_is_the_same_video_under_its_new_path(library):
    first = add(library)

    again = store.add_video(library, new_video(path="/new/wedding.mp4"), sampling="distinct", context="", now=LATER)

    assert again == (first, AddResult.MOVED)
    assert row_of(library, Video, first).path == "/new/wedding.mp4"
    assert count(library, Video) == count(library, Task) == 1


def test_adding_again_changes_the_context_only_if_one_is_given(library):
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


def test_an_extraction_cut_short_skips_what_it_finds_when_it_runs_again(library):
    video_id = add(library)
    job = extract_job(library, video_id)
    assert store.save_frames(library, job, [new_frame(0), new_frame(1)], passes=[DEEP], now=NOW) == 2
    first, second = frame_ids(library, video_id)
    describe(library, first, "a cake")
    queue.sweep(library, now=LATER)

    again = extract_job(library, video_id)
    frames = [new_frame(0, stands_for=1), new_frame(1), new_frame(2)]
    assert store.save_frames(library, again, frames, passes=[DEEP], now=NOW) == 1

    assert frame_ids(library, video_id)[:2] == [first, second]
    row = row_of(library, Frame, first)
    assert (row.local_description, row.stands_for) == ("a cake", 1), "described once, and brought up to date"
    deep = select(func.count()).where(Task.pass_ == DEEP)
    assert library.scalar(deep) == 3, "no frame is queued twice"
    assert library.scalar(deep.where(Task.status == TaskStatus.DONE)) == 1, "no model call is repeated"


def test_frames_of_an_extraction_that_is_another_workers_now_are_refused(library):
    video_id = add(library)
    late = extract_job(library, video_id)
    queue.sweep(library, now=LATER)
    extract_job(library, video_id)

    with pytest.raises(LeaseLostError):
        store.save_frames(library, late, [new_frame(0)], passes=[DEEP], now=NOW)

    assert frame_ids(library, video_id) == []


@pytest.mark.parametrize(
    "end",
    [
        lambda library, job: extraction.finish_extraction(library, job, decoded=9, failures=0),
        lambda library, job: extraction.fail_extraction(library, job, error="no video stream"),
        lambda library, job: extraction.postpone_extraction(library, job, reason="gone", not_before=None),
    ],
    ids=["finish", "fail", "postpone"],
)
def test_a_late_extraction_changes_nothing(engine, end):
    with writing(engine) as library:
        video_id = add(library)
        late = extract_job(library, video_id)
        queue.sweep(library, now=LATER)
        before = row_of(library, Video, video_id)

    def come_late():
        with writing(engine) as library:
            end(library, late)

    with pytest.raises(LeaseLostError):
        come_late()

    with reading(engine) as library:
        assert row_of(library, Video, video_id) == before


def test_saving_frames_renews_the_lease_and_forgets_crashes(library):
    video_id = add(library)
    store.save_frames(library, extract_job(library, video_id), [new_frame(0)], passes=[DEEP], now=NOW)
    queue.sweep(library, now=LATER, counts_crash=True)
    job = extract_job(library, video_id)
    store.save_frames(library, job, [new_frame(0)], passes=[DEEP], now=LATER)
    assert row_of(library, Task, job.id).crashes == 1, "it has come no further than before"

    store.save_frames(library, job, [new_frame(1)], passes=[DEEP], now=LATER)

    assert row_of(library, Task, job.id).crashes == 0
    assert queue.sweep(library, now=LATER) == 0


def test_the_end_of_an_extraction_is_noted_with_its_failures(library):
    video_id = add(library)

    extract(library, video_id, 3, failures=2)

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.frame_count, row.decode_failures) == ("extracted", 9, 2)
    assert library.scalar(select(Task.status).where(Task.kind == TaskKind.EXTRACT)) == TaskStatus.DONE


def test_a_file_that_is_not_there_now_waits_with_its_reason_and_nothing_is_counted(library):
    video_id = add(library)
    extraction.begin_extraction(library, video_id)

    job = extract_job(library, video_id)
    extraction.postpone_extraction(library, job, reason="the drive is unplugged", not_before=LATER)

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.error) == ("pending", "the drive is unplugged")
    assert claim(library, kind=TaskKind.EXTRACT, pass_="") == []
    [again] = claim(library, kind=TaskKind.EXTRACT, pass_="", now=LATER)
    assert (again.attempts, again.crashes) == (0, 0)


def test_a_video_that_cannot_be_decoded_fails_at_once_and_retry_begins_anew(library):
    video_id = add(library)

    extraction.fail_extraction(library, extract_job(library, video_id), error="no video stream")

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.enrichment_status, row.error) == ("failed", "failed", "no video stream")

    assert store.retry(library, video_id=video_id) == 1

    row = row_of(library, Video, video_id)
    assert (row.extraction_status, row.enrichment_status, row.error) == ("pending", "pending", None)
    assert extract_job(library, video_id).attempts == 0


def test_a_pass_is_planned_for_the_frames_that_lack_it(library):
    first, second = add(library, "first"), add(library, "second")
    extract(library, first, 2, passes=[DEEP])
    extract(library, second, 3, passes=[])

    assert store.plan_pass(library, DEEP, video_ids=[first]) == 0
    assert store.plan_pass(library, DEEP) == 3
    assert store.plan_pass(library, DEEP) == 0
    assert store.plan_pass(library, QUICK, video_ids=[second]) == 3
    assert len(claim(library, 9)) == 5
    assert {job.video_id for job in claim(library, 9, pass_=QUICK)} == {second}


# describing


def test_a_description_its_calls_its_place_in_the_search_and_done_are_saved_together(library):
    video_id = add(library)
    run_id = add_run(library)
    frame_id, _, _ = extract(library, video_id)
    job = job_of(library, frame_id)
    warnings = [{"problem": "cut off", "detail": "…"}]

    store.save_description(
        library,
        job,
        text="Grandma laughs",
        tags=["joy"],
        search_text="a woman laughs",
        search_tags=["joy", "table"],
        analyses=[new_call(is_kept=False, raw_reply="?"), new_call(warnings=warnings)],
        now=NOW,
        run_id=run_id,
    )

    frame = row_of(library, Frame, frame_id)
    assert (frame.local_description, frame.local_tags, frame.enriched_at) == ("Grandma laughs", ["joy"], NOW)
    assert row_of(library, Task, job.id).status == TaskStatus.DONE
    calls = library.execute(select(Analysis.__table__).order_by(Analysis.id)).all()
    assert [(call.frame_id, call.run_id, call.is_kept, call.warnings) for call in calls] == [
        (frame_id, run_id, False, []),
        (frame_id, run_id, True, warnings),
    ]
    assert library.scalar(select(Analysis.pass_)) == DEEP
    assert library.execute(select(SearchDocument.text, SearchDocument.tags)).one() == ("a woman laughs", "joy table")


def test_a_late_description_leaves_no_trace(engine):
    with writing(engine) as library:
        frame_id, _, _ = extract(library, add(library))
        late = job_of(library, frame_id)
        queue.sweep(library, now=LATER)

    def save_late():
        with writing(engine) as library:
            store.save_description(
                library,
                late,
                text="late",
                tags=[],
                search_text="late",
                search_tags=[],
                analyses=[new_call()],
                now=NOW,
                run_id=None,
            )

    with pytest.raises(LeaseLostError):
        save_late()

    with reading(engine) as library:
        assert row_of(library, Frame, frame_id).local_description is None
        assert count(library, Analysis) == count(library, SearchDocument) == 0


def test_the_answer_for_a_video_removed_meanwhile_is_dropped(library):
    video_id = add(library)
    frame_id, _, _ = extract(library, video_id)
    job = job_of(library, frame_id)
    store.remove_video(library, video_id)

    with pytest.raises(LeaseLostError):
        store.save_failure(library, job, error="x", not_before=None, analyses=[], now=NOW, run_id=None)


def test_a_task_that_is_not_about_a_frame_has_no_description(library):
    job = extract_job(library, add(library))

    with pytest.raises(ValueError, match="not about a frame"):
        store.save_description(
            library, job, text="x", tags=[], search_text="", search_tags=[], analyses=[], now=NOW, run_id=None
        )


def test_a_failed_attempt_keeps_its_calls(library):
    frame_id, _, _ = extract(library, add(library))
    calls = [new_call(is_kept=False), new_call(is_kept=False)]

    status = store.save_failure(
        library, job_of(library, frame_id), error="empty", not_before=LATER, analyses=calls, now=NOW, run_id=None
    )

    assert status is TaskStatus.TODO
    assert count(library, Analysis) == 2
    assert len(claim(library, 9)) == 2, "the failed one rests"


def test_the_quick_pass_fills_the_quick_columns_alone(library):
    frame_id, _, _ = extract(library, add(library), passes=(QUICK, DEEP))

    describe(library, frame_id, "dim light", tags=["dark"], pass_=QUICK)

    frame = row_of(library, Frame, frame_id)
    assert (frame.quick_description, frame.quick_tags) == ("dim light", ["dark"])
    assert (frame.local_description, frame.local_tags, frame.enriched_at) == (None, None, None)


# where a video stands


def test_a_video_goes_from_pending_over_enriching_to_enriched(library):
    video_id = add(library)
    frames = extract(library, video_id, 2)
    seen = [status_of(library, video_id)]
    for frame_id in frames:
        describe(library, frame_id)
        seen.append(status_of(library, video_id))

    assert seen == ["pending", "enriching", "enriched"]


def test_a_video_is_not_enriched_while_it_is_still_being_decoded(library):
    video_id = add(library)
    job = extract_job(library, video_id)
    extraction.begin_extraction(library, video_id)
    store.save_frames(library, job, [new_frame(0)], passes=[DEEP], now=NOW)

    describe(library, frame_ids(library, video_id)[0])
    assert status_of(library, video_id) == "enriching"

    extraction.finish_extraction(library, job, decoded=3, failures=0)
    assert status_of(library, video_id) == "enriched"


def test_single_failed_frames_do_not_fail_their_video(library):
    video_id = add(library)
    first, second = extract(library, video_id, 2)

    fail(library, first)
    assert status_of(library, video_id) == "pending"
    describe(library, second)

    assert status_of(library, video_id) == "enriched"


def test_a_video_fails_only_if_nothing_could_be_described_and_retry_reopens_it(library):
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


def test_a_retried_extraction_that_failed_half_way_makes_its_video_enriching_again(library):
    video_id = add(library)
    job = extract_job(library, video_id)
    store.save_frames(library, job, [new_frame(0)], passes=[DEEP], now=NOW)
    describe(library, frame_ids(library, video_id)[0])
    extraction.fail_extraction(library, job, error="the codec gave up")
    assert status_of(library, video_id) == "enriched", "what was decoded is described"

    store.retry(library)

    assert status_of(library, video_id) == "enriching"


def test_what_the_baseline_says_never_counts_as_described(library):
    video_id = add(library)
    frames = extract(library, video_id, 2, passes=[QUICK])

    for frame_id in frames:
        describe(library, frame_id, pass_=QUICK, calls=[new_call(describer="baseline")])

    assert status_of(library, video_id) == "pending", "nothing was described, and nothing failed"
    store.refresh_enrichment(library, video_id)
    assert status_of(library, video_id) == "pending"


def test_a_video_that_was_only_extracted_waits_to_be_described(library):
    video_id = add(library)

    frames = extract(library, video_id, 1, passes=[])

    assert status_of(library, video_id) == "pending"
    store.plan_pass(library, DEEP)
    describe(library, frames[0])
    assert status_of(library, video_id) == "enriched"


def test_a_video_with_frames_no_pass_was_planned_for_is_not_enriched(library):
    video_id = add(library)
    job = extract_job(library, video_id)
    store.save_frames(library, job, [new_frame(0)], passes=[DEEP], now=NOW)
    describe(library, frame_ids(library, video_id)[0])
    store.save_frames(library, job, [new_frame(1)], passes=[], now=NOW)

    extraction.finish_extraction(library, job, decoded=6, failures=0)

    assert status_of(library, video_id) == "enriching"


def test_a_video_of_which_no_frame_could_be_decoded_is_failed(library):
    video_id = add(library)

    extract(library, video_id, 0, failures=9)

    assert status_of(library, video_id) == "failed"


def test_where_a_video_stands_is_looked_up_without_walking_the_whole_library(engine, library):
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


# removing


def test_a_removed_video_leaves_only_its_calls_without_their_replies(library):
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


def test_a_run_may_be_forgotten_without_its_calls(library):
    run_id = add_run(library)
    frame_id, *_ = extract(library, add(library))
    describe(library, frame_id, calls=[new_call()])
    library.execute(update(Analysis).values(run_id=run_id))

    library.execute(text("DELETE FROM runs"))

    assert library.execute(select(Analysis.run_id)).all() == [(None,)]
