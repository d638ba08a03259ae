"""The first look at a video: some pictures of it within seconds, found by seeking.

The caller says where pictures are wanted; in each of these spots one is looked for that is sharp, not dark and not like
its neighbours. Guarantees: a picture comes out only when its JPEG is durable, and it has the timestamp and the bytes
that an extraction gives it, which so recognises it. Few pictures are looked at: the best of a spot may be missed.
"""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from enrich.video.jpeg import JpegEncoder, is_whole_jpeg, write_jpeg
from enrich.video.kept import image_name, microseconds
from enrich.video.readable import require_readable
from enrich.video.scout import Scout, Spot
from enrich.video.seek import Seeker

__all__ = ["SkimPicture", "Spot", "skim"]


@dataclass(frozen=True, slots=True)
class SkimPicture:
    """A picture that was found; its motion and number are not known before the extraction."""

    spot: int  # which of the spots, by its place in the sequence
    timestamp: float  # seconds from the start of the stream
    image_path: str  # relative to the folder, with forward slashes
    dhash: int
    sharpness: float
    brightness: float


def skim(
    path: Path,
    folder: Path,
    spots: Sequence[Spot],
    *,
    rotation: int,
    edge: int,
    quality: int,
    taken: Collection[float] = (),
    stop: threading.Event | None = None,
    seconds: float = 30.0,
) -> Iterator[SkimPicture]:
    """At most one picture for each spot, in their order, until `stop` is set or `seconds` are over.

    `taken` are timestamps of pictures that are there already. They are chosen like others, and then not given again:
    with the same spots, a skim that was cut short goes on where it ended. A spot gets no picture if those looked at
    are like their chosen neighbours, if none is clean, or if reaching one costs too much; a video that cannot be
    sought, or whose pictures do not carry their times, gets none at all. The file is opened with the first picture and
    closed with the iterator.

    Raises NotAVideoError or VideoMissingError, and OSError when a picture cannot be written.
    """
    end = time.monotonic() + seconds

    def is_over() -> bool:
        return time.monotonic() >= end or (stop is not None and stop.is_set())

    known = {microseconds(timestamp) for timestamp in taken}
    with Seeker(path) as seeker:
        encoder = JpegEncoder(rotation=rotation, edge=edge, quality=quality, sample_aspect=seeker.sample_aspect)
        scout = Scout(seeker, encoder, spots, is_over)
        for number in range(len(spots)):
            look = scout.choose(number)
            if is_over():
                return
            if look is None or microseconds(look.timestamp) in known:
                continue
            image_path = image_name(look.timestamp)
            if not is_whole_jpeg(folder / image_path):
                write_jpeg(folder / image_path, look.jpeg)
            signals = look.signals
            yield SkimPicture(number, look.timestamp, image_path, signals.dhash, signals.sharpness, signals.brightness)
    require_readable(path)  # an unplugged drive looks like a video without pictures
