"""The choice of key frames: the best few pictures of a video, spread over its time and its scenes, no two alike.

One is chosen after the other, each time the one that is farthest from all chosen ones, weighed by how good a picture it
is (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985, with weights). How far two pictures are
apart is made of three things: their times, above all up to twice the even spacing; the bits in which their difference
hashes differ; and whether there is a cut between them. A scene without a key frame goes before others. Of near pictures
that look alike one is enough. The same pictures always give the same choice; `bench/keyframes.py` compares it with even
spacing.

A picture that may become a key frame, and how good a picture it is by what was measured in it.
"""

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DARK_LEVELS, DIM_LEVELS = 24.0, 48.0  # of 255, mean luma: fades and black between scenes lie below the first
GLARE_LEVELS = 235.0  # a flash, or a white screen
DARK_QUALITY, GLARE_QUALITY, LEAST_QUALITY = 0.2, 0.4, 0.1
LOCAL_SHARE = 0.4  # how much of a picture's worth is being the sharpest for some time
LOCAL_LIGHT_SHARE = 0.5  # and of its light, being as light as any for some time: whole scenes may be dark
LIGHT_REACH = 4  # times as far is looked for light
TIME_WEIGHT, LOOK_WEIGHT, SCENE_WEIGHT = 0.5, 0.3, 0.2
NEW_SCENE_WORTH = 0.5  # what a picture of a scene that has none yet is farther away
FAR_SPACINGS = 2.0  # even spacings, up to which time counts in full
HOLE_SHARE = 0.3  # and beyond: so that a long dull stretch is not left out
UNLIKE_BITS = 20.0  # of 64, beyond which two pictures are simply different
ALIKE_BITS = 5  # of 64: what differs by no more is the same picture, moved a little
ALIKE_SPACINGS = 2.0  # so long the same picture is not worth a second look
QUALITY_REACH = 0.5  # even spacings within which the sharpest is preferred
SHORTEST_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kept frame, with its signals; None where one was not measured, or where decoding has not come yet."""

    id: int
    timestamp: float  # seconds from the start of the stream
    scene: int | None
    sharpness: float | None  # variance of the Laplacian
    brightness: float | None  # mean luma, 0 to 255
    dhash: int | None  # 64 bits


def qualities(candidates: Sequence[Candidate], *, reach_seconds: float) -> list[float]:
    """How good each picture is, 0.1 to 1: lit, and sharp for this video and for those within `reach_seconds` of it.

    What is sharper than the video's median is no better for it: it has more texture. `candidates` in the order of time.
    """
    times = [candidate.timestamp for candidate in candidates]
    lights = [_light(candidate.brightness) for candidate in candidates]
    bright = [one.sharpness for one in candidates if one.sharpness is not None and not _is_dark(one)]
    usual = statistics.median(bright) if bright else 0.0

    def near(candidate: Candidate, reach: float) -> slice:
        at = candidate.timestamp
        return slice(bisect_left(times, at - reach), bisect_right(times, at + reach))

    found = []
    for candidate, light in zip(candidates, lights, strict=True):
        sharpest = max(one.sharpness or 0.0 for one in candidates[near(candidate, reach_seconds)])
        lightest = max(lights[near(candidate, LIGHT_REACH * reach_seconds)])
        lit = light * (1 - LOCAL_LIGHT_SHARE) + light / lightest * LOCAL_LIGHT_SHARE
        sharp = _share(candidate.sharpness, usual)
        local = 1 - LOCAL_SHARE + LOCAL_SHARE * _share(candidate.sharpness, sharpest)
        found.append(max(LEAST_QUALITY, lit * sharp * local))
    return found


def _share(sharpness: float | None, of: float) -> float:
    """How sharp, at most 1; what was not measured is taken for ordinary."""
    return 1.0 if sharpness is None or of <= 0 else min(1.0, sharpness / of)


def _light(brightness: float | None) -> float:
    if brightness is None:
        return 1.0
    if brightness < DIM_LEVELS:
        return DARK_QUALITY + (1 - DARK_QUALITY) * max(0.0, (brightness - DARK_LEVELS) / (DIM_LEVELS - DARK_LEVELS))
    return GLARE_QUALITY if brightness > GLARE_LEVELS else 1.0


def _is_dark(candidate: Candidate) -> bool:
    return candidate.brightness is not None and candidate.brightness < DARK_LEVELS


def choose(
    candidates: Sequence[Candidate], count: int, *, duration: float | None = None, fixed: Collection[int] = ()
) -> list[int]:
    """The ids of at most `count` key frames, in the order of time; fewer where the rest would look like them.

    `duration` in seconds; without one the last picture's time is taken for it. Those of the ids `fixed` are chosen
    before all others.
    """
    ordered = sorted(candidates, key=lambda one: (one.timestamp, one.id))
    if not ordered or count < 1:
        return []
    length = max(duration or 0.0, ordered[-1].timestamp, SHORTEST_SECONDS)
    spacing = length / count
    pictures = _CandidateSet(ordered, spacing)
    quality = np.array(qualities(ordered, reach_seconds=QUALITY_REACH * spacing))
    given = [place for place, one in enumerate(ordered) if one.id in fixed]
    chosen = given[:count] or [int(np.argmax(quality))]
    distance = np.full(len(ordered), np.inf)
    is_open = np.ones(len(ordered), bool)
    for place in chosen:
        distance = np.minimum(distance, pictures.distances(place))
        is_open &= ~pictures.alike(place)
    while len(chosen) < count:
        worth = np.where(is_open, (distance + NEW_SCENE_WORTH * pictures.of_new_scenes(chosen)) * quality, -1.0)
        best = int(np.argmax(worth))  # the earliest of several
        if worth[best] <= 0:
            break
        chosen.append(best)
        distance = np.minimum(distance, pictures.distances(best))
        is_open &= ~pictures.alike(best)
    return [ordered[place].id for place in sorted(chosen)]


class _CandidateSet:
    """All candidates of a video, in the order of time, to be compared with one of them at a time."""

    def __init__(self, ordered: Sequence[Candidate], spacing: float) -> None:
        self._times = np.array([one.timestamp for one in ordered]) / spacing
        self._hashes = np.array([one.dhash or 0 for one in ordered], np.uint64)
        self._is_hashed = np.array([one.dhash is not None for one in ordered])
        self._scenes = np.array([-1 if one.scene is None else one.scene for one in ordered])

    def distances(self, place: int) -> NDArray[np.float64]:
        """How far every picture is from one of them: 1 for one that is different and twice the even spacing away."""
        times = np.abs(self._times - self._times[place]) / FAR_SPACINGS
        times = np.where(times <= 1, times, 1 + HOLE_SHARE * (times - 1))
        looks = np.minimum(self._bits(place) / UNLIKE_BITS, 1.0)
        are_known = (self._scenes >= 0) & (self._scenes[place] >= 0)
        scenes = np.where(are_known, self._scenes != self._scenes[place], looks)  # where no cut is known, looks tell
        return np.asarray(TIME_WEIGHT * times + LOOK_WEIGHT * looks + SCENE_WEIGHT * scenes, np.float64)

    def alike(self, place: int) -> NDArray[np.bool_]:
        """Which pictures need not be looked at once this one is: itself, and near ones that look the same."""
        is_near = np.abs(self._times - self._times[place]) < ALIKE_SPACINGS
        is_same = is_near & (self._bits(place) <= ALIKE_BITS) & self._is_hashed & self._is_hashed[place]
        is_same[place] = True
        return np.asarray(is_same, np.bool_)

    def of_new_scenes(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """Which pictures are of a scene, where cuts are known, that none of these is of."""
        return np.asarray((self._scenes >= 0) & ~np.isin(self._scenes, self._scenes[list(places)]), np.bool_)

    def _bits(self, place: int) -> NDArray[np.float64]:
        return np.asarray(np.bitwise_count(self._hashes ^ self._hashes[place]), np.float64)
