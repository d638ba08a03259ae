"""Curves of recall against kept share: `strict`, `normal`, `loose`, other paces, and sampling at regular intervals.

`python -m bench.recall --out docs` writes likeness.csv (every point, by length, kind and video), likeness-tables.md
and likeness.svg. Takes some minutes of one core; `--part 4` uses a quarter of the events.
"""

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.chart import Line, chart
from bench.events import KINDS, takes
from bench.footage import CACHE, VIDEOS, Footage, cut_outs, footages
from bench.scoring import Make, Verdict, kept_shares, recall, verdicts
from enrich.video.distinct import PACES, DistinctFrames, SamplingPace
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.sampling import parse_sampling
from enrich.video.signals import SignalMeter

EVEN_SECONDS = (0.2, 0.25, 0.3, 0.34, 0.36, 0.38, 0.4, 0.41, 0.42, 0.44, 0.47, 0.5, 0.55, 0.6, 0.7, 0.85, 1.0, 1.5, 2.0)
PACE_SECONDS = (0.2, 0.3, 0.5, 0.7, 1.5)  # beside those of the levels
USUAL, BRIEF, SLOW = 1200, 700, 90
SEED = 3
LENGTHS = ("usual", "brief", "slow")


@dataclass(frozen=True)
class Point:
    """One way of choosing frames, and its results."""

    name: str
    shares: dict[str, float]
    verdicts: list[Verdict]

    @property
    def is_even(self) -> bool:
        return self.name.startswith("every")

    def recall(self, length: str, where: Callable[[Verdict], bool] = lambda _: True) -> float:
        return recall(one for one in self.verdicts if one.length == length and where(one))


