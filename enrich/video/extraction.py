"""Extraction: decodes and measures every source frame and stores the frames that the sampling keeps as JPEGs.

Two threads: "decode" decodes, measures and chooses; "encode" encodes and writes. Bounded queues connect them with each
other and with the consumer, so a slow disk or consumer slows decoding down and memory use stays flat.

Guarantees: a KeptFrame is yielded only when its `stands_for` is final and its JPEG is durable on disk. The sum of
`stands_for` over all kept frames equals `decoded`. A checkpoint is yielded after all kept frames that end before it,
when the JPEG of the kept frame that is still open is durable as well. An exception in a thread is raised in the
consumer. After `close`, no thread and no `*.part` file is left.
"""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from enrich.private_files import sync_folder
from enrich.video.checkpoint import ExtractionCheckpoint, InvalidCheckpointError, State, pack, unpack
from enrich.video.decode import DecodePosition, SourceFrame, SourceFrames
from enrich.video.fingerprint import unreadable
from enrich.video.jpeg import JpegEncoder, JpegFormat, is_whole_jpeg, write_jpeg
from enrich.video.sampling import Sampling
from enrich.video.selection import FrameSelection, KeptFrame, image_name
from enrich.video.timeline import ClockEpoch

MAX_QUEUED_FRAMES = 4  # a decoded 4K frame takes 12 MB
MAX_QUEUED_RESULTS = 64
BATCH_FRAMES = 16  # written frames per sync of their folders, if more are queued
CHECKPOINT_SECONDS = 2.0  # between checkpoints, at least; each takes about 10 ms
POLL_SECONDS = 0.1  # how often a blocked thread checks whether to stop

T = TypeVar("T")


class _Stop(Exception):  # noqa: N818  # not an error: the consumer closed the extraction
    pass


@dataclass(frozen=True, slots=True)
class _End:
    """Follows the last item in a queue."""

    error: BaseException | None


