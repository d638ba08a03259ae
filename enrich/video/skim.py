"""Skims a video: finds some frames of it within seconds, by seeking.

The caller gives targets, each a time range. In each range, the skim looks for a frame that is sharp, not dark and not
like its neighbours among the chosen frames. It tries a few key frames first. If there is at most one, and it is not
good, it decodes the group of pictures there, once for all targets inside it.

Guarantees: a frame is yielded only when its JPEG is durable on disk, and it has the same timestamp and bytes as in an
extraction, which therefore recognizes it. Not guaranteed: that it is the best frame of its range. In a file whose
clock restarts, a frame may get the timestamp of another one: the skim ends where that is noticed, and extraction
replaces it.
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
from enrich.video.jpeg import JpegEncoder, JpegFormat, is_whole_jpeg, write_jpeg
from enrich.video.likeness import DEFAULT_LIKENESS, LikenessLevel
from enrich.video.seek import Seeker
from enrich.video.selection import image_name, microseconds
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals

__all__ = ["SkimFrame", "SkimTarget", "skim"]

MAX_KEY_FRAMES = 4  # decoded per target
DARK_LEVELS = 24.0  # mean luma, of 255; fades and black between scenes are below
MIN_SHARPNESS_SHARE = 0.5  # of the median sharpness of this video; less is blurred
MIN_SHARPNESS_SAMPLES = 3  # with no more than this many, a first key frame is not trusted to be sharp
_MAX_LIKENESS = DEFAULT_LIKENESS.threshold(LikenessLevel.NORMAL)


@dataclass(frozen=True, slots=True)
class SkimTarget:
    """Where to look for a frame, in seconds from the start of the stream."""

    at: float  # the preferred time
    earliest: float  # the frame's timestamp t must satisfy earliest ≤ t < latest
    latest: float

    def contains(self, timestamp: float) -> bool:
        return self.earliest <= timestamp < self.latest


@dataclass(frozen=True, slots=True)
class SkimFrame:
    """A frame found by a skim. Its index and motion are unknown until the extraction."""

    target: int  # position of its target in the sequence of targets
    timestamp: float  # seconds from the start of the stream
    clock_at: float  # the same in the clock of the file
    image_path: str  # relative to the folder, with forward slashes
    dhash: int
    sharpness: float
    brightness: float


def skim(
    path: Path,
    folder: Path,
    targets: Sequence[SkimTarget],
    *,
    jpeg: JpegFormat,
    known: Collection[float] = (),
    stop: threading.Event | None = None,
    time_limit: float = 30.0,
) -> Iterator[SkimFrame]:
    """Yield at most one frame for each target, in order, until `stop` is set or `time_limit` seconds have passed.

    `known` are the timestamps of frames found before. They are chosen like others but not yielded again, so that with
    the same targets an interrupted skim continues where it ended. A target gets no frame if the candidates are like
    their chosen neighbours, have errors, or cost too much to reach. A video that is not seekable, or whose frames have
    no timestamps, yields nothing. The file is opened with the first frame and closed with the iterator.

    Raises NotAVideoError or VideoMissingError, and OSError if an image cannot be written.
    """
    end = time.monotonic() + time_limit

    def is_over() -> bool:
        return time.monotonic() >= end or (stop is not None and stop.is_set())

    known_micros = {microseconds(timestamp) for timestamp in known}
    with Seeker(path) as seeker:
        encoder = JpegEncoder(jpeg, sample_aspect=seeker.sample_aspect)
        search = SkimSearch(seeker, encoder, targets, is_over)
        for number in range(len(targets)):
            chosen = search.choose(number)
            if is_over():
                return
            if chosen is None or microseconds(chosen.timestamp) in known_micros:
                continue
            image_path = image_name(chosen.timestamp)
            if not is_whole_jpeg(folder / image_path):
                write_jpeg(folder / image_path, chosen.jpeg)
            signals = chosen.signals
            yield SkimFrame(
                number,
                chosen.timestamp,
                seeker.clock_at(chosen.timestamp),
                image_path,
                signals.dhash,
                signals.sharpness,
                signals.brightness,
            )
    require_readable(path)  # a disconnected drive looks like a video without frames


@dataclass(frozen=True, slots=True)
class SkimCandidate:
    """A decoded frame that may be chosen."""

    timestamp: float
    luma: Luma
    signals: Signals  # without motion
    jpeg: bytes


class SkimSearch:
    """Chooses the frames of one video, at most one per target. `is_over` ends a search early."""

    def __init__(
        self, seeker: Seeker, encoder: JpegEncoder, targets: Sequence[SkimTarget], is_over: Callable[[], bool]
    ) -> None:
        self._seeker = seeker
        self._encoder = encoder
        self._open = dict(enumerate(targets))
        self._is_over = is_over
        self._shrinker = LumaShrinker()
        self._gop_best: dict[int, SkimCandidate] = {}  # the best frame of each open target in the decoded GOPs
        self._times: list[float] = []  # of the chosen frames, ascending
        self._lumas: dict[float, Luma] = {}
        self._sharpness: list[float] = []  # of the candidates that were not dark

    def choose(self, number: int) -> SkimCandidate | None:
        """The first good frame for the target with this number, else the best of the candidates; None without any."""
        target = self._open[number]
        best: SkimCandidate | None = None
        count = 0
        for candidate in self._key_frames(target):
            count += 1
            best = self._better(candidate, best)
            if best is candidate and self._is_good(best) and len(self._sharpness) > MIN_SHARPNESS_SAMPLES:
                break
        if count <= 1 and not (best is not None and self._is_good(best)):
            if number not in self._gop_best:
                self._decode_gop(target.at)
            if number in self._gop_best:
                best = self._better(self._gop_best[number], best)
        del self._open[number]
        if best is not None:
            insort(self._times, best.timestamp)
            self._lumas[best.timestamp] = best.luma
        return best

    def _key_frames(self, target: SkimTarget) -> Iterator[SkimCandidate]:
        """Up to `MAX_KEY_FRAMES` key frames in the range: around its preferred time, then halfway to its ends."""
        seen: set[float] = set()
        for seconds in (target.at, (target.earliest + target.at) / 2, (target.at + target.latest) / 2):
            if self._is_over() or (seconds != target.at and not seen):
                return
            for key in self._seeker.key_frames_around(seconds):
                if len(seen) < MAX_KEY_FRAMES and target.contains(key.timestamp) and key.timestamp not in seen:
                    seen.add(key.timestamp)
                    frame = self._seeker.decode_key_frame(key)
                    if frame is not None:
                        yield self._candidate(frame, *self._measure(frame))

    def _decode_gop(self, seconds: float) -> None:
        """Decode the group of pictures around a time, for all open targets inside it."""
        for frame in self._seeker.gop_at(seconds):
            if self._is_over():
                return
            numbers = [number for number, target in self._open.items() if target.contains(frame.timestamp)]
            if not numbers:
                continue
            luma, signals = self._measure(frame)
            better = [number for number in numbers if _is_better(signals, self._gop_best.get(number))]
            if better:
                self._gop_best |= dict.fromkeys(better, self._candidate(frame, luma, signals))

    def _measure(self, frame: SourceFrame) -> tuple[Luma, Signals]:
        luma = self._shrinker.shrink(frame.av_frame)
        return luma, SignalMeter().measure(luma)

    def _candidate(self, frame: SourceFrame, luma: Luma, signals: Signals) -> SkimCandidate:
        return SkimCandidate(frame.timestamp, luma, signals, self._encoder.encode(frame.av_frame))

    def _better(self, candidate: SkimCandidate, best: SkimCandidate | None) -> SkimCandidate | None:
        """The candidate if it beats `best` and is unlike the chosen frames before and after it, else `best`."""
        if _is_bright(candidate.signals):
            self._sharpness.append(candidate.signals.sharpness)
        place = bisect(self._times, candidate.timestamp)
        neighbours = self._times[max(0, place - 1) : place + 1]
        is_new = all(DEFAULT_LIKENESS.measure(self._lumas[time], candidate.luma) < _MAX_LIKENESS for time in neighbours)
        return candidate if is_new and _is_better(candidate.signals, best) else best

    def _is_good(self, candidate: SkimCandidate) -> bool:
        if not _is_bright(candidate.signals):
            return False
        return candidate.signals.sharpness >= MIN_SHARPNESS_SHARE * statistics.median(self._sharpness)


def _is_bright(signals: Signals) -> bool:
    return signals.brightness >= DARK_LEVELS


def _is_better(signals: Signals, rival: SkimCandidate | None) -> bool:
    if rival is None:
        return True
    return (_is_bright(signals), signals.sharpness) > (_is_bright(rival.signals), rival.signals.sharpness)
