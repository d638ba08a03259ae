"""How long the first look at each film of a folder takes, and how many pictures it finds.

    python -m bench.skim FOLDER [--pictures N] [--seconds 30]

Pictures are looked for and written as in use, with 1344 pixels on the long edge. `first` is the time to the first one
on disk.
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
HEADINGS = ("film", "minutes", "size", "wanted", "pictures", "first s", "all s", "cpu s")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, help="to look for; as many as in use unless told")
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
            print(f"{path.name:<28} says nothing of its duration")
            continue
        even = CoverageOrder(facts.duration)
        targets = list(even.targets(1, even.skim_count() if given.pictures is None else given.pictures))
        start, cpu, first, pictures = time.monotonic(), time.process_time(), 0.0, 0
        with tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder:
            jpeg = JpegFormat(edge=1344, quality=85, rotation=facts.rotation)
            found = skim(path, Path(folder), targets, jpeg=jpeg, time_limit=given.seconds)
            for _ in found:
                pictures += 1
                first = first or time.monotonic() - start
        took, cpu = time.monotonic() - start, time.process_time() - cpu
        size = f"{facts.width}x{facts.height}"
        minutes = f"{facts.duration / 60:.1f}"
        row = (path.name[:28], minutes, size, len(targets), pictures, f"{first:.2f}", f"{took:.2f}", f"{cpu:.2f}")
        print(ROW.format(*row), flush=True)


if __name__ == "__main__":
    main()
