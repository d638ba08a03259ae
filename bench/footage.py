"""The shared footage as reduced luma frames, and people cut out of it.

Decoded once with the project's own `LumaShrinker`, then read from `.npy` files in a cache folder. No footage is stored
in the repository.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from enrich.video.decode import SourceFrames
from enrich.video.signals import LumaShrinker

VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "videos"
CACHE = Path(tempfile.gettempdir()) / "likeness-cache"
PEOPLE = "people-one-by-one"
CUT_OUT_LEVELS = 18  # of 255: what differs so much from the empty scene is the person
CUT_OUT_MIN_PIXELS = 1500
CUT_OUTS = 24


@dataclass(frozen=True)
class Footage:
    """A clip; `lumas[n]` is shown from `times[n]` (seconds)."""

    name: str
    lumas: np.ndarray  # frames × height × width, uint8
    times: np.ndarray

    @property
    def step(self) -> float:
        """The median seconds between two frames."""
        return float(np.median(np.diff(self.times)))

    @property
    def seconds(self) -> float:
        return float(self.times[-1]) + self.step

    def at_least(self, seconds: float) -> "Footage":
        """The clip played forwards and backwards up to a duration: motion continues, and no cut is added."""
        lumas, gaps = [self.lumas], [np.diff(self.times)]
        forwards = True
        while sum(gap.sum() for gap in gaps) < seconds:
            forwards = not forwards
            order = slice(None) if forwards else slice(None, None, -1)
            lumas.append(self.lumas[order][1:])
            gaps.append(np.diff(self.times)[order])
        times = np.concatenate([[0.0], np.cumsum(np.concatenate(gaps))])
        return Footage(self.name, np.concatenate(lumas) if len(lumas) > 1 else self.lumas, times)


@dataclass(frozen=True)
class CutOut:
    """A person cut out of the scene: luma and opacity (0 to 1), both float32."""

    luma: np.ndarray
    alpha: np.ndarray


def footages(videos: Path = VIDEOS, cache: Path = CACHE) -> list[Footage]:
    """All shared videos, by name."""
    paths = sorted(path for path in videos.iterdir() if path.suffix in (".mp4", ".webm"))
    return [_footage(path, cache) for path in paths]


def _footage(path: Path, cache: Path) -> Footage:
    cache.mkdir(exist_ok=True)
    luma_file, times_file = cache / f"{path.stem}.npy", cache / f"{path.stem}.t.npy"
    if not (luma_file.exists() and times_file.exists()):
        shrinker = LumaShrinker()
        with SourceFrames(path) as frames:
            found = [(frame.timestamp, shrinker.shrink(frame.av_frame)) for frame in frames]
        np.save(times_file, np.array([time for time, _ in found]))
        np.save(luma_file, np.stack([luma for _, luma in found]))
    return Footage(path.stem, np.load(luma_file), np.load(times_file))


def cut_outs(videos: Path = VIDEOS, cache: Path = CACHE) -> list[CutOut]:
    """People walking through the still scene, at recorded size, cut out by their difference from it."""
    stored = cache / "cut-outs.npz"
    if not stored.exists():
        found = list(_cut(videos / f"{PEOPLE}.mp4"))[:CUT_OUTS]
        lumas = {f"luma{n}": one.luma for n, one in enumerate(found)}
        np.savez(stored, **lumas, **{f"alpha{n}": one.alpha for n, one in enumerate(found)})
    with np.load(stored) as found_again:
        count = len(found_again.files) // 2
        return [CutOut(found_again[f"luma{n}"], found_again[f"alpha{n}"]) for n in range(count)]


def _cut(path: Path) -> Iterator[CutOut]:
    with SourceFrames(path) as frames:
        grays = [frame.av_frame.to_ndarray(format="gray") for n, frame in enumerate(frames) if n % 5 == 0]
    scene = grays[0]  # empty
    for frame in grays[:: len(grays) // CUT_OUTS // 3]:
        differs = cv2.GaussianBlur(cv2.absdiff(frame, scene), (5, 5), 0) > CUT_OUT_LEVELS
        closed = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
        for label, (x, y, width, height, area) in enumerate(stats):
            upright = 1.5 < height / width < 4
            inside = x > 2 and x + width < frame.shape[1] - 2
            if label and area >= CUT_OUT_MIN_PIXELS and upright and inside:
                box = np.s_[y : y + height, x : x + width]
                alpha = cv2.GaussianBlur((labels[box] == label).astype(np.float32), (3, 3), 0)
                yield CutOut(frame[box].astype(np.float32), alpha)
