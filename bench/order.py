"""What the order of description is worth: how even the gaps are at any moment, and how many events are found a call.

Films of 10 to 30 minutes are strung together from real footage with events of `bench.events` on it: on half of the
takes nothing happens, on a quarter one thing, on a quarter three to eight within half a minute. Frames are those that
`distinct` keeps at `normal`. Every film is first looked at in 50 places, each moved at random within its spot.
Then frames are taken in the order of the worker's own modules (`CoverageOrder`, `GapQueue`, `has_room`), and in rival
orders.

Made up are the descriptions: the words of a place, of a scene (between cuts) and of an event, a quarter of them left
out, and as many that mean nothing, so that two of the same scene have less than half of their words in common.

An event is found when a picture from within it has been described. The largest gap is the longest time that no
described picture stands for, as a multiple of the film's length ÷ its described frames; the worst film counts.
"""

import argparse
import random
import statistics
import sys
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.events import AROUND_SECONDS, Event, Take, takes
from bench.footage import CACHE, VIDEOS, cut_outs, footages
from enrich.schedule.coverage import COVERAGE_CALLS_PER_GAP_FILL, CoverageOrder
from enrich.video.sampling import parse_sampling
from enrich.video.signals import SignalMeter
from enrich.worker.gap_filling import Gap, GapQueue, has_room, signature

EVENTS = {"usual": 240, "brief": 120, "slow": 24}  # on all takes of a seed together
SEEDS = range(21, 31)  # no rule was chosen by these
FILMS = 8
FILM_SECONDS = (600.0, 1800.0)
COMPANY = (3, 8)  # events
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4)
PLACE_WORDS, SCENE_WORDS, EVENT_WORDS, NOISE_WORDS = 7, 7, 6, 6
SPOKEN = 0.75  # of the words that fit, a description has so many
VOCABULARY = 3000
EVEN, FILLED, MIDDLES, LONGEST, SHUFFLED, IN_TURN = ORDERS = (
    "even",
    "even, gaps filled",
    "… in their middle",
    "… the longest, whatever was said",
    "at random",
    "film after film",
)


@dataclass(frozen=True)
class Stretch:
    """A take as `distinct` sees it; times in seconds from its start."""

    clip: str
    seconds: float
    kept: Sequence[float]
    cuts: Sequence[float]
    events: Sequence[Event]


@dataclass(frozen=True)
class Happening:
    """An event in a film."""

    start: float
    end: float
    words: tuple[str, ...]
    is_alone: bool


@dataclass
class Film:
    """One film: `kept` are the times of its kept frames, `skimmed` those of the first look, coarse to fine."""

    number: int
    seconds: float
    kept: list[float]
    skimmed: list[float]
    scenes: list[tuple[float, tuple[str, ...]]]  # when each begins, and its words
    events: list[Happening]
    taken: list[float] = field(default_factory=list)  # described so far, in the order of time
    found: set[int] = field(default_factory=set)  # events, by place

    def describe(self, at: float) -> None:
        insort(self.taken, at)
        self.found |= {place for place, event in enumerate(self.events) if event.start <= at < event.end}

    def said(self, at: float, rng: random.Random) -> int:
        """The signature of what a model might say of the picture at a time."""
        scene = self.scenes[bisect_right(self.scenes, at, key=lambda one: one[0]) - 1][1]
        fitting = [*scene, *(word for one in self.events if one.start <= at < one.end for word in one.words)]
        noise = (f"noise{rng.randrange(VOCABULARY)}" for _ in range(NOISE_WORDS))
        return signature(" ".join(word for word in fitting if rng.random() < SPOKEN), noise)

    def until(self, at: float) -> float:
        """Until when the kept frame at a time stands."""
        place = bisect_right(self.kept, at)
        return self.kept[place] if place < len(self.kept) else self.seconds

    def unevenness(self) -> float:
        """The longest time no described picture stands for, as a multiple of the even spacing."""
        ends = [0.0, *(self.until(at) for at in self.taken)]
        longest = max(after - end for end, after in zip(ends, [*self.taken, self.seconds], strict=True))
        return longest * len(self.taken) / self.seconds


def stretches(videos: Path, cache: Path, seed: int) -> list[list[Stretch]]:
    """Each take of a seed as it is without events, with one, and with some in company."""
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


def make_film(number: int, made: list[list[Stretch]], rng: random.Random) -> Film:
    """Stretches in a row, and a first look at them."""
    wanted = rng.uniform(*FILM_SECONDS)
    row: list[Stretch] = []
    while sum(one.seconds for one in row) < wanted:
        row.append(rng.choice(made[rng.choices((0, 1, 2), (2, 1, 1))[0]]))
    begins = [0.0, *accumulate(one.seconds for one in row)]
    film = Film(number, begins[-1], [], [], [], [])
    for begin, one in zip(begins, row, strict=False):
        for cut in (0.0, *one.cuts):
            place = [f"place{number}{one.clip}x{n}" for n in range(PLACE_WORDS)]
            scene = [f"scene{number}x{len(film.scenes)}x{n}" for n in range(SCENE_WORDS)]
            film.scenes.append((begin + cut, (*place, *scene)))
        for event in one.events:
            words = tuple(f"event{number}x{len(film.events)}x{n}" for n in range(EVENT_WORDS))
            film.events.append(Happening(begin + event.start, begin + event.end, words, len(one.events) == 1))
        film.kept += [begin + time for time in one.kept]
    even = CoverageOrder(film.seconds)
    film.skimmed = [rng.uniform(spot.earliest, spot.latest) for spot in even.targets(1, even.skim_count())]
    film.kept = sorted({*film.kept, *film.skimmed})
    return film


