"""Key frames against even spacing, on the films of a folder: how spread, how different, how good they are.

    python -m bench.keyframes FOLDER [--count 12]

The last film is all of them in a row. Key frames are chosen from the frames that extraction keeps; even spacing takes
as many source frames, in the middles of even stretches. `scenes`: reached by the choice, of those there are. `gap`: the
longest stretch without a picture, in even spacings. `alike`: pictures that are like an earlier one of the choice, by
the measure that says what is kept. `bits`: in how many of 64 a picture's hash differs from the most similar other
one's, in the median. `dark`: below 24 of 255. `soft`: less than half as sharp as the film's usual picture.
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
HEADINGS = ("film", "choice", "frames", "scenes", "gap", "alike", "bits", "dark", "soft")
ALIKE = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)
SOFT_SHARE = 0.5


@dataclass(frozen=True)
class Film:
    """A clip with all that is measured in it."""

    name: str
    lumas: Sequence[Luma]
    times: NDArray[np.float64]  # seconds
    signals: list[Signals]
    scenes: list[int]
    kept: list[int]  # numbers of the frames that extraction keeps


def measured(clip: Footage) -> Film:
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
    return Film(clip.name, list(clip.lumas), clip.times, signals, scenes, kept)


def strung(films: Sequence[Film]) -> Film:
    """All films in a row, as one."""
    whole = Film("all in a row", [], np.zeros(0), [], [], [])
    for film in films:
        step = float(np.median(np.diff(film.times)))
        start = float(whole.times[-1]) + step if len(whole.times) else 0.0
        scene = whole.scenes[-1] + 1 if whole.scenes else 0
        whole = Film(
            whole.name,
            [*whole.lumas, *film.lumas],
            np.concatenate([whole.times, film.times + start]),
            [*whole.signals, *film.signals],
            [*whole.scenes, *(number + scene for number in film.scenes)],
            [*whole.kept, *(number + len(whole.lumas) for number in film.kept)],
        )
    return whole


def key_frames(film: Film, count: int) -> list[int]:
    """The numbers of the key frames."""
    candidates = []
    for number in film.kept:
        found = film.signals[number]
        time = float(film.times[number])
        candidates.append(Candidate(number, time, film.scenes[number], found.sharpness, found.brightness, found.dhash))
    return choose_key_frames(candidates, count, duration=float(film.times[-1]))


def evenly(film: Film, count: int) -> list[int]:
    """The numbers of the frames in the middles of even stretches."""
    times = film.times
    middles = (np.arange(count) + 0.5) * float(times[-1]) / count
    return sorted({int(np.abs(times - middle).argmin()) for middle in middles})


def row(film: Film, choice: str, numbers: Sequence[int]) -> tuple[object, ...]:
    """What is printed of a choice."""
    length = float(film.times[-1])
    times = [0.0, *(float(film.times[number]) for number in numbers), length]
    spacing = length / len(numbers)
    hashes = [film.signals[number].dhash for number in numbers]
    nearest = [
        min((one ^ other).bit_count() for place, other in enumerate(hashes) if place != own) if len(hashes) > 1 else 64
        for own, one in enumerate(hashes)
    ]
    alike = sum(
        any(DEFAULT_LIKENESS.measure(film.lumas[before], film.lumas[number]) >= ALIKE for before in numbers[:place])
        for place, number in enumerate(numbers)
    )
    usual = statistics.median(one.sharpness for one in film.signals)
    return (
        film.name[:24],
        choice,
        len(numbers),
        f"{len({film.scenes[number] for number in numbers})}/{len(set(film.scenes))}",
        f"{max(np.diff(times)) / spacing:.1f}",
        alike,
        f"{statistics.median(nearest):.0f}",
        sum(film.signals[number].brightness < DARK_LEVELS for number in numbers),
        sum(film.signals[number].sharpness < SOFT_SHARE * usual for number in numbers),
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12, help="key frames wanted of each")
    given = parser.parse_args()
    print(ROW.format(*HEADINGS))
    films = [measured(clip) for clip in footages(given.folder)]
    for film in [*films, strung(films)]:
        chosen = key_frames(film, given.count)
        print(ROW.format(*row(film, "key frames", chosen)))
        print(ROW.format(*row(film, "even", evenly(film, len(chosen)))), flush=True)


if __name__ == "__main__":
    main()
