"""How soon after `everyframe quick` is asked for its first request goes out, on a film of hours in 4K.

    python -m bench.first_request FILM [--worker]
    python -m bench.first_request --footage FOLDER [--hours 3] [--keep FILM] [--worker]

The film is made of four seconds of each film of a folder, scaled to 3840×2160 H.264 with a key frame every two
seconds, repeated without being encoded again. It is added to a new library, dropped from the system's cache of files,
and `everyframe quick --yes` is run as a process against the tests' stand-in for Claude, which notes when requests come.
With `--worker` a worker that takes the same film apart, with the baseline, runs beside it.
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
WORKER_SECONDS = 3.0  # it is given to begin
COMMAND = (sys.executable, "-m", "enrich.cli")


def main() -> None:
    """Make the film, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, nargs="?")
    parser.add_argument("--footage", type=Path, help="a folder of films to make one of")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--keep", type=Path, help="where the film is made, and left")
    parser.add_argument("--worker", action="store_true", help="with a worker beside it")
    given = parser.parse_args()
    if (given.film is None) == (given.footage is None):
        parser.error("give a film, or --footage to make one of")
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as name:
        folder = Path(name)
        film = given.film or make_film(given.footage, folder, given.keep or folder / "film.mp4", hours=given.hours)
        facts = probe(film)
        size = film.stat().st_size / 1e9
        print(f"{film.name}: {(facts.duration or 0) / 3600:.2f} h, {facts.width}×{facts.height}, {size:.1f} GB")
        measure(film.resolve(), folder / "home", beside_worker=given.worker)


def make_film(footage: Path, folder: Path, film: Path, *, hours: float) -> Path:
    """A film of so many hours."""
    parts = []
    picture = f"scale={SIZE}:force_original_aspect_ratio=decrease,pad={SIZE}:-1:-1,setsar=1,fps=25"
    for source in sorted(path for path in footage.iterdir() if is_media_name(path)):
        part = folder / f"part{len(parts)}.mp4"
        run_ffmpeg("-i", source, "-t", str(PART_SECONDS), "-vf", picture, *ENCODING, part)
        parts.append(part)
    seconds = sum(probe(part).duration or 0.0 for part in parts)
    listed = folder / "parts.txt"
    listed.write_text("".join(f"file '{part}'\n" for part in parts) * (1 + int(hours * 3600 / seconds)))
    run_ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", "-t", str(hours * 3600), film)
    return film


def measure(film: Path, home: Path, *, beside_worker: bool) -> None:
    """Ask for a quick pass, and say when its requests came."""
    with ClaudeStandIn() as claude:
        environment = {**os.environ, "EVERYFRAME_HOME": str(home), "OLLAMA_HOST": "http://127.0.0.1:9"}
        environment |= {"ANTHROPIC_BASE_URL": claude.address, "ANTHROPIC_API_KEY": KEY}
        began = time.monotonic()
        subprocess.run([*COMMAND, "add", str(film)], env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"added in {time.monotonic() - began:.1f} s")
        forget(film)
        with worker(environment) if beside_worker else contextlib.nullcontext():
            began = time.monotonic()
            subprocess.run([*COMMAND, "quick", "1", "--yes"], env=environment, check=True)
            ended = time.monotonic()
        requests = [request.at - began for request in claude.sent]
        pictures = sum(len(bill.labels) for bill in claude.bills)
        print(
            f"first request after {requests[0]:.1f} s, the last of {len(requests)} after {requests[-1]:.1f} s, "
            f"{pictures} pictures answered after {ended - began:.1f} s; load average {os.getloadavg()[0]:.1f}"
        )


@contextlib.contextmanager
def worker(environment: dict[str, str]) -> Iterator[None]:
    """A worker that has begun with the film."""
    command = [*COMMAND, "worker", "--describer", "baseline"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(WORKER_SECONDS)
            yield
        finally:
            process.terminate()


def forget(film: Path) -> None:
    """Drop a file from the system's cache, where the system lets us."""
    if hasattr(os, "posix_fadvise"):
        with film.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
