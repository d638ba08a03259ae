"""Visible events at known times, placed on real footage, to test what a likeness must not lose.

Objects and cut-out people appear, leave and cross; captions appear and change; lights go on or off; shots are cut in.
Each lasts 0.5 to 1.2 s, or 0.2 s. There are also slow fades (3 s), slow pans (5 s) and people walking (10 s). All
follow from a seed. Every event differs from the clean footage by a mean of 25 of 255 over its area, in each of four
frames inside it; a fade by that much from its start to its end, a pan by half of it.

Events are composited on the reduced luma, not on the decoded frame. Opacity and luma of what is added are drawn at four
times the size (people: as recorded) and reduced by area, as the footage is. Compositing and reduction are both linear,
so this differs from compositing first only in rounding and in pixels at an edge: `tests/bench/test_events.py` compares
the two.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from bench.footage import CutOut, Footage
from bench.sprite import Area, Luma, Paint, Sprite, as_bytes

CONTRAST_LEVELS = 25.0  # of 255
CONTRAST_MOST_LEVELS = 110.0
HEIGHT_SHARES = (0.08, 0.45)  # of the frame's height
EVENT_SECONDS = (0.5, 1.2)
BRIEF_SECONDS = 0.2
SLOW_SECONDS = {"fade": 3.0, "pan": 5.0, "walk": 10.0}
AROUND_SECONDS = 1.2  # how long before it leaves an object is visible, and how long a change lasts
GAP_SECONDS = (3.0, 4.0)  # between events
LEAD_SECONDS = 2.0
TAKE_SECONDS = 60.0  # one pass over a clip at most; a shorter clip is played back and forth for 20 s
SHORT_TAKE_SECONDS = 20.0
OVERSIZE = 4
TRIES = 40
PAN_ZOOM = 1.4
KINDS = ("appears", "leaves", "crosses", "caption", "caption changes", "lights", "cut")
SOON = 1e-6  # seconds; tolerance for comparing times

WORDS = (
    "ANNA",
    "ERNA",
    "1987",
    "Munich",
    "wedding",
    "day",
    "speech",
    "the",
    "garden",
    "PARIS",
    "summer",
    "WE",
    "MET",
    "Grandma",
    "at",
    "home",
    "cake",
    "Bruno",
)

Made = tuple[Paint, Area, float, Paint]
Clean = list[tuple[float, Luma]]  # timestamps and frames inside an event, before it is painted


@dataclass(frozen=True)
class Event:
    """Something visible from `start` to `end` (seconds; both are timestamps of source frames)."""

    kind: str
    start: float
    end: float
    is_brief: bool = False
    contrast: float = 0.0  # the smallest of four frames, as a mean over its area, of 255


@dataclass
class Take:
    """A clip with events placed on it."""

    footage: Footage
    events: list[Event] = field(default_factory=list)
    _paints: list[tuple[float, float, Paint]] = field(default_factory=list)  # start, end, paint function

    def place(self, event: Event, paint: Paint, around: float) -> None:
        self.events.append(event)
        self._paints.append((event.start - around, event.end + around, paint))

    def frames(self) -> Iterator[tuple[float, Luma]]:
        """Timestamps and frames, in order."""
        waiting = sorted(self._paints, key=lambda one: one[0])
        for time, luma in zip(self.footage.times, self.footage.lumas, strict=True):
            painted = luma
            for begin, finish, paint in waiting:
                if begin > time + SOON:
                    break
                if time < finish - SOON:
                    painted = paint(painted, float(time))
            yield float(time), painted
            while waiting and waiting[0][1] <= time:
                waiting.pop(0)


def takes(clips: list[Footage], people: list[CutOut], *, usual: int, brief: int, slow: int, seed: int) -> list[Take]:
    """Place at least this many events of each length on the clips: half by clip length, half the same for each clip."""
    clips_long = sum(clip.seconds for clip in clips)
    made = []
    for number, clip in enumerate(clips):
        share = 0.5 * clip.seconds / clips_long + 0.5 / len(clips)
        for name, count in (("usual", usual), ("brief", brief), ("slow", slow)):
            stage = _Stage(clip, clips, people, np.random.default_rng([seed, number, len(name)]))
            made += stage.takes(name, math.ceil(count * share))
    return made


@dataclass
class _Stage:
    """Places the events of one length on one clip."""

    clip: Footage
    clips: list[Footage]
    people: list[CutOut]
    random: np.random.Generator

    def takes(self, name: str, count: int) -> list[Take]:
        made: list[Take] = []
        left = count
        base = self.clip.at_least(SHORT_TAKE_SECONDS)
        turn = 0
        while left > 0:
            take = Take(_part(base, float(self.random.uniform(0, max(0.0, base.seconds - TAKE_SECONDS)))))
            time = LEAD_SECONDS
            while left > 0:
                kinds = tuple(SLOW_SECONDS) if name == "slow" else KINDS
                event = self._place(take, kinds[turn % len(kinds)], time, name)
                turn += 1
                if event is None:
                    break
                left -= event.contrast > 0
                time = event.end + float(self.random.uniform(*GAP_SECONDS))
            if not take.events:
                break
            made.append(take)
        return made

    def _place(self, take: Take, kind: str, time: float, name: str) -> Event | None:
        """Place an event. Its contrast is 0 if the kind is not visible here; None at the end of the clip."""
        seconds = float(self.random.uniform(*EVENT_SECONDS))
        if name != "usual":
            seconds = SLOW_SECONDS.get(kind, BRIEF_SECONDS)
        times = take.footage.times
        first = int(np.searchsorted(times, time))
        last = int(np.searchsorted(times, time + seconds - SOON))
        if last >= len(times) or times[last] + AROUND_SECONDS + 1.0 > times[-1]:
            return None
        start, end = float(times[first]), float(times[last])
        seen = np.unique(np.linspace(first, last - 1, 4).astype(int))
        clean = [(float(times[n]), take.footage.lumas[n]) for n in seen]
        for _ in range(TRIES):
            paint, area, around, other = getattr(self, "_" + kind.replace(" ", "_"))(start, end, clean)
            contrast = min(_contrast(paint(luma, at), other(luma, at), area(at, luma.shape)) for at, luma in clean)
            needed = CONTRAST_LEVELS if kind not in ("fade", "pan") else 0.0
            if kind in ("fade", "pan"):  # they change little by little: what counts is the change from start to end
                (at, luma), (late, _) = clean[0], clean[-1]
                contrast = _contrast(paint(luma, at), paint(luma, late), area(at, luma.shape))
                needed = CONTRAST_LEVELS if kind == "fade" else CONTRAST_LEVELS / 2
            if contrast >= needed:
                event = Event(kind, start, end, name == "brief", contrast)
                take.place(event, paint, around)
                return event
        return Event(kind, start, start)

    # Each kind: how it is painted, its area at a time, how long before and after it is painted too, and what would
    # be seen without it.

    def _appears(self, start: float, end: float, clean: Clean) -> Made:
        thing = self._thing(clean[0][1])
        spot = self._spot(thing, clean[0][1].shape)
        thing = self._visible(thing, spot, clean)
        painted = _only(lambda time: start - SOON <= time < end - SOON, thing.at(lambda _: spot))
        return painted, thing.area(lambda _: spot), 0.0, _untouched

    def _leaves(self, start: float, end: float, clean: Clean) -> Made:
        thing = self._thing(clean[0][1])
        spot = self._spot(thing, clean[0][1].shape)
        thing = self._visible(thing, spot, clean)
        there = thing.at(lambda _: spot)
        painted = _only(lambda time: not start - SOON <= time < end - SOON, there)
        return painted, thing.area(lambda _: spot), AROUND_SECONDS, there

    def _crosses(self, start: float, end: float, clean: Clean) -> Made:
        height, width = clean[0][1].shape
        thing = self._thing(clean[0][1])
        rise = self.random.uniform(0.1, 0.9) * (height - thing.alpha.shape[0])
        backwards = self.random.random() < 0.5

        def spot(time: float) -> tuple[float, float]:
            """From half inside at one edge to half inside at the other."""
            done = (time - start) / (end - start)
            middle = width * (1 - done if backwards else done)
            return middle - thing.alpha.shape[1] / 2, rise

        thing = self._visible(thing, spot(clean[len(clean) // 2][0]), clean)
        return thing.at(spot), thing.area(spot), end - start, _untouched

    def _walk(self, start: float, end: float, clean: Clean) -> Made:
        height, width = clean[0][1].shape
        thing = self._person(self.random.uniform(0.25, 0.6) * height)
        rise = self.random.uniform(0.3, 0.95) * (height - thing.alpha.shape[0])
        far = self.random.uniform(0.3, 0.8) * (width - thing.alpha.shape[1])

        def spot(time: float) -> tuple[float, float]:
            done = min(1.0, max(0.0, (time - start) / (end - start)))
            return done * far, rise + 1.5 * math.sin(done * 20 * math.pi)

        thing = self._visible(thing, spot(clean[1][0]), clean)
        return thing.at(spot), thing.area(spot), AROUND_SECONDS, _untouched

    def _caption(self, start: float, end: float, clean: Clean) -> Made:
        text, spot = self._text(clean[0][1].shape)
        painted = _only(lambda time: start - SOON <= time < end - SOON, text.at(lambda _: spot))
        return painted, text.box(spot), 0.0, _untouched

    def _caption_changes(self, start: float, end: float, clean: Clean) -> Made:
        before, spot = self._text(clean[0][1].shape)
        after = before
        while after is before or after.alpha.shape != before.alpha.shape:
            after, _ = self._text(clean[0][1].shape, before)
        first, then = before.at(lambda _: spot), after.at(lambda _: spot)

        def painted(luma: Luma, time: float) -> Luma:
            return (then if start - SOON <= time < end - SOON else first)(luma, time)

        return painted, after.box(spot), AROUND_SECONDS, first

    def _lights(self, start: float, end: float, clean: Clean) -> Made:
        height, width = clean[0][1].shape
        gain = float(np.exp(self.random.uniform(0.25, 1.4) * self.random.choice([-1, 1])))
        lift = float(self.random.uniform(0, 60)) if gain > 1 else 0.0
        reach = np.ones((height, width), np.float32)
        if self.random.random() < 0.5:  # one lamp, not the whole room
            rows, columns = np.mgrid[:height, :width].astype(np.float32)
            x, y = self.random.uniform(0, width), self.random.uniform(0, height)
            radius = self.random.uniform(0.4, 1.0) * height
            reach = np.clip(1.5 - np.hypot(columns - x, rows - y) / radius, 0, 1)

        def lit(luma: Luma, _: float) -> Luma:
            return as_bytes(luma + reach * (luma * (gain - 1) + lift))

        painted = _only(lambda time: start - SOON <= time < end - SOON, lit)
        return painted, lambda *_: reach > 0.5, 0.0, _untouched

    def _cut(self, start: float, end: float, clean: Clean) -> Made:
        others = [clip for clip in self.clips if clip.name != self.clip.name]
        other = others[self.random.integers(len(others))].at_least(EVENT_SECONDS[1] + 1)
        since = float(self.random.uniform(0, other.seconds - EVENT_SECONDS[1] - 0.5))
        height, width = clean[0][1].shape

        def shot(_: Luma, time: float) -> Luma:
            shown = np.searchsorted(other.times, since + time - start, side="right") - 1
            return cv2.resize(other.lumas[max(0, shown)], (width, height), interpolation=cv2.INTER_AREA)

        painted = _only(lambda time: start - SOON <= time < end - SOON, shot)
        return painted, _everywhere, 0.0, _untouched

    def _fade(self, start: float, end: float, clean: Clean) -> Made:
        height, width = clean[0][1].shape
        target = np.full((height, width), self.random.choice([0.0, 255.0]), np.float32)
        if self.random.random() < 0.5:
            other = self.clips[self.random.integers(len(self.clips))]
            still = other.lumas[self.random.integers(len(other.lumas))]
            target = cv2.resize(still, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)

        def painted(luma: Luma, time: float) -> Luma:
            done = min(1.0, max(0.0, (time - start) / (end - start)))
            return as_bytes(luma * (1 - done) + target * done)

        return painted, _everywhere, AROUND_SECONDS, _untouched

    def _pan(self, start: float, end: float, clean: Clean) -> Made:
        height, width = clean[0][1].shape
        rise = self.random.uniform(0, (PAN_ZOOM - 1) * height)

        def painted(luma: Luma, time: float) -> Luma:
            done = min(1.0, max(0.0, (time - start) / (end - start)))
            view = np.float32([[PAN_ZOOM, 0, -(PAN_ZOOM - 1) * width * done], [0, PAN_ZOOM, -rise]])
            return cv2.warpAffine(luma, view, (width, height), flags=cv2.INTER_LINEAR)

        return painted, _everywhere, AROUND_SECONDS, _untouched

    def _thing(self, luma: Luma) -> Sprite:
        tall = luma.shape[0] * math.exp(self.random.uniform(*map(math.log, HEIGHT_SHARES)))
        return self._person(tall) if self.random.random() < 0.5 else self._object(tall)

    def _person(self, tall: float) -> Sprite:
        person = self.people[self.random.integers(len(self.people))]
        size = max(3, round(tall * person.luma.shape[1] / person.luma.shape[0])), math.ceil(tall)
        alpha = cv2.resize(person.alpha, size, interpolation=cv2.INTER_AREA)
        luma = cv2.resize(person.luma, size, interpolation=cv2.INTER_AREA)
        if self.random.random() < 0.5:  # in bright clothes
            luma = 255 - luma
        return Sprite(luma, alpha)

    def _object(self, tall: float) -> Sprite:
        """An ellipse, a box or a triangle with a gradient and a texture."""
        size = max(3, round(tall * self.random.uniform(0.4, 1.4))), math.ceil(tall)
        wide, high = size[0] * OVERSIZE, size[1] * OVERSIZE
        alpha = np.zeros((high, wide), np.float32)
        match self.random.integers(3):
            case 0:
                cv2.ellipse(alpha, (wide // 2, high // 2), (wide // 2 - 1, high // 2 - 1), 0, 0, 360, 1.0, -1)
            case 1:
                alpha[:] = 1
            case _:
                cv2.fillPoly(alpha, [np.array([[0, high - 1], [wide - 1, high - 1], [wide // 2, 0]])], 1.0)
        rough = cv2.resize(self.random.normal(0, 1, (4, 4)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
        return Sprite(rough * self.random.uniform(0, 12), cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), True)

    def _visible(self, thing: Sprite, spot: tuple[float, float], clean: Clean) -> Sprite:
        """Give an object a luma with a random contrast, often close to the minimum; people keep theirs."""
        if not thing.is_plain:
            return thing
        wanted = math.exp(self.random.uniform(math.log(CONTRAST_LEVELS + 1), math.log(CONTRAST_MOST_LEVELS)))
        area = thing.mask(spot, clean[0][1].shape)
        behind = float(np.mean([luma[area].mean() for _, luma in clean])) if area.any() else 128.0
        sign = self.random.choice([-1, 1])
        level = behind + sign * wanted
        if not 0 <= level <= 255:
            level = behind - sign * wanted
        return Sprite(thing.luma + level, thing.alpha)

    def _spot(self, thing: Sprite, shape: tuple[int, ...]) -> tuple[float, float]:
        return (
            float(self.random.uniform(0, max(1, shape[1] - thing.alpha.shape[1]))),
            float(self.random.uniform(0, max(1, shape[0] - thing.alpha.shape[0]))),
        )

    def _text(self, shape: tuple[int, ...], like: Sprite | None = None) -> tuple[Sprite, tuple[float, float]]:
        """A caption, white in a dark box or with a dark outline, at the bottom or top; `like`: with the same size."""
        height, width = shape
        tall = like.alpha.shape[0] if like else math.ceil(height * self.random.uniform(0.08, 0.16))
        wide = like.alpha.shape[1] if like else round(width * self.random.uniform(0.4, 0.85))
        words = " ".join(self.random.choice(WORDS, 8))
        paper = np.zeros((tall * OVERSIZE, wide * OVERSIZE), np.uint8)
        scale = tall * OVERSIZE / 34
        line = (words, (8, round(tall * OVERSIZE * 0.72)), cv2.FONT_HERSHEY_DUPLEX, scale)
        thick = max(2, round(3 * scale))
        boxed = like.is_boxed if like else bool(self.random.random() < 0.5)
        rim = paper.copy()
        cv2.putText(rim, *line, 255, thick * 3, cv2.LINE_AA)
        cv2.putText(paper, *line, 255, thick, cv2.LINE_AA)
        ink, rim = (cv2.resize(one, (wide, tall), interpolation=cv2.INTER_AREA) / 255 for one in (paper, rim))
        alpha = np.ones_like(ink) if boxed else rim
        luma = np.where(alpha > 0, 255 * ink / np.maximum(alpha, 1e-3), 0) if not boxed else 20 + 235 * ink
        sprite = Sprite(np.clip(luma, 0, 255).astype(np.float32), alpha.astype(np.float32), is_boxed=boxed)
        left = (width - wide) / 2
        top = height * 0.9 - tall if self.random.random() < 0.7 else height * 0.06
        return sprite, (left, top)


def _only(when: Callable[[float], bool], paint: Paint) -> Paint:
    return lambda luma, time: paint(luma, time) if when(time) else luma


def _untouched(luma: Luma, _: float) -> Luma:
    return luma


def _everywhere(_: float, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, bool)


def _contrast(one: Luma, other: Luma, mask: np.ndarray) -> float:
    return float(cv2.absdiff(one, other)[mask].mean()) if mask.any() else 0.0


def _part(clip: Footage, since: float) -> Footage:
    first = int(np.searchsorted(clip.times, since))
    last = int(np.searchsorted(clip.times, clip.times[first] + TAKE_SECONDS))
    return Footage(clip.name, clip.lumas[first:last], clip.times[first:last] - clip.times[first])
