"""Coverage order: how even the gaps are at any time, and how many events are found per call.

Videos of 10 to 30 minutes are strung together from real footage with events of `bench.events` on it: no event on half
of the takes, one on a quarter, three to eight within half a minute on a quarter. Frames are those that `distinct` keeps
at `normal`. Every video is skimmed first, at 50 targets; each frame is at a random position within its target. Then
frames are described in the order of the worker's own modules (`CoverageOrder`, `GapQueue`, `has_room`), and in rival
orders.

Descriptions are simulated: the words of a place, of a scene (between cuts) and of an event, a quarter of them left out,
and six words of noise, so that two descriptions of the same scene share less than half of their words.

An event is found when a frame inside it has been described. The largest gap is the longest time that no described frame
stands for, relative to the video's length ÷ its described frames; the worst video counts.
"""

import argparse
import random
import statistics
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

from bench.events import AROUND_SECONDS, Event, Take, takes
from bench.footage import CACHE, VIDEOS, cut_outs, footages
from enrich.schedule.coverage import COVERAGE_CALLS_PER_GAP_FILL, CoverageOrder
from enrich.schedule.gap_filling import Gap, GapQueue, has_room, signature
from enrich.video.sampling import parse_sampling
from enrich.video.signals import SignalMeter

EVENTS = {"usual": 240, "brief": 120, "slow": 24}  # on all takes of a seed together
SEEDS = range(21, 31)  # not used for choosing any rule
VIDEO_COUNT = 8
VIDEO_SECONDS = (600.0, 1800.0)
COMPANY = (3, 8)  # events
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
PLACE_WORDS, SCENE_WORDS, EVENT_WORDS, NOISE_WORDS = 7, 7, 6, 6
SPOKEN_SHARE = 0.75  # of the fitting words are in a description
VOCABULARY = 3000
EVEN, FILLED, MIDDLES, LONGEST, SHUFFLED, IN_TURN = ORDERS = (
    "coverage order",
    "coverage order with gap filling",
    "… in their middle",
    "… the longest, regardless of descriptions",
    "at random",
    "video after video",
)


@dataclass(frozen=True)
class Stretch:
    """A take after `distinct` sampling; times in seconds from its start."""

    clip: str
    seconds: float
    kept: Sequence[float]
    cuts: Sequence[float]
    events: Sequence[Event]


@dataclass(frozen=True)
class PlacedEvent:
    """An event in a video."""

    start: float
    end: float
    words: tuple[str, ...]
    is_alone: bool


@dataclass
class Video:
    """One video. `kept` are the times of its kept frames, `skimmed` those found by the skim, coarse to fine."""

    number: int
    seconds: float
    kept: list[float]
    skimmed: list[float]
    scenes: list[tuple[float, tuple[str, ...]]]  # when each begins, and its words
    events: list[PlacedEvent]
    taken: list[float] = field(default_factory=list)  # described so far, in the order of time
    found: set[int] = field(default_factory=set)  # events, by place

    def describe(self, at: float) -> None:
        insort(self.taken, at)
        self.found |= {place for place, event in enumerate(self.events) if event.start <= at < event.end}

    def describe_at(self, at: float, rng: random.Random) -> int:
        """The signature of a simulated description of the frame at a time."""
        scene = self.scenes[bisect_right(self.scenes, at, key=lambda one: one[0]) - 1][1]
        fitting = [*scene, *(word for one in self.events if one.start <= at < one.end for word in one.words)]
        noise = (f"noise{rng.randrange(VOCABULARY)}" for _ in range(NOISE_WORDS))
        return signature(" ".join(word for word in fitting if rng.random() < SPOKEN_SHARE), noise)

    def until(self, at: float) -> float:
        """The end of the time that the kept frame at `at` stands for."""
        place = bisect_right(self.kept, at)
        return self.kept[place] if place < len(self.kept) else self.seconds

    def unevenness(self) -> float:
        """The longest time that no described frame stands for, relative to even spacing."""
        ends = [0.0, *(self.until(at) for at in self.taken)]
        longest = max(after - end for end, after in zip(ends, [*self.taken, self.seconds], strict=True))
        return longest * len(self.taken) / self.seconds


