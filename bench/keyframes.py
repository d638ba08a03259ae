"""Key frame selection compared with even spacing, on the videos of a folder: spread, variety and quality.

    python -m bench.keyframes FOLDER [--count 12]

The last video is all of them in a row. Key frames are selected from the frames that extraction keeps. Even spacing
takes as many source frames, in the middle of equal intervals. `scenes`: scenes reached, of all scenes. `gap`: the
longest stretch without a selected frame, relative to even spacing. `alike`: frames that are like an earlier selected
one, by the likeness used for sampling. `bits`: median Hamming distance (of 64) between a frame's hash and the most
similar other one. `dark`: below 24 of 255. `soft`: less than half as sharp as the video's median frame.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.footage import Footage, footages
from enrich.quick.keyframes import DARK_LEVELS, Candidate, choose_key_frames
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.sampling import parse_sampling
from enrich.video.signals import Luma, SignalMeter, Signals

ROW = "{:<24} {:<10} {:>7} {:>8} {:>6} {:>6} {:>6} {:>6} {:>6}"
HEADINGS = ("video", "selection", "frames", "scenes", "gap", "alike", "bits", "dark", "soft")
ALIKE = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)
SOFT_SHARE = 0.5


@dataclass(frozen=True)
class MeasuredVideo:
    """A clip and its measurements."""

    name: str
    lumas: Sequence[Luma]
    times: NDArray[np.float64]  # seconds
    signals: list[Signals]
    scenes: list[int]
    kept: list[int]  # numbers of the frames that extraction keeps


def measured(clip: Footage) -> MeasuredVideo:
    """Every source frame's signals and scene, and which frames are kept."""
    meter, chooser = SignalMeter(), parse_sampling("distinct").chooser()
    signals: list[Signals] = []
    scenes: list[int] = []
    kept: list[int] = []
    for number, (time, luma) in enumerate(zip(clip.times.tolist(), clip.lumas, strict=True)):
        found = meter.measure(luma)
        signals.append(found)
        scenes.append((scenes[-1] if scenes else 0) + found.is_cut)
        if chooser.keep(time, luma, found) or number == 0:
            kept.append(number)
    return MeasuredVideo(clip.name, list(clip.lumas), clip.times, signals, scenes, kept)


def join(videos: Sequence[MeasuredVideo]) -> MeasuredVideo:
    """All videos in a row, as one."""
    whole = MeasuredVideo("all in a row", [], np.zeros(0), [], [], [])
    for video in videos:
        step = float(np.median(np.diff(video.times)))
        start = float(whole.times[-1]) + step if len(whole.times) else 0.0
        scene = whole.scenes[-1] + 1 if whole.scenes else 0
        whole = MeasuredVideo(
            whole.name,
            [*whole.lumas, *video.lumas],
            np.concatenate([whole.times, video.times + start]),
            [*whole.signals, *video.signals],
            [*whole.scenes, *(number + scene for number in video.scenes)],
            [*whole.kept, *(number + len(whole.lumas) for number in video.kept)],
        )
    return whole


def key_frames(video: MeasuredVideo, count: int) -> list[int]:
    """The indexes of the key frames."""
    candidates = []
    for number in video.kept:
        found = video.signals[number]
        time = float(video.times[number])
        candidates.append(Candidate(number, time, video.scenes[number], found.sharpness, found.brightness, found.dhash))
    return choose_key_frames(candidates, count, duration=float(video.times[-1]))


def at_equal_intervals(video: MeasuredVideo, count: int) -> list[int]:
    """The indexes of the frames in the middle of equal intervals."""
    times = video.times
    middles = (np.arange(count) + 0.5) * float(times[-1]) / count
    return sorted({int(np.abs(times - middle).argmin()) for middle in middles})


def row(video: MeasuredVideo, choice: str, numbers: Sequence[int]) -> tuple[object, ...]:
    """The printed row of one selection."""
    length = float(video.times[-1])
    times = [0.0, *(float(video.times[number]) for number in numbers), length]
    spacing = length / len(numbers)
    hashes = [video.signals[number].dhash for number in numbers]
    nearest = [
        min((one ^ other).bit_count() for place, other in enumerate(hashes) if place != own) if len(hashes) > 1 else 64
        for own, one in enumerate(hashes)
    ]
    alike = sum(
        any(DEFAULT_LIKENESS.measure(video.lumas[before], video.lumas[number]) >= ALIKE for before in numbers[:place])
        for place, number in enumerate(numbers)
    )
    usual = statistics.median(one.sharpness for one in video.signals)
    return (
        video.name[:24],
        choice,
        len(numbers),
        f"{len({video.scenes[number] for number in numbers})}/{len(set(video.scenes))}",
        f"{max(np.diff(times)) / spacing:.1f}",
        alike,
        f"{statistics.median(nearest):.0f}",
        sum(video.signals[number].brightness < DARK_LEVELS for number in numbers),
        sum(video.signals[number].sharpness < SOFT_SHARE * usual for number in numbers),
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12, help="key frames wanted of each")
    given = parser.parse_args()
    print(ROW.format(*HEADINGS))
    videos = [measured(clip) for clip in footages(given.folder)]
    for video in [*videos, join(videos)]:
        chosen = key_frames(video, given.count)
        print(ROW.format(*row(video, "key frames", chosen)))
        print(ROW.format(*row(video, "even", at_equal_intervals(video, len(chosen)))), flush=True)


if __name__ == "__main__":
    main()