def file_version(path: Path) -> tuple[int, int]:
    """Changes when a file is written to or replaced. Raises VideoMissingError."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns


class Extraction:
    """An extraction of one video into `folder`. Iterate over it once, as a context manager, or call `close`.

    `wanted` are timestamps in seconds; source frames at these times are kept regardless of the sampling.

    `continues_at`: a checkpoint of an earlier extraction of the same video with the same arguments. What follows it is
    the same as in an extraction that was not interrupted; the first frame yielded is the last that was kept before it,
    if it was not yielded yet. A checkpoint that does not fit the video is ignored, and extraction begins at the start.

    `require_same_file` raises an error if the path no longer holds the video. It is called at the end, and before an
    image is kept if the file has changed since. So no image is of another file that was written there meanwhile.
    """

    def __init__(
        self,
        path: Path | str,
        folder: Path,
        *,
        sampling: Sampling,
        jpeg: JpegFormat,
        wanted: Collection[float] = (),
        continues_at: ExtractionCheckpoint | None = None,
        require_same_file: Callable[[], None] | None = None,
    ) -> None:
        self._path = Path(path)
        self._require_same_file = require_same_file
        self._version = file_version(self._path)
        self._folder = folder
        self._sampling = sampling
        self._wanted = wanted
        self._continues_at = continues_at
        self._source = SourceFrames(path)
        self._encoder = JpegEncoder(jpeg, sample_aspect=self._source.sample_aspect)
        self._finished: list[KeptFrame] = []  # written, but their folders may not be synced yet
        self._unsynced: set[Path] = set()
        self._checkpoint_error: str | None = None
        self._decoded = 0
        self._position = 0.0
        self._stopping = threading.Event()
        self._closing = threading.Lock()
        self._to_encode: queue.Queue[SourceFrame | KeptFrame | ExtractionCheckpoint | _End] = queue.Queue(
            MAX_QUEUED_FRAMES
        )
        self._results: queue.Queue[KeptFrame | ExtractionCheckpoint | _End] = queue.Queue(MAX_QUEUED_RESULTS)
        self._threads = [
            threading.Thread(target=self._run_decoder, name="everyframe-decode", daemon=True),
            threading.Thread(target=self._run_encoder, name="everyframe-encode", daemon=True),
        ]
        self._steps = self._consume()

    @property
    def decoded(self) -> int:
        """Source frames decoded so far."""
        return self._decoded

    @property
    def checkpoint_error(self) -> str | None:
        """Why the checkpoint could not be used, if it could not."""
        return self._checkpoint_error

    @property
    def failures(self) -> int:
        """Packets that could not be decoded so far."""
        return self._source.failures

    @property
    def length(self) -> float:
        """How long the video is, in seconds, once it was decoded to its end."""
        return self._source.length or 0.0

    @property
    def stated_length(self) -> float | None:
        """How long the video should be, in seconds, if its file is cut short."""
        return self._source.stated_length

    @property
    def frame_rate(self) -> float | None:
        """The average rate of the decoded frames per second; None if it is not known."""
        return (self._decoded - 1) / self._position if self._decoded > 1 and self._position > 0 else None

    @property
    def rotation(self) -> int | None:
        """Degrees clockwise by which the last stored frame was turned upright; None if none was stored."""
        return self._encoder.rotation

    @property
    def epochs(self) -> list[ClockEpoch]:
        """The epochs decoded so far. Call it from any thread; the list is a copy."""
        return list(self._source.epochs)

    @property
    def position(self) -> float:
        """The timestamp of the last decoded frame, in seconds."""
        return self._position

    def __iter__(self) -> Iterator[KeptFrame]:
        return (step for step in self._steps if isinstance(step, KeptFrame))

    def steps(self) -> Iterator[KeptFrame | ExtractionCheckpoint]:
        """The kept frames, and the checkpoints between them."""
        return self._steps

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

    def _consume(self) -> Iterator[KeptFrame | ExtractionCheckpoint]:
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
        selection = self._begin()
        saved_at = time.monotonic()
        for frame in self._source:
            is_kept, finished = selection.take(frame)
            if finished is not None:
                self._put(self._to_encode, finished)
            if is_kept:
                self._put(self._to_encode, frame)
            self._decoded += 1
            self._position = frame.timestamp
            if self._source.position is not None and time.monotonic() - saved_at >= CHECKPOINT_SECONDS:
                self._put(self._to_encode, self._checkpoint_at(self._source.position, selection))
                saved_at = time.monotonic()
        self._require_unchanged(is_end=True)
        last = selection.end(self._position + self._source.step)
        if last is not None:
            self._put(self._to_encode, last)

    def _begin(self) -> FrameSelection:
        """A selection at the checkpoint, with the source after it; both at the start if it cannot be used."""
        if self._continues_at is not None:
            try:
                return self._continue(unpack(self._continues_at.state))
            except (InvalidCheckpointError, LookupError, TypeError) as error:
                self._checkpoint_error = str(error)
                self._source.close()
                self._source = SourceFrames(self._path)
        return FrameSelection(self._sampling, self._wanted)

    def _continue(self, state: State) -> FrameSelection:
        self._source.close()
        self._source = SourceFrames(self._path, continue_at=DecodePosition(**state["source"]))
        selection = FrameSelection(self._sampling, self._wanted)
        frame = next(iter(self._source))
        selection.restore(state["selection"], frame)
        self._decoded, self._position = self._source.decoded, frame.timestamp
        return selection

    def _checkpoint_at(self, position: DecodePosition, selection: FrameSelection) -> ExtractionCheckpoint:
        return ExtractionCheckpoint(
            self._decoded - 1, pack({"source": asdict(position), "selection": selection.state()})
        )

    def _run_encoder(self) -> None:
        end = _End(None)
        try:
            while not isinstance(item := self._get(self._to_encode), _End):
                if isinstance(item, KeptFrame):
                    self._finished.append(item)
                    if self._to_encode.empty() or len(self._finished) >= BATCH_FRAMES:
                        self._yield_finished()
                elif isinstance(item, ExtractionCheckpoint):
                    self._yield_finished()
                    self._put(self._results, item)
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

    def _require_unchanged(self, *, is_end: bool = False) -> None:
        version = file_version(self._path)
        if self._require_same_file is not None and (is_end or version != self._version):
            self._require_same_file()
            self._version = version

    def _store(self, frame: SourceFrame) -> None:
        self._require_unchanged()
        path = self._folder / image_name(frame.timestamp)
        jpeg = self._encoder.encode(frame.av_frame)
        # A skim of a file whose clock restarts may have stored another frame for this time.
        if not (is_whole_jpeg(path) and path.read_bytes() == jpeg):
            write_jpeg(path, jpeg, is_folder_synced=False)
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
