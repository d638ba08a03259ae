"""How fast frames are described, minute by minute."""

from datetime import timedelta

from db import store
from db.counts import described_by_minute, described_recently
from tests.db.library import NOW, add, add_run, extract, job_of, new_call


def say(library, frame_id, *, at, run_id, **call):
    store.save_description(
        library,
        job_of(library, frame_id),
        text="a dog",
        tags=[],
        search_text="",
        search_tags=[],
        analyses=[new_call(**call)],
        now=at,
        run_id=run_id,
    )


def test_every_minute_is_there_and_only_the_run_s_own_frames_count(library):
    run, other = add_run(library), add_run(library, 2)
    frames = extract(library, add(library), 6)
    for frame_id, seconds in zip(frames, (0, 30, 59, 125, 180), strict=False):
        say(library, frame_id, at=NOW + timedelta(seconds=seconds), run_id=run)
    say(library, frames[5], at=NOW + timedelta(seconds=130), run_id=other)

    minutes = described_by_minute(library, run_id=run, now=NOW + timedelta(seconds=190), minutes=5)

    assert [moment - NOW for moment, _ in minutes] == [timedelta(minutes=number) for number in (-1, 0, 1, 2, 3)]
    assert [count for _, count in minutes] == [0, 3, 0, 1, 1]


def test_lately_counts_what_became_a_description(library):
    frames = extract(library, add(library), 3)
    say(library, frames[0], at=NOW, run_id=None)
    say(library, frames[1], at=NOW + timedelta(seconds=50), run_id=None)
    say(library, frames[2], at=NOW + timedelta(seconds=51), run_id=None, is_kept=False)
    assert described_recently(library, now=NOW + timedelta(seconds=60), seconds=20) == 1 / 20
    assert described_recently(library, now=NOW + timedelta(seconds=60), seconds=100) == 2 / 100
