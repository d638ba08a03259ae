"""The shared footage as small luma pictures, and the people cut out of it.

Decoded once through the project's own `LumaShrinker`, then read from `.npy` files in a cache folder. Nothing of the
footage goes into the project.
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
    """A clip: `lumas[n]` is shown from `times[n]` (seconds) on."""

    name: str
    lumas: np.ndarray  # frames × height × width, uint8
    times: np.ndarray

    @property
    def step(self) -> float:
        """The usual seconds between two pictures."""
        return float(np.median(np.diff(self.times)))

    @property
    def seconds(self) -> float:
        return float(self.times[-1]) + self.step

    def at_least(self, seconds: float) -> "Footage":
        """Played forwards and backwards until it is so long: motion stays motion, and no cut is made."""
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
    """A person without the scene: luma and opacity (0 to 1), both float32."""

    luma: np.ndarray
    alpha: np.ndarray


def footages(videos: Path = VIDEOS, cache: Path = CACHE) -> list[Footage]:
    """All shared videos, by name."""
    paths = sorted(path for path in videos.iterdir() if path.suffix in (".mp4", ".webm"))
    return [_footage(path, cache) for path in paths]


def _footage(path: Path, cache: Path) -> Footage:
    cache.mkdir(exist_ok=True)
    pictures, moments = cache / f"{path.stem}.npy", cache / f"{path.stem}.t.npy"
    if not (pictures.exists() and moments.exists()):
        shrinker = LumaShrinker()
        with SourceFrames(path) as frames:
            found = [(frame.timestamp, shrinker.shrink(frame.av_frame)) for frame in frames]
        np.save(moments, np.array([time for time, _ in found]))
        np.save(pictures, np.stack([luma for _, luma in found]))
    return Footage(path.stem, np.load(pictures), np.load(moments))


def cut_outs(videos: Path = VIDEOS, cache: Path = CACHE) -> list[CutOut]:
    """People walking through the still scene, at the size they were filmed, cut out by what differs from it."""
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
        pictures = [frame.av_frame.to_ndarray(format="gray") for n, frame in enumerate(frames) if n % 5 == 0]
    scene = pictures[0]  # nobody is in it yet
    for picture in pictures[:: len(pictures) // CUT_OUTS // 3]:
        differs = cv2.GaussianBlur(cv2.absdiff(picture, scene), (5, 5), 0) > CUT_OUT_LEVELS
        closed = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
        for label, (x, y, width, height, area) in enumerate(stats):
            upright = 1.5 < height / width < 4
            inside = x > 2 and x + width < picture.shape[1] - 2
            if label and area >= CUT_OUT_MIN_PIXELS and upright and inside:
                box = np.s_[y : y + height, x : x + width]
                alpha = cv2.GaussianBlur((labels[box] == label).astype(np.float32), (3, 3), 0)
                yield CutOut(picture[box].astype(np.float32), alpha)
