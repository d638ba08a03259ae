"""Key frame selection: spread over time and scenes, sharp, not dark, not alike, deterministic."""

import random
from itertools import pairwise
from typing import Any

import pytest

from enrich.quick.keyframes import ALIKE_BITS, Candidate, choose_key_frames
from tests.clips import shared_videos

FOLDER = shared_videos()


def random_hash(seed: int) -> int:
    """The hash of an image unlike all others."""
    return random.Random(seed).getrandbits(64)


def candidate(number: int, seconds: float, **signals: Any) -> Candidate:
    usual: dict[str, Any] = {"scene": None, "sharpness": 100.0, "brightness": 120.0, "dhash": random_hash(number)}
    return Candidate(id=number, timestamp=seconds, **(usual | signals))


def video(count: int, step: float = 1.0, **signals: Any) -> list[Candidate]:
    return [candidate(number, number * step, **signals) for number in range(count)]


def test_video_without_frames_has_no_key_frames() -> None:
    assert choose_key_frames([], 50) == []
    assert choose_key_frames(video(3), 0) == []


def test_few_different_frames_are_all_chosen_in_order() -> None:
    assert choose_key_frames(video(7), 50) == [0, 1, 2, 3, 4, 5, 6]


def test_choice_has_the_wanted_size_and_ignores_input_order() -> None:
    candidates = video(400)
    chosen = choose_key_frames(candidates, 50, duration=400.0)
    assert len(chosen) == 50
    random.Random(3).shuffle(candidates)
    assert choose_key_frames(candidates, 50, duration=400.0) == chosen


def test_key_frames_are_spread_over_time() -> None:
    chosen = choose_key_frames(video(1000), 50, duration=1000.0)
    gaps = [later - earlier for earlier, later in pairwise([0, *chosen, 1000])]
    assert max(gaps) <= 3 * 1000 / 50


def test_every_scene_has_a_key_frame() -> None:
    candidates = video(500, scene=0)
    for scene, at in enumerate(range(100, 130), 1):
        candidates[at] = candidate(at, float(at), scene=scene)
    chosen = choose_key_frames(candidates, 50, duration=500.0)
    assert {candidates[number].scene for number in chosen} == set(range(31))


def test_similar_neighbours_give_one_key_frame() -> None:
    still = [candidate(number, number / 10, dhash=random_hash(0) ^ (1 << number % ALIKE_BITS)) for number in range(100)]
    moving = [candidate(number, float(number)) for number in range(100, 140)]
    chosen = choose_key_frames(still + moving, 20, duration=140.0)
    assert sum(number < 100 for number in chosen) <= 2


def test_still_hour_gets_fewer_key_frames() -> None:
    chosen = choose_key_frames(video(3600, dhash=random_hash(1)), 50, duration=3600.0)
    assert 12 <= len(chosen) <= 30


@pytest.mark.parametrize("bad", [{"brightness": 8.0}, {"sharpness": 4.0}, {"brightness": 250.0}])
def test_dark_blurred_and_overexposed_frames_are_avoided(bad: dict[str, float]) -> None:
    candidates = [candidate(number, float(number), **(bad if number % 3 else {})) for number in range(300)]
    assert all(number % 3 == 0 for number in choose_key_frames(candidates, 50, duration=300.0))


def test_long_dark_scene_is_not_left_out() -> None:
    light = [12.0 if 100 <= number < 200 else 120.0 for number in range(300)]
    candidates = [candidate(number, float(number), brightness=light[number]) for number in range(300)]
    inside = [number for number in choose_key_frames(candidates, 30, duration=300.0) if 100 <= number < 200]
    assert inside
    assert len(inside) < 10


def test_fixed_key_frames_stay_and_others_are_added() -> None:
    candidates = video(200)
    first = choose_key_frames(candidates, 10, duration=200.0)
    more = choose_key_frames(candidates, 20, duration=200.0, fixed=first)
    assert set(first) < set(more)
    assert len(more) == 20
    assert choose_key_frames(candidates, 10, duration=200.0, fixed=first) == first


def test_unmeasured_frames_can_be_chosen() -> None:
    candidates = video(30, sharpness=None, brightness=None, dhash=None)
    assert len(choose_key_frames(candidates, 10, duration=30.0)) == 10


@pytest.mark.skipif(FOLDER is None, reason="no shared footage beside the repository")
def test_real_footage_beats_even_spacing() -> None:
    from bench.footage import footages
    from bench.keyframes import at_equal_intervals, join, key_frames, measured, row

    assert FOLDER is not None
    footage = join([measured(clip) for clip in footages(FOLDER)])
    chosen = key_frames(footage, 50)
    _, _, count, scenes, gap, alike, bits, dark, soft = row(footage, "key frames", chosen)
    _, _, _, even_scenes, _, even_alike, even_bits, even_dark, even_soft = row(
        footage, "even", at_equal_intervals(footage, 50)
    )
    assert count == 50
    assert int(str(scenes).split("/")[0]) > int(str(even_scenes).split("/")[0])
    assert int(str(alike)) < int(str(even_alike)) / 3
    assert int(str(bits)) > int(str(even_bits))
    assert (dark, soft) < (even_dark, even_soft)
    assert float(str(gap)) <= 3
