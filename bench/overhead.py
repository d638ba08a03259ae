"""Overhead of EveryFrame: the time of a whole run relative to the pure model time.

A stand-in for Ollama, in its own process, takes exactly `--delay` seconds per call, at the requested concurrency. A
real `everyframe enrich` decodes a numbered clip and describes all its frames in one run. Printed for each concurrency:
the wall time of the whole process and of the run itself (from its row in `runs`), both divided by
frames × delay ÷ concurrency, and the machine's load during the run.
"""

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.clips import numbered_clip

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """One run; times in seconds."""

    process: float
    run: float
    pure: float
    processor: float  # of the process: what it costs on a machine of any speed or load
    load: float  # of the machine, over the last minute

    def line(self) -> str:
        return (
            f"pure {self.pure:6.2f} s   run {self.run:6.2f} s = {self.run / self.pure:.3f}   "
            f"process {self.process:6.2f} s = {self.process / self.pure:.3f}   "
            f"processor {self.processor:5.2f} s   load average {self.load:.1f}"
        )


def main() -> None:
    """Measure, print one line per run, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds per model call")
    parser.add_argument("--calls", type=int, nargs="+", default=[2, 8], help="calls at once")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--size", default="640x360", help="of the clip's frames")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as name:
        folder = Path(name)
        clip = numbered_clip(folder / "clip.mp4", frames=given.frames, size=(width, height))
        for calls in given.calls:
            done = []
            for number in range(given.repeat):
                home = folder / f"home-{calls}-{number}"
                with standin(given.delay, calls) as address:
                    measured = measure(home, clip, address, calls, given)
                done.append(measured)
                print(f"{calls} at once   {measured.line()}", flush=True)
            run = statistics.median(one.run / one.pure for one in done)
            warm = statistics.median(one.run / (one.pure + given.delay) for one in done)
            process = statistics.median(one.process / one.pure for one in done)
            print(f"{calls} at once   median of {len(done)}:", end=" ")
            print(f"run {run:.3f} ({warm:.3f} with the warm-up call as model time), process {process:.3f}", flush=True)


@contextmanager
def standin(delay: float, parallel: int) -> Iterator[str]:
    """Start a stand-in for Ollama as a process; yields its address."""
    command = [sys.executable, "-m", "tests.standin", "--delay", str(delay), "--parallel", str(parallel)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measure(home: Path, clip: Path, address: str, calls: int, given: argparse.Namespace) -> Measured:
    """Measure one run in a new library."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("EVERYFRAME_")}
    env |= {
        "EVERYFRAME_HOME": str(home),
        "EVERYFRAME_OLLAMA_HOSTS": address,
        "EVERYFRAME_CONCURRENCY": str(calls),
        "EVERYFRAME_DISK_RESERVE_MB": "0",
    }
    everyframe = [sys.executable, "-c", "from enrich.cli import main; main()"]
    subprocess.run([*everyframe, "add", "--sampling", "exact", str(clip)], cwd=ROOT, env=env, check=True, stdout=-3)
    command = [*everyframe, "enrich"]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with closing(sqlite3.connect(home / "library.db")) as database:
        [(began, ended)] = database.execute("SELECT started_at, heartbeat_at FROM runs")
        [(described,)] = database.execute("SELECT count(*) FROM frames WHERE local_description IS NOT NULL")
    assert described == given.frames, f"{described} of {given.frames} frames are described"
    run = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return Measured(process, run, given.frames * given.delay / calls, processor, os.getloadavg()[0])


if __name__ == "__main__":
    main()
