"""The first look at a video: some pictures of it within seconds, found by seeking.

The caller says where pictures are wanted; in each of these spots one is looked for that is sharp, not dark and not like
its neighbours. Guarantees: a picture comes out only when its JPEG is durable, and it has the timestamp and the bytes
that an extraction gives it, which so recognises it. Few pictures are looked at: the best of a spot may be missed.

The scout: looks for a picture of a video that is sharp, not dark and not like its neighbours, where one is wanted.

It looks at a few key frames first. Where there is at most one and that is no good, it decodes the group of pictures
there, once for all the spots in it.
"""

import statistics
import threading
import time
from bisect import bisect, insort
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from enrich.video.decode import SourceFrame
from enrich.video.fingerprint import require_readable
from enrich.video.jpeg import JpegEncoder, is_whole_jpeg, write_jpeg
from enrich.video.kept import image_name, microseconds
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.seek import Seeker
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals


@dataclass(frozen=True, slots=True)
class SkimTarget:
    """Where a picture is wanted; all in seconds from the start of the stream."""

    at: float
    earliest: float  # it may be taken from earliest ≤ t < latest
    latest: float

    def holds(self, timestamp: float) -> bool:
        return self.earliest <= timestamp < self.latest


__all__ = ["SkimFrame", "SkimTarget", "skim"]
TRIES = 4  # key frames looked at for one that is good
DARK_LEVELS = 24.0  # of 255, mean luma: fades and black between scenes lie below
BLURRED_SHARE = 0.5  # of the usual sharpness of this video
USUAL_LOOKS = 3  # until there are more, key frames are compared even if the first seems good
_ALIKE = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)


@dataclass(frozen=True, slots=True)
class SkimFrame:
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
    spots: Sequence[SkimTarget],
    *,
    rotation: int,
    edge: int,
    quality: int,
    taken: Collection[float] = (),
    stop: threading.Event | None = None,
    seconds: float = 30.0,
) -> Iterator[SkimFrame]:
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
        scout = SkimSearch(seeker, encoder, spots, is_over)
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
            yield SkimFrame(number, look.timestamp, image_path, signals.dhash, signals.sharpness, signals.brightness)
    require_readable(path)  # an unplugged drive looks like a video without pictures


@dataclass(frozen=True, slots=True)
class SkimCandidate:
    """A picture that was looked at."""

    timestamp: float
    luma: Luma
    signals: Signals  # without motion
    jpeg: bytes


class SkimSearch:
    """Chooses the pictures of one video, at most one for each spot. `is_over` ends a search early."""

    def __init__(
        self, seeker: Seeker, encoder: JpegEncoder, spots: Sequence[SkimTarget], is_over: Callable[[], bool]
    ) -> None:
        self._seeker = seeker
        self._encoder = encoder
        self._open = dict(enumerate(spots))
        self._is_over = is_over
        self._shrinker = LumaShrinker()
        self._passed: dict[int, SkimCandidate] = {}  # the best picture of open spots in groups that were decoded
        self._times: list[float] = []  # of the chosen pictures, ascending
        self._lumas: dict[float, Luma] = {}
        self._sharpness: list[float] = []  # of the pictures considered that were not dark

    def choose(self, number: int) -> SkimCandidate | None:
        """The first good picture of the spot with this number, or the best of some; None if there is none."""
        spot = self._open[number]
        best: SkimCandidate | None = None
        count = 0
        for look in self._key_frames(spot):
            count += 1
            best = self._better(look, best)
            if best is look and self._is_good(best) and len(self._sharpness) > USUAL_LOOKS:
                break
        if count <= 1 and not (best is not None and self._is_good(best)):
            if number not in self._passed:
                self._pass_through(spot.at)
            if number in self._passed:
                best = self._better(self._passed[number], best)
        del self._open[number]
        if best is not None:
            insort(self._times, best.timestamp)
            self._lumas[best.timestamp] = best.luma
        return best

    def _key_frames(self, spot: SkimTarget) -> Iterator[SkimCandidate]:
        """Up to `TRIES` key frames inside the spot: those around its middle, then those halfway to its ends."""
        seen: set[float] = set()
        for moment in (spot.at, (spot.earliest + spot.at) / 2, (spot.at + spot.latest) / 2):
            if self._is_over() or (moment != spot.at and not seen):
                return
            for key in self._seeker.key_frames_around(moment):
                if len(seen) < TRIES and spot.holds(key.timestamp) and key.timestamp not in seen:
                    seen.add(key.timestamp)
                    frame = self._seeker.decode_key_frame(key)
                    if frame is not None:
                        yield self._look(frame, *self._measure(frame))

    def _pass_through(self, moment: float) -> None:
        """Decodes the group of pictures around a moment, for all open spots in it."""
        for frame in self._seeker.group_at(moment):
            if self._is_over():
                return
            numbers = [number for number, spot in self._open.items() if spot.holds(frame.timestamp)]
            if not numbers:
                continue
            luma, signals = self._measure(frame)
            better = [number for number in numbers if _beats(signals, self._passed.get(number))]
            if better:
                self._passed |= dict.fromkeys(better, self._look(frame, luma, signals))

    def _measure(self, frame: SourceFrame) -> tuple[Luma, Signals]:
        luma = self._shrinker.shrink(frame.picture)
        return luma, SignalMeter().measure(luma)

    def _look(self, frame: SourceFrame, luma: Luma, signals: Signals) -> SkimCandidate:
        return SkimCandidate(frame.timestamp, luma, signals, self._encoder.encode(frame.picture))

    def _better(self, look: SkimCandidate, best: SkimCandidate | None) -> SkimCandidate | None:
        """The look if it beats the best so far, and is unlike the pictures chosen before and after it in time."""
        if _is_bright(look.signals):
            self._sharpness.append(look.signals.sharpness)
        place = bisect(self._times, look.timestamp)
        neighbours = self._times[max(0, place - 1) : place + 1]
        is_new = all(DEFAULT_LIKENESS.measure(self._lumas[time], look.luma) < _ALIKE for time in neighbours)
        return look if is_new and _beats(look.signals, best) else best

    def _is_good(self, look: SkimCandidate) -> bool:
        if not _is_bright(look.signals):
            return False
        return look.signals.sharpness >= BLURRED_SHARE * statistics.median(self._sharpness)


def _is_bright(signals: Signals) -> bool:
    return signals.brightness >= DARK_LEVELS


def _beats(signals: Signals, rival: SkimCandidate | None) -> bool:
    if rival is None:
        return True
    return (_is_bright(signals), signals.sharpness) > (_is_bright(rival.signals), rival.signals.sharpness)