def stretches(videos: Path, cache: Path, seed: int) -> list[list[Stretch]]:
    """Each take of a seed: without events, with one event, and with several close together."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    clips, people = footages(videos, cache), cut_outs(videos, cache)
    made: list[list[Stretch]] = [[], [], []]
    for take in takes(clips, people, **EVENTS, seed=seed):
        first, count = rng.randrange(len(take.events)), rng.randint(*COMPANY)
        some = take.events[max(0, min(first, len(take.events) - count)) :][:count]
        made[0].append(_stretch(take, []))
        if len(some) >= COMPANY[0] and rng.random() < 0.5:
            made[2].append(_stretch(take, some))
        else:
            made[1].append(_stretch(take, [take.events[first]]))
    return made


def _stretch(take: Take, events: list[Event]) -> Stretch:
    meter, chooser = SignalMeter(), parse_sampling("distinct:normal").chooser()
    kept, cuts = [0.0], []
    for (time, painted), clean in zip(take.frames(), take.footage.lumas, strict=True):
        is_shown = any(one.start - AROUND_SECONDS <= time < one.end + AROUND_SECONDS for one in events)
        luma = painted if is_shown else clean
        signals = meter.measure(luma)
        if chooser.keep(time, luma, signals) and time:
            kept.append(time)
        if signals.is_cut:
            cuts.append(time)
    return Stretch(take.footage.name, take.footage.seconds, kept, cuts, events)


def make_video(number: int, made: list[list[Stretch]], rng: random.Random) -> Video:
    """String stretches together and skim them."""
    wanted = rng.uniform(*VIDEO_SECONDS)
    row: list[Stretch] = []
    while sum(one.seconds for one in row) < wanted:
        row.append(rng.choice(made[rng.choices((0, 1, 2), (2, 1, 1))[0]]))
    begins = [0.0, *accumulate(one.seconds for one in row)]
    video = Video(number, begins[-1], [], [], [], [])
    for begin, one in zip(begins, row, strict=False):
        for cut in (0.0, *one.cuts):
            place = [f"place{number}{one.clip}x{n}" for n in range(PLACE_WORDS)]
            scene = [f"scene{number}x{len(video.scenes)}x{n}" for n in range(SCENE_WORDS)]
            video.scenes.append((begin + cut, (*place, *scene)))
        for event in one.events:
            words = tuple(f"event{number}x{len(video.events)}x{n}" for n in range(EVENT_WORDS))
            video.events.append(PlacedEvent(begin + event.start, begin + event.end, words, len(one.events) == 1))
        video.kept += [begin + time for time in one.kept]
    even = CoverageOrder(video.seconds)
    video.skimmed = [rng.uniform(target.earliest, target.latest) for target in even.targets(1, even.skim_count())]
    video.kept = sorted({*video.kept, *video.skimmed})
    return video


def coverage_order(videos: list[Video]) -> list[tuple[int, Video, float]]:
    """All frames except skimmed ones, with their priorities, in coverage order."""
    waiting = []
    for video in videos:
        even, known = CoverageOrder(video.seconds), set(video.skimmed)
        for start, end in pairwise([*video.kept, video.seconds]):
            if start not in known:
                priority = even.priority(start, end, after=len(known), skimmed=video.skimmed)
                waiting.append((priority, video, start))
    return sorted(waiting, key=lambda one: -one[0])


def calls(name: str, videos: list[Video], rng: random.Random) -> Iterator[tuple[Video, float]]:
    """Yield the frames in the order of their calls, after describing each."""
    rest, gap_queue, done = coverage_order(videos), GapQueue(), {video.number: set(video.skimmed) for video in videos}
    if name == SHUFFLED:
        rng.shuffle(rest)
    if name == IN_TURN:
        rest.sort(key=lambda one: (one[1].number, one[2]))

    def described(video: Video, at: float) -> tuple[Video, float]:
        done[video.number].add(at)
        video.describe(at)
        gap_queue.learn(video.number, at, rng.getrandbits(256) if name == LONGEST else video.describe_at(at, rng))
        return video, at

    skim = [(rank, video.number, video, at) for video in videos for rank, at in enumerate(video.skimmed)]
    for _, _, video, at in sorted(skim, key=lambda one: one[:2]):
        yield described(video, at)
    coverage_calls: Counter[int] = Counter()
    for priority, video, at in rest:
        if at in done[video.number]:
            continue
        yield described(video, at)
        coverage_calls[video.number] += 1
        is_due = name in (FILLED, MIDDLES, LONGEST) and coverage_calls[video.number] % COVERAGE_CALLS_PER_GAP_FILL == 0
        if not is_due or not has_room(priority / 1000, len(video.taken), CoverageOrder(video.seconds)):
            continue
        while (gap := gap_queue.take(video.number)) is not None:
            inside = video.kept[bisect_right(video.kept, gap.start) : bisect_left(video.kept, gap.end)]
            waiting = [time for time in inside if time not in done[video.number]]
            if waiting:
                yield described(video, gap_frame(video, gap, waiting, by_middle=name == MIDDLES))
                break


def gap_frame(video: Video, gap: Gap, waiting: list[float], *, by_middle: bool = False) -> float:
    """The frame that fills a gap, as in `db.editing.prioritize_middle`; `by_middle`: the nearest to the middle."""

    def from_middle(at: float) -> float:
        return abs(at - (gap.start + gap.end) / 2)

    central = [at for at in waiting if from_middle(at) <= (gap.end - gap.start) / 4]
    if by_middle or not central:
        return min(waiting, key=from_middle)
    return min(central, key=lambda at: video.until(at) - at)


@dataclass
class Result:
    """The result of one order on the videos of one seed."""

    unevenness: dict[int, float] = field(default_factory=dict)  # by per cent of the calls: of the worst video
    found: dict[float, tuple[float, float, float]] = field(default_factory=dict)  # by share: alone, in company, all


def run(name: str, videos: list[Video], seed: int) -> Result:
    """Describe all frames in one order."""
    for video in videos:
        video.taken.clear()
        video.found.clear()
    rng = random.Random(seed)  # noqa: S311  # no secret
    total = sum(len(video.kept) for video in videos)
    percentages = {round(total * percent / 100): percent for percent in range(1, 100)}
    shares = {round(total * share): share for share in SHARES}
    result = Result()
    for count, _ in enumerate(calls(name, videos, rng), 1):
        if count in percentages:
            result.unevenness[percentages[count]] = max(video.unevenness() for video in videos)
        if count in shares:
            events = [(event.is_alone, n in video.found) for video in videos for n, event in enumerate(video.events)]
            kinds = ([ok for alone, ok in events if alone], [ok for alone, ok in events if not alone])
            alone, company, both = (sum(one) / max(1, len(one)) for one in (*kinds, kinds[0] + kinds[1]))
            result.found[shares[count]] = (alone, company, both)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=VIDEOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--count", type=int, default=VIDEO_COUNT, help="videos per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    results: dict[str, list[Result]] = {name: [] for name in ORDERS}
    for seed in given.seeds:
        made, rng = stretches(given.videos, given.cache, seed), random.Random(seed)  # noqa: S311  # no secret
        videos = [make_video(number, made, rng) for number in range(given.count)]
        hours = sum(video.seconds for video in videos) / 3600
        frames, events = sum(len(video.kept) for video in videos), sum(len(video.events) for video in videos)
        print(f"Seed {seed}: {len(videos)} videos, {hours:.1f} hours, {frames:,} kept frames, {events:,} events.")
        for name in ORDERS:
            results[name].append(run(name, videos, seed))
    print("\n" + gaps_table(results) + "\n\n" + events_table(results))


def gaps_table(results: dict[str, list[Result]]) -> str:
    """The worst gap of all videos and seeds, at any percentage of the calls and at selected ones."""
    lines = ["| order | worst of all | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"]
    lines.append("|---|" + "--:|" * (len(SHARES) + 1))
    for name, runs in results.items():
        worst = {percent: max(one.unevenness[percent] for one in runs) for percent in runs[0].unevenness}
        cells = [max(worst.values()), *(worst[round(100 * share)] for share in SHARES)]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def events_table(results: dict[str, list[Result]]) -> str:
    """Events found: the mean over the seeds, and the mean and spread of the difference from the coverage order."""
    lines = ["| order | events | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"]
    lines.append("|---|---|" + "--:|" * len(SHARES))
    for name, runs in results.items():
        for kind, label in enumerate(("alone", "close together", "all")):
            cells = []
            for share in SHARES:
                values = [one.found[share][kind] for one in runs]
                off = [value - even.found[share][kind] for value, even in zip(values, results[EVEN], strict=True)]
                spread = statistics.stdev(off) if len(off) > 1 else 0.0
                beside = "" if name == EVEN else f" ({statistics.mean(off) * 100:+.1f} ± {spread * 100:.1f})"
                cells.append(f"{statistics.mean(values):.1%}{beside}")
            lines.append(f"| {name} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
