"""The stored counts match the rows, whatever is written and however it ends; and the rate of descriptions."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from db import counts, editing, extraction, queries, queue, store
from db.counts import VideoCounts
from db.engine import reading, writing
from db.models import DEEP, QUICK, Frame, Tally, Task, Video
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
    frame_ids,
    new_call,
    new_frame,
)

NOTHING = VideoCounts(kept=0, described=0, covered=0, planned=0, done=0)


@pytest.fixture
def library(library):
    """A library whose stored counts are checked against its rows at the end of the test."""
    yield library
    for video_id in library.scalars(select(Video.id)).all():
        assert counts.stored_counts(library, video_id) == counts.actual_counts(library, video_id)


def test_new_video_has_zero_counts(library):
    assert counts.stored_counts(library, add(library)) == NOTHING


def test_frames_and_their_deep_tasks_are_counted_as_they_are_saved(library):
    video_id = add(library)
    extract(library, video_id, 3, passes=(QUICK, DEEP))

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=3, described=0, covered=0, planned=3, done=0)


def test_frame_saved_again_is_counted_once(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    for _ in range(2):
        store.save_frames(library, task, [new_frame(0), new_frame(1)], passes=[DEEP], now=NOW)

    assert counts.stored_counts(library, video_id).kept == 2


def test_description_counts_its_frame_task_and_covered_source_frames(library):
    video_id = add(library)
    frames = extract(library, video_id, 3)
    describe(library, frames[0])
    describe(library, frames[1])

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=3, described=2, covered=6, planned=3, done=2)


def test_quick_pass_does_not_count_as_described(library):
    video_id = add(library)
    describe(library, extract(library, video_id, 2, passes=(QUICK,))[0], pass_=QUICK)

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=2, described=0, covered=0, planned=0, done=0)


def test_pass_planned_later_is_counted(library):
    video_id = add(library)
    extract(library, video_id, 2, passes=())
    store.plan_pass(library, DEEP)

    assert counts.stored_counts(library, video_id).planned == 2


def test_placing_a_frame_splits_what_a_described_frame_covers(library):
    video_id = add(library)
    task = claim_extraction(library, video_id)
    found = new_frame(7, index=None, stands_for=None, scene=None, timestamp=0.05)
    store.save_frames(library, task, [new_frame(0), found], passes=[DEEP], now=NOW)
    first, skimmed = frame_ids(library, video_id)
    describe(library, first)
    describe(library, skimmed)
    assert counts.stored_counts(library, video_id).covered == 3

    extraction.place_frame(library, skimmed, index=1)

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=2, described=2, covered=3, planned=2, done=2)


def test_deleted_frames_are_not_counted(library):
    video_id = add(library)
    frames = extract(library, video_id, 3)
    describe(library, frames[0])
    library.execute(delete(Frame).where(Frame.id.in_(frames[:2])))

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=1, described=0, covered=0, planned=1, done=0)


def test_failures_retries_and_edits_do_not_change_described(library):
    video_id = add(library)
    frames = extract(library, video_id, 2)
    fail(library, frames[0])
    store.retry(library)
    editing.edit_frame(library, frames[0], description="mine", tags=["a"], now=NOW)
    editing.restore_frame(library, frames[0])

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=2, described=0, covered=0, planned=2, done=0)


def test_task_done_again_is_counted_once(library):
    video_id = add(library)
    [frame_id] = extract(library, video_id, 1)
    describe(library, frame_id)
    library.execute(update(Task).where(Task.frame_id == frame_id).values(status="todo"))
    assert counts.stored_counts(library, video_id).done == 0
    describe(library, frame_id, "again")

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=1, described=1, covered=3, planned=1, done=1)


def test_removing_a_video_deletes_its_counts_only(library):
    gone, stays = add(library), add(library, "other")
    describe(library, extract(library, gone, 3)[0])
    extract(library, stays, 2)
    store.remove_video(library, gone)

    assert counts.stored_counts(library, gone) is None
    assert counts.total_counts(library) == VideoCounts(kept=2, described=0, covered=0, planned=2, done=0)


def test_frame_moved_to_another_video_is_counted_there(library):
    here, there = add(library), add(library, "other")
    frames = extract(library, here, 2)
    describe(library, frames[0])
    library.execute(update(Frame).where(Frame.id == frames[0]).values(video_id=there))
    library.execute(update(Task).where(Task.frame_id == frames[0]).values(video_id=there))

    assert counts.stored_counts(library, here).kept == counts.stored_counts(library, there).kept == 1
    assert counts.stored_counts(library, there).covered == 3


def test_rolled_back_changes_are_not_counted(engine):
    with writing(engine) as connection:
        video_id = add(connection)
        frames = extract(connection, video_id, 2)
    with suppress(ZeroDivisionError), writing(engine) as connection:
        describe(connection, frames[0])
        raise ZeroDivisionError
    with suppress(queue.LeaseLostError), writing(engine) as connection:
        task = claim_frame(connection, frames[0])
        queue.release(connection, task)
        store.save_description(
            connection, task, store.NewDescription("late", [], "", []), analyses=[], now=NOW, run_id=None
        )

    with reading(engine) as connection:
        assert counts.stored_counts(connection, video_id) == counts.actual_counts(connection, video_id)
        assert counts.stored_counts(connection, video_id).described == 0


KILLED = """
import sys
from db.engine import make_engine, writing
from tests.db.library import add, describe, extract
engine = make_engine(sys.argv[1])
with writing(engine) as connection:
    frames = extract(connection, add(connection), 400)
