"""Extraction: decodes and measures every source frame and stores the frames that the sampling keeps as JPEGs.

Two threads: "decode" decodes, measures and chooses; "encode" encodes and writes. Bounded queues connect them with each
other and with the consumer, so a slow disk or consumer slows decoding down and memory use stays flat.

Guarantees: a KeptFrame is yielded only when its `stands_for` is final and its JPEG is durable on disk. The sum of
`stands_for` over all kept frames equals `decoded`. An exception in a thread is raised in the consumer. After `close`,
no thread and no `*.part` file is left.
"""

import queue
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from enrich.video.decode import SourceFrame, SourceFrames
from enrich.video.jpeg import JpegEncoder, JpegFormat, is_whole_jpeg, sync_folder, write_jpeg
from enrich.video.kept import KeptFrame, KeptTimes, OpenFrame, image_name, microseconds
from enrich.video.sampling import Sampling
from enrich.video.signals import Luma, LumaShrinker, SignalMeter, Signals

MAX_QUEUED_FRAMES = 4  # a decoded 4K frame takes 12 MB
MAX_QUEUED_RESULTS = 64
BATCH_FRAMES = 16  # written frames per sync of their folders, if more are queued
POLL_SECONDS = 0.1  # how often a blocked thread checks whether to stop

T = TypeVar("T")


class _Stop(Exception):  # noqa: N818  # not an error: the consumer closed the extraction
    pass


@dataclass(frozen=True, slots=True)
class _End:
    """Follows the last item in a queue."""

    error: BaseException | None


class Extraction:
    """An extraction of one video into `folder`. Iterate over it once, as a context manager, or call `close`.

    `wanted` are timestamps in seconds; source frames at these times are kept regardless of the sampling.
    """

    def __init__(
        self,
        path: Path | str,
        folder: Path,
        *,
        sampling: Sampling,
        jpeg: JpegFormat,
        wanted: Collection[float] = (),
    ) -> None:
        self._folder = folder
        self._chooser = sampling.chooser()
        self._wanted = frozenset(map(microseconds, wanted))
        self._source = SourceFrames(path)
        self._encoder = JpegEncoder(jpeg, sample_aspect=self._source.sample_aspect)
        self._finished: list[KeptFrame] = []  # written, but their folders may not be synced yet
        self._unsynced: set[Path] = set()
        self._decoded = 0
        self._position = 0.0
        self._stopping = threading.Event()
        self._closing = threading.Lock()
        self._to_encode: queue.Queue[SourceFrame | KeptFrame | _End] = queue.Queue(MAX_QUEUED_FRAMES)
        self._results: queue.Queue[KeptFrame | _End] = queue.Queue(MAX_QUEUED_RESULTS)
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
        """Packets that could not be decoded so far."""
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
        """Stop early, or clean up at the end; waits for the threads. Idempotent; may be called from any thread."""
        self._stopping.set()
        with self._closing:  # the consumer closes too; freeing a codec twice would crash the process
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
        except BaseException as error:  # noqa: BLE001  # raised again in the consumer
            end = _End(error)
        self._put_end(self._to_encode, end)

    def _decode(self) -> None:
        shrinker = LumaShrinker()
        meter = SignalMeter()
        kept: OpenFrame | None = None
        scene = 0
        for frame in self._source:
            luma = shrinker.shrink(frame.av_frame)
            signals = meter.measure(luma)
            scene += signals.is_cut
            if self._is_kept(frame, luma, signals) or kept is None:
                if kept is not None:
                    self._put(self._to_encode, kept.finish(frame.timestamp))
                self._times.add(frame.timestamp)
                kept = OpenFrame(self._decoded, frame.timestamp, scene, signals)
                self._put(self._to_encode, frame)
            else:
                kept.stands_for += 1
            self._decoded += 1
            self._position = frame.timestamp
        if kept is not None:
            self._put(self._to_encode, kept.finish(self._position + self._source.step))

    def _is_kept(self, frame: SourceFrame, luma: Luma, signals: Signals) -> bool:
        is_wanted = microseconds(frame.timestamp) in self._wanted
        return self._times.is_new(frame.timestamp) and self._chooser.keep(
            frame.timestamp, luma, signals, is_wanted=is_wanted
        )

    def _run_encoder(self) -> None:
        end = _End(None)
        try:
            while not isinstance(item := self._get(self._to_encode), _End):
                if isinstance(item, KeptFrame):
                    self._finished.append(item)
                    if self._to_encode.empty() or len(self._finished) >= BATCH_FRAMES:
                        self._yield_finished()
                else:
                    self._store(item)
                del item  # a decoded frame is large
            end = item
            self._yield_finished()
        except _Stop:
            return
        except BaseException as error:  # noqa: BLE001  # raised again in the consumer
            end = _End(error)
        self._put_end(self._results, end)

    def _store(self, frame: SourceFrame) -> None:
        path = self._folder / image_name(frame.timestamp)
        if not is_whole_jpeg(path):
            write_jpeg(path, self._encoder.encode(frame.av_frame), is_folder_synced=False)
        self._unsynced.add(path.parent)

    def _yield_finished(self) -> None:
        """Pass finished frames to the consumer, after one sync of their folders for the whole batch."""
        for folder in self._unsynced:
            sync_folder(folder)
        self._unsynced.clear()
        for frame in self._finished:
            self._put(self._results, frame)
        self._finished.clear()

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
