"""A picture that may become a key frame, and how good a picture it is by what was measured in it."""

import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

DARK_LEVELS, DIM_LEVELS = 24.0, 48.0  # of 255, mean luma: fades and black between scenes lie below the first
GLARE_LEVELS = 235.0  # a flash, or a white screen
DARK_QUALITY, GLARE_QUALITY, LEAST_QUALITY = 0.2, 0.4, 0.1
LOCAL_SHARE = 0.4  # how much of a picture's worth is being the sharpest for some time
LOCAL_LIGHT_SHARE = 0.5  # and of its light, being as light as any for some time: whole scenes may be dark
LIGHT_REACH = 4  # times as far is looked for light


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