print("ready", flush=True)
for frame_id in frames:
    with writing(engine) as connection:
        describe(connection, frame_id)
"""


def test_counts_are_right_after_kill_9(engine):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(engine.url)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        while True:
            with reading(engine) as connection:
                if counts.total_counts(connection).described >= 5:
                    break
        os.kill(process.pid, signal.SIGKILL)

    with reading(engine) as connection:
        [video_id] = connection.scalars(select(Video.id))
        stored = counts.stored_counts(connection, video_id)
        assert stored == counts.actual_counts(connection, video_id)
        assert 5 <= stored.described < 400, "it was killed in the middle"


def test_wrong_or_missing_counts_can_be_recounted(library):
    video_id, other = add(library), add(library, "other")
    describe(library, extract(library, video_id, 3)[0])
    library.execute(update(Tally).where(Tally.video_id == video_id).values(kept=99))
    library.execute(delete(Tally).where(Tally.video_id == other))
    assert queries.video(library, video_id).kept == 99

    for each in (video_id, other, 12345):
        counts.recount(library, each)

    assert counts.stored_counts(library, video_id) == VideoCounts(kept=3, described=1, covered=3, planned=3, done=1)
    assert counts.stored_counts(library, other) == NOTHING
    assert counts.stored_counts(library, 12345) is None


def test_total_counts_can_be_limited_to_videos(library):
    one, other = add(library), add(library, "other")
    extract(library, one, 2)
    extract(library, other, 3)

    assert counts.total_counts(library).kept == 5
    assert counts.total_counts(library, [other]).kept == 3
    assert counts.total_counts(library, []) == NOTHING


def test_progress_of_the_deep_pass_matches_its_tasks(library):
    video_id = add(library)
    frames = extract(library, video_id, 6)
    describe(library, frames[0])
    fail(library, frames[1])
    claim(library, 2)

    progress = queries.progress(library, DEEP)

    assert (progress.todo, progress.doing, progress.done, progress.failed) == (2, 2, 1, 1)


# the rate of descriptions


def describe_at(library, frame_id, *, at, run_id, **call):
    store.save_description(
        library,
        claim_frame(library, frame_id),
        store.NewDescription("a dog", [], "", []),
        analyses=[new_call(**call)],
        now=at,
        run_id=run_id,
    )


def test_frames_by_minute_has_every_minute_of_one_run(library):
    run, other = add_run(library), add_run(library, 2)
    frames = extract(library, add(library), 6)
    for frame_id, seconds in zip(frames, (0, 30, 59, 125, 180), strict=False):
        describe_at(library, frame_id, at=NOW + timedelta(seconds=seconds), run_id=run)
    describe_at(library, frames[5], at=NOW + timedelta(seconds=130), run_id=other)

    minutes = counts.frames_by_minute(library, run_id=run, now=NOW + timedelta(seconds=190), minutes=5)

    assert [start - NOW for start, _ in minutes] == [timedelta(minutes=number) for number in (-1, 0, 1, 2, 3)]
    assert [count for _, count in minutes] == [0, 3, 0, 1, 1]


def test_recent_work_counts_the_kept_replies_of_one_run(library):
    run, other = add_run(library), add_run(library, 2)
    frames = extract(library, add(library), 5)
    for number, seconds in enumerate((0, 50, 52)):
        describe_at(library, frames[number], at=NOW + timedelta(seconds=seconds), run_id=run)
    describe_at(library, frames[3], at=NOW + timedelta(seconds=53), run_id=run, is_kept=False)
    describe_at(library, frames[4], at=NOW + timedelta(seconds=54), run_id=other)

    def recent(frames: int, since: int = -10) -> counts.RecentWork:
        now, start = NOW + timedelta(seconds=60), NOW + timedelta(seconds=since)
        return counts.recent_work(library, run, since=start, now=now, seconds=9, frames=frames)

    assert recent(1) == counts.RecentWork(1, 10), "one frame, from the end of the frame before it"
    assert recent(2) == counts.RecentWork(2, 60)
    assert recent(20) == counts.RecentWork(3, 70), "a slow run is measured from its start"
    assert recent(20, since=51) == counts.RecentWork(1, 9), "nothing counts before the hosts served"
    assert recent(20, since=55) == counts.RecentWork(0, 5)


def test_extraction_extents_are_read_from_kept_frames(library):
    first, second = add(library), add(library, "party")
    extract(library, first, 4)
    library.execute(update(Frame).where(Frame.index == 9).values(index=None))
    extents = counts.extraction_extents(library, [first, second])
    assert extents == {first: counts.ExtractionExtent(7, 1), second: counts.ExtractionExtent(0, 0)}
