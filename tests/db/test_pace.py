"""The rate of descriptions: per second and by minute."""

from datetime import timedelta

from db import store
from db.counts import frames_by_minute, frames_per_second
from tests.db.library import NOW, add, add_run, claim_frame, extract, new_call


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

    minutes = frames_by_minute(library, run_id=run, now=NOW + timedelta(seconds=190), minutes=5)

    assert [start - NOW for start, _ in minutes] == [timedelta(minutes=number) for number in (-1, 0, 1, 2, 3)]
    assert [count for _, count in minutes] == [0, 3, 0, 1, 1]


def test_frames_per_second_counts_kept_replies_only(library):
    frames = extract(library, add(library), 3)
    describe_at(library, frames[0], at=NOW, run_id=None)
    describe_at(library, frames[1], at=NOW + timedelta(seconds=50), run_id=None)
    describe_at(library, frames[2], at=NOW + timedelta(seconds=51), run_id=None, is_kept=False)
    assert frames_per_second(library, now=NOW + timedelta(seconds=60), seconds=20) == 1 / 20
    assert frames_per_second(library, now=NOW + timedelta(seconds=60), seconds=100) == 2 / 100
