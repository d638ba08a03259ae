"""Extraction in the database: frames are saved once, with their tasks, and a lost lease saves nothing."""

import pytest
from sqlalchemy import func, select, update

from db import extraction, queue, store
from db.engine import reading, writing
from db.models import DEEP, QUICK, Frame, Task, TaskKind, TaskStatus, Video
from db.queue import LeaseLostError
from tests.db.library import (
    LATER,
    NOW,
    add,
    claim,
    claim_extraction,
    describe,
    extract,
    frame_ids,
    new_frame,
    row_of,
)


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


def test_measured_length_replaces_that_of_the_header(library):
    video_id = add(library)
    library.execute(update(Video).where(Video.id == video_id).values(warnings=["log", "cut short at 0:01: old"]))
    measured = extraction.MeasuredVideo(duration=3.0, fps=12.5, warning="cut short at 0:03: new")

    extraction.finish_extraction(library, claim_extraction(library, video_id), decoded=9, failures=2, measured=measured)

    row = row_of(library, Video, video_id)
    assert (row.duration, row.fps) == (3.0, 12.5)
    assert row.warnings == ["log", "cut short at 0:03: new"]


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
