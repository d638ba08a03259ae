"""The bench's events are what they say they are."""

import av
import cv2
import numpy as np
import pytest

from bench.events import CONTRAST_LEVELS, KINDS, Event, takes
from bench.footage import CutOut, Footage
from bench.scoring import is_caught
from bench.sprite import Sprite
from enrich.video.signals import LumaShrinker

FPS = 25


def soft(seed, shape, low=0, high=255):
    noise = np.random.default_rng(seed).normal(0, 1, (9, 16)).astype(np.float32)
    return cv2.normalize(
        cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), None, low, high, cv2.NORM_MINMAX
    )


@pytest.fixture
def made():
    clips = [
        Footage(name, np.stack([soft(seed, (180, 320), level, level + 70).astype(np.uint8)] * 90), np.arange(90) / FPS)
        for seed, (name, level) in enumerate({"one": 90, "two": 10}.items())
    ]
    people = [CutOut(np.zeros((80, 30), np.float32), np.ones((80, 30), np.float32))]
    return lambda seed: takes(clips, people, usual=28, brief=28, slow=6, seed=seed)


def test_events_follow_from_their_seed(made):
    one, again, other = (
        [(event, [luma.tobytes() for _, luma in take.frames()][60]) for take in made(seed) for event in take.events]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_every_kind_has_its_number_of_events_and_all_are_visible(made):
    events = [event for take in made(1) for event in take.events]
    assert {event.kind for event in events} >= {*KINDS, "fade"}
    assert sum(not event.is_brief and event.kind in KINDS for event in events) >= 28
    assert sum(event.is_brief for event in events) >= 28
    assert all(event.contrast >= CONTRAST_LEVELS for event in events if event.kind in KINDS)
    for event in events:
        seconds = event.end - event.start
        if event.kind in KINDS:
            assert seconds == pytest.approx(0.2) if event.is_brief else 0.5 - 0.001 <= seconds <= 1.2 + 1 / FPS


def test_painted_content_is_visible_during_the_event_only(made):
    take, event = next((t, e) for t in made(1) for e in t.events if e.kind == "appears")
    for (time, luma), clean in zip(take.frames(), take.footage.lumas, strict=True):
        if abs(time - event.start) < 1.0 or event.start <= time < event.end:
            assert (luma != clean).any() == (event.start <= time < event.end)


def test_compositing_commutes_with_luma_reduction():
    scene, person = soft(1, (720, 1280)).astype(np.float32), soft(2, (240, 120), 0, 90)
    alpha = np.zeros((240, 120), np.float32)
    cv2.ellipse(alpha, (60, 120), (56, 116), 0, 0, 360, 1.0, -1)
    full = scene.copy()
    full[200:440, 400:520] += alpha * (person - full[200:440, 400:520])

    def shrunk(luma):
        return LumaShrinker().shrink(av.VideoFrame.from_ndarray(luma.round().astype(np.uint8), format="gray"))

    size = (30, 60)
    sprite = Sprite(*(cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (person, alpha)))
    small = sprite.at(lambda _: (100.0, 50.0))(shrunk(scene), 0.0)
    difference = cv2.absdiff(small, shrunk(full))
    inside = sprite.mask((100.0, 50.0), small.shape)
    assert difference[inside].mean() < 2
    assert difference[cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0].max() <= 6


@pytest.mark.parametrize(
    ("kept", "caught"),
    [
        ([0.0, 1.0, 2.0], True),
        ([0.0, 1.32, 2.32], True),
        ([0.0, 1.4, 2.0], False),  # too late for frames inside
        ([0.0, 1.0, 2.4], False),  # too late for what comes after
        ([0.0, 0.96, 2.0], False),  # not from within
    ],
)
def test_strictly_caught_allows_a_third_of_a_second(kept, caught):
    times = (np.arange(100) / FPS).tolist()
    assert is_caught(Event("appears", 1.0, 2.0), times, kept) == caught


@pytest.mark.parametrize(
    ("kept", "caught"), [([0.0, 1.16, 1.4], True), ([0.0, 1.16, 1.6], False), ([0.0, 0.96, 1.4], False)]
)
def test_a_brief_event_must_be_caught_before_it_ends(kept, caught):
    times = (np.arange(100) / FPS).tolist()
    assert is_caught(Event("appears", 1.0, 1.2, is_brief=True), times, kept) == caught
