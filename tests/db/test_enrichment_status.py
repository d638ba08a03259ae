"""The status of a video follows from its tasks: pending, enriching, enriched or failed."""

from sqlalchemy import event

from db import extraction, store
from db.models import DEEP, QUICK
from tests.db.library import (
    NOW,
    add,
    claim_extraction,
    describe,
    extract,
    fail,
    frame_ids,
    new_call,
    new_frame,
    status_of,
)


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
