"""Key frame selection: the best few frames of a video, spread over its time and scenes, no two alike.

Frames are chosen one after the other, each time the one with the largest distance from all chosen ones, weighted by its
quality (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985, with weights). The distance of two
frames combines their times (above all up to twice the even spacing), the differing bits of their difference hashes, and
whether a cut lies between them. Scenes without a key frame are preferred. Of nearby frames that look alike only one is
chosen. The selection is deterministic; `bench/keyframes.py` compares it with even spacing.
"""

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DARK_LEVELS, DIM_LEVELS = 24.0, 48.0  # mean luma, of 255; fades and black between scenes are below the first
GLARE_LEVELS = 235.0  # mean luma of a flash or a white screen
DARK_QUALITY, GLARE_QUALITY, MIN_QUALITY = 0.2, 0.4, 0.1
LOCAL_SHARE = 0.4  # part of a frame's quality that depends on being the sharpest nearby
LOCAL_LIGHT_SHARE = 0.5  # part of its light that depends on being the lightest nearby: a whole scene may be dark
LIGHT_REACH = 4  # how much farther than for sharpness "nearby" reaches for light
TIME_WEIGHT, APPEARANCE_WEIGHT, SCENE_WEIGHT = 0.5, 0.3, 0.2
NEW_SCENE_BONUS = 0.5  # added to the distance of a frame whose scene has no key frame yet
FULL_TIME_SPACINGS = 2.0  # in even spacings; up to here time counts in full
BEYOND_SHARE = 0.3  # weight of time beyond that, so that a long dull stretch is not left out
UNLIKE_BITS = 20.0  # of 64; beyond this two frames count as entirely different
ALIKE_BITS = 5  # of 64; up to this two frames show the same
ALIKE_SPACINGS = 2.0  # in even spacings; within this time the same view is not chosen twice
QUALITY_REACH = 0.5  # in even spacings; the sharpest frame within this time is preferred
MIN_DURATION_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kept frame with its signals; None where a signal was not measured or the frame is not decoded yet."""

    id: int
    timestamp: float  # seconds from the start of the stream
    scene: int | None
    sharpness: float | None  # variance of the Laplacian
    brightness: float | None  # mean luma, 0 to 255
    dhash: int | None  # 64 bits


def image_qualities(candidates: Sequence[Candidate], *, reach_seconds: float) -> list[float]:
    """The quality of each frame, 0.1 to 1: well lit, and sharp for this video and its neighbours in `reach_seconds`.

    More sharpness than the video's median is no advantage: it is only texture. `candidates` must be sorted by time.
    """
    times = [candidate.timestamp for candidate in candidates]
    lights = [_light(candidate.brightness) for candidate in candidates]
    bright = [one.sharpness for one in candidates if one.sharpness is not None and not _is_dark(one)]
    median = statistics.median(bright) if bright else 0.0

    def near(candidate: Candidate, reach: float) -> slice:
        at = candidate.timestamp
        return slice(bisect_left(times, at - reach), bisect_right(times, at + reach))

    found = []
    for candidate, light in zip(candidates, lights, strict=True):
        sharpest = max(one.sharpness or 0.0 for one in candidates[near(candidate, reach_seconds)])
        lightest = max(lights[near(candidate, LIGHT_REACH * reach_seconds)])
        lit = light * (1 - LOCAL_LIGHT_SHARE) + light / lightest * LOCAL_LIGHT_SHARE
        sharp = _share(candidate.sharpness, median)
        local = 1 - LOCAL_SHARE + LOCAL_SHARE * _share(candidate.sharpness, sharpest)
        found.append(max(MIN_QUALITY, lit * sharp * local))
    return found


def _share(sharpness: float | None, of: float) -> float:
    """Sharpness relative to a reference, at most 1. An unmeasured frame counts as ordinary."""
    return 1.0 if sharpness is None or of <= 0 else min(1.0, sharpness / of)


def _light(brightness: float | None) -> float:
    if brightness is None:
        return 1.0
    if brightness < DIM_LEVELS:
        return DARK_QUALITY + (1 - DARK_QUALITY) * max(0.0, (brightness - DARK_LEVELS) / (DIM_LEVELS - DARK_LEVELS))
    return GLARE_QUALITY if brightness > GLARE_LEVELS else 1.0


def _is_dark(candidate: Candidate) -> bool:
    return candidate.brightness is not None and candidate.brightness < DARK_LEVELS


def choose_key_frames(
    candidates: Sequence[Candidate], count: int, *, duration: float | None = None, fixed: Collection[int] = ()
) -> list[int]:
    """Choose at most `count` key frames and return their ids in time order; fewer if the rest looks alike.

    `duration` is in seconds; the default is the last frame's time. The ids in `fixed` are chosen before all others.
    """
    ordered = sorted(candidates, key=lambda one: (one.timestamp, one.id))
    if not ordered or count < 1:
        return []
    length = max(duration or 0.0, ordered[-1].timestamp, MIN_DURATION_SECONDS)
    spacing = length / count
    frames = _CandidateSet(ordered, spacing)
    quality = np.array(image_qualities(ordered, reach_seconds=QUALITY_REACH * spacing))
    given = [place for place, one in enumerate(ordered) if one.id in fixed]
    chosen = given[:count] or [int(np.argmax(quality))]
    distance = np.full(len(ordered), np.inf)
    is_open = np.ones(len(ordered), bool)
    for place in chosen:
        distance = np.minimum(distance, frames.distances(place))
        is_open &= ~frames.alike(place)
    while len(chosen) < count:
        score = np.where(is_open, (distance + NEW_SCENE_BONUS * frames.of_new_scenes(chosen)) * quality, -1.0)
        best = int(np.argmax(score))  # the earliest of equals
        if score[best] <= 0:
            break
        chosen.append(best)
        distance = np.minimum(distance, frames.distances(best))
        is_open &= ~frames.alike(best)
    return [ordered[place].id for place in sorted(chosen)]


class _CandidateSet:
    """All candidates of a video in time order, compared with one of them at a time."""

    def __init__(self, ordered: Sequence[Candidate], spacing: float) -> None:
        self._times = np.array([one.timestamp for one in ordered]) / spacing
        self._hashes = np.array([one.dhash or 0 for one in ordered], np.uint64)
        self._is_hashed = np.array([one.dhash is not None for one in ordered])
        self._scenes = np.array([-1 if one.scene is None else one.scene for one in ordered])

    def distances(self, place: int) -> NDArray[np.float64]:
        """The distance of every frame from one of them; 1: entirely different and twice the even spacing away."""
        times = np.abs(self._times - self._times[place]) / FULL_TIME_SPACINGS
        times = np.where(times <= 1, times, 1 + BEYOND_SHARE * (times - 1))
        appearance = np.minimum(self._bits(place) / UNLIKE_BITS, 1.0)
        are_known = (self._scenes >= 0) & (self._scenes[place] >= 0)
        scenes = np.where(are_known, self._scenes != self._scenes[place], appearance)  # the best guess without cuts
        return np.asarray(TIME_WEIGHT * times + APPEARANCE_WEIGHT * appearance + SCENE_WEIGHT * scenes, np.float64)

    def alike(self, place: int) -> NDArray[np.bool_]:
        """Which frames are redundant once this one is chosen: itself, and nearby ones that look the same."""
        is_near = np.abs(self._times - self._times[place]) < ALIKE_SPACINGS
        is_same = is_near & (self._bits(place) <= ALIKE_BITS) & self._is_hashed & self._is_hashed[place]
        is_same[place] = True
        return np.asarray(is_same, np.bool_)

    def of_new_scenes(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """Which frames belong to a known scene that has none of these frames."""
        return np.asarray((self._scenes >= 0) & ~np.isin(self._scenes, self._scenes[list(places)]), np.bool_)

    def _bits(self, place: int) -> NDArray[np.float64]:
        return np.asarray(np.bitwise_count(self._hashes ^ self._hashes[place]), np.float64)
