"""Latency of the first request of `everyframe quick`, on a 4K video of several hours.

    python -m bench.first_request VIDEO [--worker]
    python -m bench.first_request --footage FOLDER [--hours 3] [--keep VIDEO] [--worker]

The video consists of four seconds of each video in a folder, scaled to 3840×2160 H.264 with a key frame every two
seconds, repeated without re-encoding. It is added to a new library and dropped from the system's file cache. Then
`everyframe quick --yes` runs as a process against the tests' stand-in for Claude, which records when requests arrive.
With `--worker`, a worker extracts the same video at the same time and describes it with the baseline.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from enrich.filenames import is_media_name
from enrich.video.probe import probe
from tests.clips import run_ffmpeg
from tests.standin_claude import KEY, ClaudeStandIn

PART_SECONDS = 4
SIZE = "3840:2160"
ENCODING = ("-c:v", "libx264", "-preset", "superfast", "-crf", "22", "-g", "50", "-pix_fmt", "yuv420p", "-an")
WORKER_SECONDS = 3.0  # how long a worker runs before the measurement begins
COMMAND = (sys.executable, "-m", "enrich.cli")


def main() -> None:
    """Make the video, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--footage", type=Path, help="a folder of videos to make one of")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--keep", type=Path, help="where to make the video and keep it")
    parser.add_argument("--worker", action="store_true", help="measure while a worker runs")
    given = parser.parse_args()
    if (given.video is None) == (given.footage is None):
        parser.error("give a video, or --footage to make one of")
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as name:
        folder = Path(name)
        video = given.video or make_video(given.footage, folder, given.keep or folder / "video.mp4", hours=given.hours)
        facts = probe(video)
        size = video.stat().st_size / 1e9
        print(f"{video.name}: {(facts.duration or 0) / 3600:.2f} h, {facts.width}×{facts.height}, {size:.1f} GB")
        measure(video.resolve(), folder / "home", beside_worker=given.worker)


def make_video(footage: Path, folder: Path, video: Path, *, hours: float) -> Path:
    """Make a video of this many hours."""
    parts = []
    video_filter = f"scale={SIZE}:force_original_aspect_ratio=decrease,pad={SIZE}:-1:-1,setsar=1,fps=25"
    for source in sorted(path for path in footage.iterdir() if is_media_name(path)):
        part = folder / f"part{len(parts)}.mp4"
        run_ffmpeg("-i", source, "-t", str(PART_SECONDS), "-vf", video_filter, *ENCODING, part)
        parts.append(part)
    seconds = sum(probe(part).duration or 0.0 for part in parts)
    listed = folder / "parts.txt"
    listed.write_text("".join(f"file '{part}'\n" for part in parts) * (1 + int(hours * 3600 / seconds)))
    run_ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", "-t", str(hours * 3600), video)
    return video


def measure(video: Path, home: Path, *, beside_worker: bool) -> None:
    """Run a quick pass and print when its requests arrived."""
    with ClaudeStandIn() as claude:
        environment = {**os.environ, "EVERYFRAME_HOME": str(home), "OLLAMA_HOST": "http://127.0.0.1:9"}
        environment |= {"ANTHROPIC_BASE_URL": claude.address, "ANTHROPIC_API_KEY": KEY}
        began = time.monotonic()
        subprocess.run([*COMMAND, "add", str(video)], env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"added in {time.monotonic() - began:.1f} s")
        drop_from_cache(video)
        with worker(environment) if beside_worker else contextlib.nullcontext():
            began = time.monotonic()
            subprocess.run([*COMMAND, "quick", "1", "--yes"], env=environment, check=True)
            ended = time.monotonic()
        requests = [request.at - began for request in claude.sent]
        images = sum(len(bill.labels) for bill in claude.bills)
        print(
            f"first request after {requests[0]:.1f} s, the last of {len(requests)} after {requests[-1]:.1f} s, "
            f"{images} images answered after {ended - began:.1f} s; load average {os.getloadavg()[0]:.1f}"
        )


@contextlib.contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    """A worker that has started extracting the video."""
    command = [*COMMAND, "worker", "--describer", "baseline"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(WORKER_SECONDS)
            yield
        finally:
            process.terminate()


def drop_from_cache(video: Path) -> None:
    """Drop a file from the system's file cache, where the system allows it."""
    if hasattr(os, "posix_fadvise"):
        with video.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