def main() -> None:
    """Measure, print, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, default=VIDEOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, help="folder for the csv, the tables and the chart")
    parser.add_argument("--part", type=int, default=1, help="use only every n-th clip with events")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--levels-only", action="store_true", help="skip other paces, which is faster")
    given = parser.parse_args()
    clips = footages(given.videos, given.cache)
    people = cut_outs(given.videos, given.cache)
    placed = takes(clips, people, usual=USUAL, brief=BRIEF, slow=SLOW, seed=given.seed)[:: given.part]
    makes = ways(levels_only=given.levels_only)
    points = [
        Point(name, shares, found)
        for name, shares, found in zip(
            makes, kept_shares(clips, list(makes.values())), verdicts(placed, list(makes.values())), strict=True
        )
    ]
    text = "\n\n".join([summary(points), tables(points), f"Cost of `normal`: {cost(clips):.2f} ms per frame."])
    print(text)
    if given.out:
        (given.out / "likeness-tables.md").write_text(text + "\n", encoding="utf-8")
        write_csv(given.out / "likeness.csv", points)
        (given.out / "likeness.svg").write_text(svg(points), encoding="utf-8")


def ways(*, levels_only: bool) -> dict[str, Make]:
    """All ways of choosing frames, by name."""
    found: dict[str, Make] = {str(level): parse_sampling(f"distinct:{level}").chooser for level in LikenessLevel}
    if not levels_only:
        usual = PACES[LikenessLevel.NORMAL]
        threshold = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)
        for seconds in PACE_SECONDS:
            pace = SamplingPace(seconds, usual.sudden_ratio)
            found[f"pace {seconds:g} s"] = lambda pace=pace: DistinctFrames(DEFAULT_LIKENESS, threshold, pace)
    for seconds in EVEN_SECONDS:
        found[f"every={seconds:g}s"] = parse_sampling(f"every={seconds:g}s").chooser
    return found


def summary(points: Sequence[Point]) -> str:
    """The key figures of `normal`."""
    normal = next(point for point in points if point.name == "normal")
    even = sorted((point for point in points if point.is_even), key=lambda point: point.shares["all"])
    usual, share = normal.recall("usual"), normal.shares["all"]
    same_recall = next((point for point in even if point.recall("usual") >= usual), even[-1])
    same_share = next(
        (point for point in even if point.shares["all"] >= share), even[-1]
    )  # the next denser one, which favours it
    misses, even_misses = 1 - normal.recall("brief"), 1 - same_share.recall("brief")
    counts = {length: sum(one.length == length for one in normal.verdicts) for length in LENGTHS}
    lines = (
        f"Events: {counts['usual']} of 0.5 to 1.2 s, {counts['brief']} of 0.2 s, {counts['slow']} slow ones.",
        f"`normal` strictly catches {usual:.1%} of the events of 0.5 to 1.2 s, keeping {share:.2%} of the frames.",
        f"The sparsest regular interval with that recall, `{same_recall.name}`, keeps {same_recall.shares['all']:.2%}:",
        f"`normal` keeps {share / same_recall.shares['all']:.2f} of that.",
        f"Of the events of 0.2 s `normal` misses {misses:.1%}; `{same_share.name}`, which keeps",
        f"{same_share.shares['all']:.2%}, misses {even_misses:.1%}: {misses / even_misses:.2f} of its misses.",
        f"Slow events: `normal` {normal.recall('slow'):.1%}.",
    )
    return "\n".join(lines)


def tables(points: Sequence[Point]) -> str:
    """Recall and kept share of every point, by kind and by video."""
    videos = sorted({one.video for point in points for one in point.verdicts})
    shown = [p for p in points if not p.is_even or p.name in ("every=0.34s", "every=0.4s", "every=0.5s", "every=1s")]
    shown = [p for p in shown if not p.name.startswith("pace")]
    parts = [
        _table(
            ["", "kept", *LENGTHS],
            [[p.name, p.shares["all"], *map(p.recall, LENGTHS)] for p in sorted(points, key=lambda p: p.shares["all"])],
        )
    ]
    for length in ("usual", "brief"):
        rows = [[p.name, *(p.recall(length, lambda one, k=k: one.event.kind == k) for k in KINDS)] for p in shown]
        parts.append(f"Recall by kind, {length} events:\n\n" + _table(["", *KINDS], rows))
        rows = [[p.name, *(p.recall(length, lambda one, v=v: one.video == v) for v in videos)] for p in shown]
        parts.append(f"Recall by video, {length} events:\n\n" + _table(["", *videos], rows))
    rows = [[p.name, *(p.shares[video] for video in videos)] for p in shown]
    parts.append("Kept share of the clean videos:\n\n" + _table(["", *videos], rows))
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    lines = [head, ["---"] * len(head)]
    lines += [[cell if isinstance(cell, str) else f"{cell * 100:.1f} %" for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_csv(path: Path, points: Sequence[Point]) -> None:
    """A row for each point and group: length, kind, video, events, recall, kept share."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sampling", "length", "kind", "video", "events", "recall", "kept_share"])
        for point in points:
            for length in LENGTHS:
                found = [one for one in point.verdicts if one.length == length]
                kinds, videos = ({one.event.kind for one in found}, {one.video for one in found})
                groups = [("", "")] + [(kind, "") for kind in sorted(kinds)] + [("", video) for video in sorted(videos)]
                for kind, video in groups:
                    some = [one for one in found if kind in ("", one.event.kind) and video in ("", one.video)]
                    share = point.shares[video or "all"]
                    writer.writerow([point.name, length, kind, video, len(some), f"{recall(some):.4f}", f"{share:.4f}"])


def svg(points: Sequence[Point]) -> str:
    """The chart of recall against kept share, for usual and brief events."""
    lines = []
    for length in ("usual", "brief"):
        for is_even in (False, True):
            some = sorted((p for p in points if p.is_even == is_even), key=lambda p: p.shares["all"])
            positions = [(p.shares["all"], p.recall(length)) for p in some]
            names = [p.name if p.name in tuple(LikenessLevel) else "" for p in some]
            label = f"{'every=' if is_even else 'distinct'}, {'0.2 s' if length == 'brief' else '0.5 to 1.2 s'}"
            lines.append(Line(label, positions, names, is_dashed=length == "brief", is_first=not is_even))
    return chart(lines, x="kept share of the clean videos", y="strictly caught", x_most=0.3)


def cost(clips: Sequence[Footage]) -> float:
    """Mean thread time per frame of choosing, in milliseconds, without the signals."""
    seconds, frames = 0.0, 0
    for clip in clips:
        meter, chooser = SignalMeter(), parse_sampling("distinct:normal").chooser()
        for timestamp, luma in zip(clip.times.tolist(), clip.lumas, strict=True):
            signals = meter.measure(luma)
            start = time.thread_time()
            chooser.keep(timestamp, luma, signals)
            seconds += time.thread_time() - start
            frames += 1
    return seconds / frames * 1000


if __name__ == "__main__":
    main()
