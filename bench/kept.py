"""How many frames each sampling keeps: a table over a folder of videos.

Each video is decoded once per sampling. Printed are the kept frames, their share, the decoded frames, the frames that
all kept frames stand for (which must be the same number), the count of another build of FFmpeg (the program of
`imageio-ffmpeg`), and decoded frames per second.
"""

import argparse
import tempfile
import time
from pathlib import Path

from enrich.errors import VideoError
from enrich.filenames import is_media_name
from enrich.video.extraction import Extraction
from enrich.video.jpeg import JpegFormat
from enrich.video.probe import probe
from enrich.video.sampling import parse_sampling
from tests.clips import decode_independently

SAMPLINGS = ("exact", "distinct:strict", "distinct:normal", "distinct:loose", "every=500ms", "scenes")
HEADINGS = ("video", "sampling", "kept", "share", "decoded", "stand for", "ffmpeg", "frames/s")
ROW = "{:<28} {:<16} {:>7} {:>7} {:>8} {:>9} {:>7} {:>8}"


def main() -> None:
    """Print a line for each video and sampling, and the sums."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sampling", nargs="+", default=list(SAMPLINGS))
    given = parser.parse_args()
    print(ROW.format(*HEADINGS))
    sums: dict[str, tuple[int, int]] = {}
    for path in sorted(path for path in given.folder.iterdir() if is_media_name(path)):
        try:
            facts = probe(path)
        except VideoError as error:
            print(f"{path.name:<28} {error}")
            continue
        truth = decode_independently(path).frames
        for text in given.sampling:
            start = time.monotonic()
            jpeg = JpegFormat(edge=768, quality=85, rotation=facts.rotation)
            with (
                tempfile.TemporaryDirectory(prefix="everyframe-bench-") as folder,
                Extraction(facts.path, Path(folder), sampling=parse_sampling(text), jpeg=jpeg) as extraction,
            ):
                stands_for = [frame.stands_for for frame in extraction]
                fps = extraction.decoded / (time.monotonic() - start)
            kept, decoded = len(stands_for), extraction.decoded
            mark = "" if decoded == sum(stands_for) == truth else "  <- does not add up"
            share = f"{kept / max(1, decoded):.1%}"
            row = ROW.format(path.name[:28], text, kept, share, decoded, sum(stands_for), truth, f"{fps:.0f}")
            print(f"{row}{mark}", flush=True)
            before = sums.get(text, (0, 0))
            sums[text] = (before[0] + kept, before[1] + decoded)
    for text, (kept, decoded) in sums.items():
        print(ROW.format("all", text, kept, f"{kept / max(1, decoded):.1%}", decoded, "", "", ""))


if __name__ == "__main__":
    main()
