"""Extraction speed: EveryFrame, `ffmpeg -f null`, PySceneDetect, and a plain loop of OpenCV and imagehash.

    python -m bench.extract VIDEO
    python -m bench.extract --footage CLIP     first makes 60 s of 1080p30 H.264 of a clip

The contenders run in turns, so that background load affects all of them. `extraction` is everything inside this
process: decoding, signals, likeness, JPEGs of 1344 pixels, durable on disk. `everyframe extract` is the whole command
in a new library, including the start of Python, the skim and the database. The plain loop writes JPEGs of the same size
and quality, of about as many frames, without syncing the disk. A ratio is the median, over the rounds, of frames per
second divided by ffmpeg's in the same round.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from enrich.video.container import open_video
from enrich.video.extraction import Extraction
from enrich.video.jpeg import JpegFormat
from enrich.video.probe import probe
from enrich.video.sampling import parse_sampling
from tests.clips import run_ffmpeg

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).with_name("peers.py")
EDGE_PIXELS = 1344
QUALITY = 85
MILLISECONDS = 1000
FFMPEG = "ffmpeg -f null"
ROW = "{:<20} {:>7} {:>7} {:>9} {:>16} {:>6} {:>5}"
HEADINGS = ("", "frames", "kept", "frames/s", "processor ms/f", "ratio", "load")


@dataclass(frozen=True)
class Taken:
    """One measurement of one video."""

    frames: int
    kept: int | None  # images, or scenes; None if nothing is kept
    seconds: float
    processor: float  # seconds, user and system
    load: float  # of the machine, over the last minute

    @property
    def speed(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    def row(self, name: str, ratio: str) -> str:
        kept = "" if self.kept is None else self.kept
        processor = f"{self.processor / self.frames * MILLISECONDS:.2f}"
        return ROW.format(name, self.frames, kept, f"{self.speed:.0f}", processor, ratio, f"{self.load:.1f}")


def main() -> None:
    """Measure in turns; print one line each, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--footage", type=Path, help="a clip to make the video of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, help="one that has scenedetect, imagehash and OpenCV")
    given = parser.parse_args()
    if (given.video is None) == (given.footage is None):
        parser.error("give a video, or --footage to make one of")
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
        video = given.video or make_video(given.footage, Path(folder))
        contenders = those_there(given.peer_python)
        print(ROW.format(*HEADINGS))
        rounds = [run_round(contenders, video.resolve()) for _ in range(given.rounds)]
    print(f"\nmedians of {given.rounds} rounds")
    for name in contenders:
        print(median([taken[name] for taken in rounds]).row(name, ratio(name, rounds)))


def make_video(footage: Path, folder: Path) -> Path:
    """60 s of 1080p30 H.264, of a clip that is looped and scaled."""
    video = folder / "video.mp4"
    encoding = ("-c:v", "libx264", "-preset", "medium", "-crf", "20", "-an")
    run_ffmpeg("-stream_loop", "-1", "-i", footage, "-t", "60", "-vf", "scale=1920:1080,fps=30", *encoding, video)
    return video


def those_there(peer_python: str) -> dict[str, Callable[[Path], Taken]]:
    """The available contenders, by name; prints which are missing."""
    found: dict[str, Callable[[Path], Taken]] = {}
    if shutil.which("ffmpeg"):
        found[FFMPEG] = by_ffmpeg
    else:
        print("no ffmpeg on this machine: no ratios")
    found |= {"extraction": by_extraction, "everyframe extract": by_command}
    for name, module in (("scenes", "scenedetect"), ("hashes", "imagehash")):
        has = subprocess.run([peer_python, "-c", f"import cv2, {module}"], capture_output=True, check=False)
        if has.returncode:
            print(f"{peer_python} has no {module}: left out (--peer-python names another)")
        else:
            found[module] = lambda video, name=name: by_peer(peer_python, name, video)
    return found


def run_round(contenders: dict[str, Callable[[Path], Taken]], video: Path) -> dict[str, Taken]:
    """Run each contender once."""
    taken: dict[str, Taken] = {}
    for name, take in contenders.items():
        taken[name] = take(video)
        print(taken[name].row(name, ratio(name, [taken])), flush=True)
    return taken


def by_extraction(video: Path) -> Taken:
    """EveryFrame's extraction, within this process."""
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
        clock = Clock(resource.RUSAGE_SELF)
        jpeg = JpegFormat(edge=EDGE_PIXELS, quality=QUALITY, rotation=probe(video).rotation)
        with Extraction(video, Path(folder), sampling=parse_sampling("distinct"), jpeg=jpeg) as extraction:
            kept = sum(1 for _ in extraction)
        return clock.taken(extraction.decoded, kept)


def by_command(video: Path) -> Taken:
    """`everyframe extract`, in a library that has the video."""
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as home:
        env = {name: value for name, value in os.environ.items() if not name.startswith("EVERYFRAME_")}
        env |= {"EVERYFRAME_HOME": home, "EVERYFRAME_DISK_RESERVE_MB": "0"}
        everyframe = [sys.executable, "-c", "from enrich.cli import main; main()"]
        subprocess.run([*everyframe, "add", video], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
        clock = Clock(resource.RUSAGE_CHILDREN)
        subprocess.run([*everyframe, "extract"], cwd=ROOT, env=env, check=True, capture_output=True)
        return clock.taken(frames_of(video), sum(1 for _ in Path(home).rglob("*.jpg")))


def by_ffmpeg(video: Path) -> Taken:
    """FFmpeg, decoding only."""
    frames = frames_of(video)
    clock = Clock(resource.RUSAGE_CHILDREN)
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", video, "-map", "0:v:0", "-f", "null", "-"], check=True)
    return clock.taken(frames, None)


def by_peer(python: str, name: str, video: Path) -> Taken:
    """The function of this name in bench/peers.py."""
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
        folders = [folder] if name == "hashes" else []
        clock = Clock(resource.RUSAGE_CHILDREN)
        done = subprocess.run([python, PEERS, name, video, *folders], check=True, capture_output=True, text=True)
        frames, kept = map(int, done.stdout.split())
        return clock.taken(frames, kept)


class Clock:
    """Starts when created; `whose` is resource.RUSAGE_SELF or RUSAGE_CHILDREN."""

    def __init__(self, whose: int) -> None:
        self._whose = whose
        self._processor = self._used()
        self._start = time.monotonic()

    def taken(self, frames: int, kept: int | None) -> Taken:
        seconds = time.monotonic() - self._start
        return Taken(frames, kept, seconds, self._used() - self._processor, os.getloadavg()[0])

    def _used(self) -> float:
        usage = resource.getrusage(self._whose)
        return usage.ru_utime + usage.ru_stime


@cache
def frames_of(video: Path) -> int:
    """The number of packets of the video stream, one per frame."""
    container, stream = open_video(video)
    with container:
        return sum(1 for packet in container.demux(stream) if packet.size)


def ratio(name: str, rounds: list[dict[str, Taken]]) -> str:
    """The speed relative to ffmpeg, as the median of the rounds."""
    if any(FFMPEG not in taken for taken in rounds):
        return ""
    return f"{statistics.median(taken[name].speed / taken[FFMPEG].speed for taken in rounds):.2f}"


def median(taken: list[Taken]) -> Taken:
    """The median of each figure."""
    return Taken(
        taken[0].frames,
        taken[0].kept,
        statistics.median(one.seconds for one in taken),
        statistics.median(one.processor for one in taken),
        statistics.median(one.load for one in taken),
    )


if __name__ == "__main__":
    main()
