"""Extraction: every frame decoded and measured, the chosen ones kept as JPEGs.

Two threads of its own: one decodes, measures and chooses; one encodes and writes. Bounded queues join them to the
consumer, so a slow disk or consumer slows decoding down and memory stays flat. Guarantees: a KeptFrame comes out
only when its `stands_for` is final and its JPEG durable; `sum(stands_for)` of all of them is `decoded`; what goes
wrong in a thread is raised in the consumer; after `close`, no thread and no `*.part` is left.
"""

import queue
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, is_whole_jpeg, sync_folder, write_jpeg
from enrich.video.kept import KeptFrame, KeptTimes, OpenFrame, image_name, microseconds
from enrich.video.likeness import DEFAULT_LIKENESS, Likeness
from enrich.video.probe import VideoFacts, probe
from enrich.video.sampling import Sampling
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals

WAITING_PICTURES = 4  # a decoded 4K picture is 12 MB
WAITING_RESULTS = 64
BATCH_FRAMES = 16  # frames whose folder is synced at once when pictures queue up
POLL_SECONDS = 0.1  # how long a thread waits before it looks whether it should stop

__all__ = ["Extraction", "KeptFrame", "image_name"]

T = TypeVar("T")


class _Stop(Exception):  # noqa: N818  # not an error: the consumer has had enough
    pass


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Extraction:
    """One extraction into `folder` in progress; iterate over it once, as a context manager, or close it.

    `wanted` are timestamps of pictures that are kept whatever the sampling says, if decoding meets them.
    """

    def __init__(
        self,
        video: VideoFacts | Path | str,
        folder: Path,
        *,
        sampling: Sampling,
        edge: int,
        quality: int,
        rotation: int | None = None,
        skip_existing: bool = True,
        likeness: Likeness = DEFAULT_LIKENESS,
        wanted: Collection[float] = (),
    ) -> None:
        path = video.path if isinstance(video, VideoFacts) else Path(video)
        if rotation is None:
            rotation = (video if isinstance(video, VideoFacts) else probe(path)).rotation
        self._folder = folder
        self._chooser = sampling.chooser(likeness)
        self._wanted = frozenset(map(microseconds, wanted))
        self._skip_existing = skip_existing
        self._source = SourceFrames(path)
        self._encoder = JpegEncoder(
            rotation=rotation, edge=edge, quality=quality, sample_aspect=self._source.sample_aspect
        )
        self._closed: list[KeptFrame] = []
        self._unsynced: set[Path] = set()
        self._decoded = 0
        self._position = 0.0
        self._stopping = threading.Event()
        self._closing = threading.Lock()
        self._pictures: queue.Queue[SourceFrame | KeptFrame | _End] = queue.Queue(WAITING_PICTURES)
        self._results: queue.Queue[KeptFrame | _End] = queue.Queue(WAITING_RESULTS)
        self._threads = [
            threading.Thread(target=self._run_decoder, name="everyframe-decode", daemon=True),
            threading.Thread(target=self._run_encoder, name="everyframe-encode", daemon=True),
        ]
        self._frames = self._consume()
        self._times = KeptTimes()

    @property
    def decoded(self) -> int:
        """Source frames decoded so far."""
        return self._decoded

    @property
    def failures(self) -> int:
        """What could not be decoded so far."""
        return self._source.failures

    @property
    def position(self) -> float:
        """The timestamp of the last decoded frame, in seconds."""
        return self._position

    def __iter__(self) -> Iterator[KeptFrame]:
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops early or cleans up at the end; waits for the threads. May be called twice, and from any thread."""
        self._stopping.set()
        with self._closing:  # the consumer closes too, when it notices: a codec freed twice ends the process
            for thread in self._threads:
                if thread.ident is not None:
                    thread.join()
            self._source.close()

    def _consume(self) -> Iterator[KeptFrame]:
        try:
            with self._closing:
                if self._stopping.is_set():
                    return
                for thread in self._threads:
                    thread.start()
            while True:
                result = self._get(self._results)
                if isinstance(result, _End):
                    if result.error is not None:
                        raise result.error
                    return
                yield result
        except _Stop:
            return
        finally:
            self.close()

    def _run_decoder(self) -> None:
        end = _End(None)
        try:
            self._decode()
        except _Stop:
            return
        except BaseException as error:  # noqa: BLE001  # raised in the consumer
            end = _End(error)
        self._put_end(self._pictures, end)

    def _decode(self) -> None:
        shrinker = LumaShrinker()
        meter = SignalMeter()
        kept: OpenFrame | None = None
        scene = 0
        for frame in self._source:
            luma = shrinker.shrink(frame.picture)
            signals = meter.measure(luma)
            scene += signals.is_cut
            if self._is_kept(frame, luma, signals) or kept is None:
                if kept is not None:
                    self._put(self._pictures, kept.closed(frame.timestamp))
                self._times.add(frame.timestamp)
                kept = OpenFrame(self._decoded, frame.timestamp, scene, signals)
                self._put(self._pictures, frame)
            else:
                kept.stands_for += 1
            self._decoded += 1
            self._position = frame.timestamp
        if kept is not None:
            self._put(self._pictures, kept.closed(self._position + self._source.step))

    def _is_kept(self, frame: SourceFrame, luma: Luma, signals: Signals) -> bool:
        is_wanted = microseconds(frame.timestamp) in self._wanted
        return self._times.is_new(frame.timestamp) and self._chooser.keep(
            frame.timestamp, luma, signals, is_wanted=is_wanted
        )

    def _run_encoder(self) -> None:
        end = _End(None)
        try:
            while not isinstance(work := self._get(self._pictures), _End):
                if isinstance(work, KeptFrame):
                    self._closed.append(work)
                    if self._pictures.empty() or len(self._closed) >= BATCH_FRAMES:
                        self._release()
                else:
                    self._store(work)
                del work  # a picture is large
            end = work
            self._release()
        except _Stop:
            return
        except BaseException as error:  # noqa: BLE001  # raised in the consumer
            end = _End(error)
        self._put_end(self._results, end)

    def _store(self, frame: SourceFrame) -> None:
        path = self._folder / image_name(frame.timestamp)
        if not (self._skip_existing and is_whole_jpeg(path)):
            write_jpeg(path, self._encoder.encode(frame.picture), is_folder_synced=False)
        self._unsynced.add(path.parent)

    def _release(self) -> None:
        """Hands closed frames over, once the folders of their pictures are durable: one sync for many."""
        for folder in self._unsynced:
            sync_folder(folder)
        self._unsynced.clear()
        for frame in self._closed:
            self._put(self._results, frame)
        self._closed.clear()

    def _put(self, target: queue.Queue[T], item: T) -> None:
        while not self._stopping.is_set():
            try:
                target.put(item, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return
        raise _Stop

    def _put_end(self, target: queue.Queue[T], end: T) -> None:
        try:
            self._put(target, end)
        except _Stop:
            return

    def _get(self, source: queue.Queue[T]) -> T:
        while not self._stopping.is_set():
            try:
                return source.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
        raise _Stop
