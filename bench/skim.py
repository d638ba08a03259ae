"""How long a skim of each video in a folder takes, and how many frames it finds.

    python -m bench.skim FOLDER [--frames N] [--seconds 30]

Frames are found and written as in normal use, with 1344 pixels on the long edge. `first` is the time until the first
one is on disk.
"""

import argparse
import tempfile
import time
from pathlib import Path

from enrich.errors import VideoError
from enrich.filenames import is_media_name
from enrich.schedule.coverage import CoverageOrder
from enrich.video.jpeg import JpegFormat
from enrich.video.probe import probe
from enrich.video.skim import skim

ROW = "{:<28} {:>9} {:>12} {:>7} {:>9} {:>9} {:>9} {:>9}"
HEADINGS = ("video", "minutes", "size", "wanted", "frames", "first s", "all s", "cpu s")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, help="to find; default: as in normal use")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    print(ROW.format(*HEADINGS))
    for path in sorted(path for path in given.folder.iterdir() if is_media_name(path)):
        try:
            facts = probe(path)
        except VideoError as error:
            print(f"{path.name:<28} {error}")
            continue
        if not facts.duration:
            print(f"{path.name:<28} has an unknown duration")
            continue
        even = CoverageOrder(facts.duration)
        targets = list(even.targets(1, even.skim_count() if given.frames is None else given.frames))
        start, cpu, first, frames = time.monotonic(), time.process_time(), 0.0, 0
        with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
            jpeg = JpegFormat(edge=1344, quality=85, rotation=facts.rotation)
            found = skim(path, Path(folder), targets, jpeg=jpeg, time_limit=given.seconds)
            for _ in found:
                frames += 1
                first = first or time.monotonic() - start
        took, cpu = time.monotonic() - start, time.process_time() - cpu
        size = f"{facts.width}x{facts.height}"
        minutes = f"{facts.duration / 60:.1f}"
        row = (path.name[:28], minutes, size, len(targets), frames, f"{first:.2f}", f"{took:.2f}", f"{cpu:.2f}")
        print(ROW.format(*row), flush=True)


if __name__ == "__main__":
    main()
