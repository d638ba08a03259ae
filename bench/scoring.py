"""What a way to choose frames keeps and what it catches, on takes with events and on the clean clips.

*Strictly caught*: every source frame from the event's start + 0.35 s to its end is stood for by a picture from within
it, and from its end + 0.35 s on by one from after it. An event of 0.2 s is over before the first rule asks for
anything, so it must be *seen*, by a picture from within it, and be over by the second rule. A slow one (fade, pan,
walk) must get a picture every 2 s, counted from its start and to its end.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.events import SLOW_SECONDS, SOON, Event, Take
from bench.footage import Footage
from enrich.video.sampling import Chooser
from enrich.video.signals import SignalMeter

TOLERANCE_SECONDS = 0.35
SLOW_GAP_SECONDS = 2.0

Make = Callable[[], Chooser]


@dataclass(frozen=True)
class Verdict:
    """One event and whether it was caught."""

    video: str
    event: Event
    is_caught: bool

    @property
    def length(self) -> str:
        return "slow" if self.event.kind in SLOW_SECONDS else "brief" if self.event.is_brief else "usual"


def is_caught(event: Event, times: Sequence[float], kept: Sequence[float]) -> bool:
    """By the rule for its length; `times` of all source frames and of the kept ones, both sorted."""
    if event.kind in SLOW_SECONDS:
        pictures = [event.start, *(time for time in kept if event.start <= time <= event.end), event.end]
        step = float(np.median(np.diff(times)))
        return max(np.diff(pictures)) <= SLOW_GAP_SECONDS + step + SOON

    def stood_for_at(moment: float) -> float:
        """When the picture was taken that stands for the first source frame from then on."""
        shown = times[min(bisect_left(times, moment - SOON), len(times) - 1)]
        return kept[bisect_right(kept, shown + SOON) - 1]

    is_over = stood_for_at(event.end + TOLERANCE_SECONDS) >= event.end - SOON
    if event.is_brief:
        return is_over and any(event.start - SOON <= time < event.end - SOON for time in kept)
    follows = times[bisect_left(times, event.start + TOLERANCE_SECONDS - SOON)] < event.end - SOON
    return is_over and (not follows or stood_for_at(event.start + TOLERANCE_SECONDS) >= event.start - SOON)


def kept_times(frames: Iterable[tuple[float, np.ndarray]], choosers: Sequence[Chooser]) -> list[list[float]]:
    """What each chooser keeps; the first frame is always kept."""
    meter = SignalMeter()
    kept: list[list[float]] = [[] for _ in choosers]
    for number, (time, luma) in enumerate(frames):
        signals = meter.measure(luma)
        for chooser, times in zip(choosers, kept, strict=True):
            if chooser.keep(time, luma, signals) or number == 0:
                times.append(time)
    return kept


def verdicts(takes: Sequence[Take], makes: Sequence[Make]) -> list[list[Verdict]]:
    """For each way to choose, all events."""
    found: list[list[Verdict]] = [[] for _ in makes]
    for take in takes:
        times = take.footage.times.tolist()
        for number, kept in enumerate(kept_times(take.frames(), [make() for make in makes])):
            found[number] += [Verdict(take.footage.name, event, is_caught(event, times, kept)) for event in take.events]
    return found


def kept_shares(clips: Sequence[Footage], makes: Sequence[Make]) -> list[dict[str, float]]:
    """For each way to choose, the kept share of each clean clip, and of `all` frames together."""
    shares: list[dict[str, float]] = [{} for _ in makes]
    counts = [0] * len(makes)
    for clip in clips:
        frames = zip(clip.times.tolist(), clip.lumas, strict=True)
        for number, kept in enumerate(kept_times(frames, [make() for make in makes])):
            shares[number][clip.name] = len(kept) / len(clip.times)
            counts[number] += len(kept)
    total = sum(len(clip.times) for clip in clips)
    for share, count in zip(shares, counts, strict=True):
        share["all"] = count / total
    return shares


def recall(found: Iterable[Verdict]) -> float:
    """The share that was caught; not a number if there are none."""
    caught = [one.is_caught for one in found]
    return sum(caught) / len(caught) if caught else float("nan")