def even_order(films: list[Film]) -> list[tuple[int, Film, float]]:
    """All frames but those of the first look, with their priorities, in their order."""
    waiting = []
    for film in films:
        even, known = CoverageOrder(film.seconds), set(film.skimmed)
        for start, end in pairwise([*film.kept, film.seconds]):
            if start not in known:
                priority = even.priority(start, end, after=len(known), skimmed=film.skimmed)
                waiting.append((priority, film, start))
    return sorted(waiting, key=lambda one: -one[0])


def calls(name: str, films: list[Film], rng: random.Random) -> Iterator[tuple[Film, float]]:
    """The frames in the order of their calls; described as they are taken."""
    rest, contrast, done = even_order(films), GapQueue(), {film.number: set(film.skimmed) for film in films}
    if name == SHUFFLED:
        rng.shuffle(rest)
    if name == IN_TURN:
        rest.sort(key=lambda one: (one[1].number, one[2]))

    def described(film: Film, at: float) -> tuple[Film, float]:
        done[film.number].add(at)
        film.describe(at)
        contrast.learn(film.number, at, rng.getrandbits(256) if name == LONGEST else film.said(at, rng))
        return film, at

    looks = [(rank, film.number, film, at) for film in films for rank, at in enumerate(film.skimmed)]
    for _, _, film, at in sorted(looks, key=lambda one: one[:2]):
        yield described(film, at)
    even_calls: Counter[int] = Counter()
    for priority, film, at in rest:
        if at in done[film.number]:
            continue
        yield described(film, at)
        even_calls[film.number] += 1
        is_due = name in (FILLED, MIDDLES, LONGEST) and even_calls[film.number] % COVERAGE_CALLS_PER_GAP_FILL == 0
        if not is_due or not has_room(priority / 1000, len(film.taken), CoverageOrder(film.seconds)):
            continue
        while (gap := contrast.take(film.number)) is not None:
            inside = film.kept[bisect_right(film.kept, gap.start) : bisect_left(film.kept, gap.end)]
            waiting = [time for time in inside if time not in done[film.number]]
            if waiting:
                yield described(film, chosen(film, gap, waiting, by_middle=name == MIDDLES))
                break


def chosen(film: Film, gap: Gap, waiting: list[float], *, by_middle: bool = False) -> float:
    """The frame that fills a gap, as in `db.editing.prioritize_middle`; `by_middle`: the nearest to the middle."""

    def from_middle(at: float) -> float:
        return abs(at - (gap.start + gap.end) / 2)

    central = [at for at in waiting if from_middle(at) <= (gap.end - gap.start) / 4]
    if by_middle or not central:
        return min(waiting, key=from_middle)
    return min(central, key=lambda at: film.until(at) - at)


@dataclass
class Result:
    """One order on the films of one seed."""

    unevenness: dict[int, float] = field(default_factory=dict)  # by per cent of the calls: of the worst film
    found: dict[float, tuple[float, float, float]] = field(default_factory=dict)  # by share: alone, in company, all


def run(name: str, films: list[Film], seed: int) -> Result:
    """Take all frames in an order."""
    for film in films:
        film.taken.clear()
        film.found.clear()
    rng = random.Random(seed)  # noqa: S311  # no secret
    total = sum(len(film.kept) for film in films)
    moments = {round(total * percent / 100): percent for percent in range(1, 100)}
    shares = {round(total * share): share for share in SHARES}
    result = Result()
    for count, _ in enumerate(calls(name, films, rng), 1):
        if count in moments:
            result.unevenness[moments[count]] = max(film.unevenness() for film in films)
        if count in shares:
            of_all = [(event.is_alone, n in film.found) for film in films for n, event in enumerate(film.events)]
            kinds = ([ok for alone, ok in of_all if alone], [ok for alone, ok in of_all if not alone])
            alone, company, both = (sum(one) / max(1, len(one)) for one in (*kinds, kinds[0] + kinds[1]))
            result.found[shares[count]] = (alone, company, both)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=VIDEOS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--films", type=int, default=FILMS, help="of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    results: dict[str, list[Result]] = {name: [] for name in ORDERS}
    for seed in given.seeds:
        made, rng = stretches(given.videos, given.cache, seed), random.Random(seed)  # noqa: S311  # no secret
        films = [make_film(number, made, rng) for number in range(given.films)]
        hours = sum(film.seconds for film in films) / 3600
        frames, events = sum(len(film.kept) for film in films), sum(len(film.events) for film in films)
        print(f"Seed {seed}: {len(films)} films, {hours:.1f} hours, {frames:,} kept frames, {events:,} events.")
        for name in ORDERS:
            results[name].append(run(name, films, seed))
    print("\n" + gaps_table(results) + "\n\n" + events_table(results))


def gaps_table(results: dict[str, list[Result]]) -> str:
    """The worst of all films and seeds, over all per cents of the calls and at some."""
    lines = ["| order | worst of all | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"]
    lines.append("|---|" + "--:|" * (len(SHARES) + 1))
    for name, runs in results.items():
        worst = {percent: max(one.unevenness[percent] for one in runs) for percent in runs[0].unevenness}
        cells = [max(worst.values()), *(worst[round(100 * share)] for share in SHARES)]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def events_table(results: dict[str, list[Result]]) -> str:
    """Events found, as a mean over the seeds; beside the even order's, the difference and its spread over the seeds."""
    lines = ["| order | events | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"]
    lines.append("|---|---|" + "--:|" * len(SHARES))
    for name, runs in results.items():
        for kind, label in enumerate(("alone", "in company", "all")):
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
