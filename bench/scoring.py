"""What a way of choosing frames keeps and what it catches, on takes with events and on clean clips.

*Strictly caught*: every source frame from the event's start + 0.35 s to its end is represented by a frame inside the
event, and every one from its end + 0.35 s on by a frame after it. An event of 0.2 s is over before the first rule
applies, so a frame inside it must be kept, and it must be over by the second rule. A slow event (fade, pan, walk) must
get a frame every 2 s, counted from its start to its end.
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
    """Apply the rule for the event's length. `times` are those of all source frames; both lists are sorted."""
    if event.kind in SLOW_SECONDS:
        frames = [event.start, *(time for time in kept if event.start <= time <= event.end), event.end]
        step = float(np.median(np.diff(times)))
        return max(np.diff(frames)) <= SLOW_GAP_SECONDS + step + SOON

    def kept_before(seconds: float) -> float:
        """The timestamp of the kept frame that represents the first source frame at or after `seconds`."""
        shown = times[min(bisect_left(times, seconds - SOON), len(times) - 1)]
        return kept[bisect_right(kept, shown + SOON) - 1]

    is_over = kept_before(event.end + TOLERANCE_SECONDS) >= event.end - SOON
    if event.is_brief:
        return is_over and any(event.start - SOON <= time < event.end - SOON for time in kept)
    follows = times[bisect_left(times, event.start + TOLERANCE_SECONDS - SOON)] < event.end - SOON
    return is_over and (not follows or kept_before(event.start + TOLERANCE_SECONDS) >= event.start - SOON)


def kept_times(frames: Iterable[tuple[float, np.ndarray]], choosers: Sequence[Chooser]) -> list[list[float]]:
    """The timestamps that each chooser keeps; the first frame is always kept."""
    meter = SignalMeter()
    kept: list[list[float]] = [[] for _ in choosers]
    for number, (time, luma) in enumerate(frames):
        signals = meter.measure(luma)
        for chooser, times in zip(choosers, kept, strict=True):
            if chooser.keep(time, luma, signals) or number == 0:
                times.append(time)
    return kept


def verdicts(takes: Sequence[Take], makes: Sequence[Make]) -> list[list[Verdict]]:
    """The verdicts on all events, for each way of choosing."""
    found: list[list[Verdict]] = [[] for _ in makes]
    for take in takes:
        times = take.footage.times.tolist()
        for number, kept in enumerate(kept_times(take.frames(), [make() for make in makes])):
            found[number] += [Verdict(take.footage.name, event, is_caught(event, times, kept)) for event in take.events]
    return found


def kept_shares(clips: Sequence[Footage], makes: Sequence[Make]) -> list[dict[str, float]]:
    """The kept share of each clean clip, and of `all` frames together, for each way of choosing."""
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
    """The share of caught events; NaN without events."""
    caught = [one.is_caught for one in found]
    return sum(caught) / len(caught) if caught else float("nan")
