"""The extract task: decodes a claimed video and saves its kept frames as rows and JPEGs.

Runs in a thread of its own. Rows are saved in small batches during decoding, so that frames are described and found
before their video is fully decoded. Every few seconds a checkpoint is saved with them, at which the next extraction
continues with the same decisions. A kill leaves rows and JPEGs after the checkpoint: the next extraction makes the same
ones and keeps them.

An error that nothing foresaw, such as an IndexError or a MemoryError, may be the fault of the video, of the computer at
that moment, or of EveryFrame. So it counts as an attempt of the video's task (also of a skim), which is tried again
after a pause and failed with its reason at the limit. Other videos go on.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from db import checks, extraction, queries, queue, store
from db.editing import REQUEST_PRIORITY, PriorityRange, priority_range_of
from db.engine import reading, writing
from db.models import TaskStatus
from db.queries import VideoRow, frame_at
from db.queries import video as read_video
from enrich.errors import VideoError
from enrich.library.images import (
    RETRYABLE_ERRORS,
    ExtractionStopped,
    jpeg_format,
    require_disk,
    require_same_file,
    retry_at,
    translated_errors,
    use_file,
)
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.process import this_process
from enrich.schedule.coverage import CoverageOrder
from enrich.video.checkpoint import ExtractionCheckpoint
from enrich.video.extraction import Extraction
from enrich.video.sampling import parse_sampling
from enrich.video.selection import KeptFrame
from enrich.video.signals import LumaShrinker, SignalMeter
from enrich.video.source import read_source_frame
from enrich.video.timeline import ClockEpoch, clock_of
from enrich.wording import format_duration, format_timestamp, one_line

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (60.0, 300.0)  # after the first attempt, after later ones
TRY_LATER = "trying again in {pause}"
GIVEN_UP = "retry it with `everyframe retry`; if it fails again, report the traceback in the log"


def fail_attempt(library: Library, task: queue.ClaimedTask, error: Exception) -> str:
    """Count a failed attempt of a skim or an extraction, and log its traceback. Returns the reason for the user.

    Frames that were saved stay. Raises LeaseLostError, or NoSuchVideoError if the video was removed.
    """
    is_last = task.attempts + 1 >= queue.ATTEMPT_LIMIT
    pause = BACKOFF_SECONDS[min(task.attempts, len(BACKOFF_SECONDS) - 1)]
    details = ": ".join(part for part in (type(error).__name__, one_line(str(error), 300)) if part)
    next_step = GIVEN_UP if is_last else TRY_LATER.format(pause=format_duration(pause))
    now = datetime.now(UTC)
    with writing(library.engine) as connection:
        video = queries.video(connection, task.video_id)
        reason = f"{video.path} could not be processed ({details}): {next_step}"
        status = extraction.fail_attempt(connection, task, error=reason, not_before=now + timedelta(seconds=pause))
    is_failed = status is TaskStatus.FAILED
    log.log(
        logging.ERROR if is_failed else logging.WARNING,
        "%s: unexpected error in the %s task, attempt %d of %d",
        video.title,
        task.kind,
        task.attempts + 1,
        queue.ATTEMPT_LIMIT,
        exc_info=error,
        extra=about(Action.VIDEO_FAILED if is_failed else Action.VIDEO_WAITING, video=video.id),
    )
    return reason


CUT_SHORT = extraction.CUT_SHORT + " at {end}: the file says {stated}; copy it again from the original"
FPS_TOLERANCE_SHARE = 0.1  # less is jitter of a variable rate
BATCH_FRAMES = 64
# Between two measurements of the same picture, by different versions of FFmpeg.
MOST_HASH_BITS = 2
MOST_BRIGHTNESS_LEVELS = 1.0
FIRST_BATCH_FRAMES = 4  # the model waits for the first frames; later batches grow
BATCH_SECONDS = 0.25


@dataclass(slots=True)
class ExtractionProgress:
    """How far the extraction of a video is. Written by the extraction's thread, readable from any."""

    video: VideoRow
    extraction: Extraction
    kept: int = 0  # rows saved

    @property
    def decoded(self) -> int:
        """Source frames decoded so far."""
        return self.extraction.decoded


def extract_video(
    library: Library,
    task: queue.ClaimedTask,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_begin: Callable[[ExtractionProgress], None],
    on_frames: Callable[[], None],
) -> bool:
    """Extract the video of a claimed task. Returns whether it is complete; else it waits, failed, or was stopped.

    To stop early, set `stop` and close the extraction that `on_begin` was given. Raises LeaseLostError if the lease was
    lost, for example because the video was removed.
    """
    with reading(library.engine) as connection:
        video = read_video(connection, task.video_id)
    try:
        video = use_file(library, video)
        require_disk(library)
        with translated_errors(library, video):
            _decode(library, task, video, passes=passes, stop=stop, on_begin=on_begin, on_frames=on_frames)
    except RETRYABLE_ERRORS as error:
        log.warning(
            "extraction of %s postponed: %s", video.title, error, extra=about(Action.VIDEO_WAITING, video=video.id)
        )
        later = retry_at(video, datetime.now(UTC))
        with writing(library.engine) as connection:
            extraction.postpone_extraction(connection, task, reason=str(error), not_before=later)
    except VideoError as error:
        log.error("%s: %s", video.title, error, extra=about(Action.VIDEO_FAILED, video=video.id))  # noqa: TRY400
        with writing(library.engine) as connection:
            extraction.fail_extraction(connection, task, error=str(error))
    except ExtractionStopped:
        with writing(library.engine) as connection:
            extraction.postpone_extraction(connection, task, reason=None, not_before=None)
    else:
        return True
    return False


def _decode(
    library: Library,
    task: queue.ClaimedTask,
    video: VideoRow,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_begin: Callable[[ExtractionProgress], None],
    on_frames: Callable[[], None],
) -> None:
    with writing(library.engine) as connection:
        start = extraction.begin_extraction(connection, video.id)
        planner = _FramePlanner(
            order=CoverageOrder(video.duration),
            places_taken=extraction.skimmed_places(connection, video.id),
            skimmed_at=start.wanted,
            folder=video.image_folder,
        )
    with Extraction(
        Path(video.path),
        library.frames_folder / planner.folder,
        sampling=parse_sampling(video.sampling),
        jpeg=jpeg_format(library.settings, video),
        wanted=start.wanted,
        continues_at=ExtractionCheckpoint(start.index, start.state)
        if start.index is not None and start.state
        else None,
        require_same_file=partial(require_same_file, video),
    ) as decoding:
        state = ExtractionProgress(video, decoding, start.kept)
        on_begin(state)
        writer = _FrameWriter(library, task, planner, state, passes=passes, on_frames=on_frames)
        for step in decoding.steps():
            writer.add(step)
        if decoding.checkpoint_error is not None:
            reason = decoding.checkpoint_error
            log.warning("%s: extraction started over: %s", video.title, reason, extra=about(Action.VIDEO_DECODED))
        if stop.is_set():
            raise ExtractionStopped
        writer.save()
        _finish(library, task, video, decoding)
        on_frames()
        log.info(
            "%s: %d of %d frames kept, %d could not be decoded",
            video.title,
            state.kept,
            decoding.decoded,
            decoding.failures,
            extra=about(Action.VIDEO_DECODED, video=video.id),
        )


@dataclass(frozen=True, slots=True)
class _FramePlanner:
    """Makes rows of kept frames, with their priority in coverage order after the places that skimming has taken."""

    order: CoverageOrder
    places_taken: int
    skimmed_at: tuple[float, ...]
    folder: str

    def plan(self, frame: KeptFrame, requested: PriorityRange | None) -> store.NewFrame:
        is_requested = requested is not None and requested.covers(frame.timestamp)
        return store.NewFrame(
            index=frame.index,
            timestamp=frame.timestamp,
            stands_for=frame.stands_for,
            scene=frame.scene,
            image_path=f"{self.folder}/{frame.image_path}",
            dhash=f"{frame.dhash:016x}",
            sharpness=frame.sharpness,
            brightness=frame.brightness,
            motion=frame.motion,
            priority=REQUEST_PRIORITY
            if is_requested
            else self.order.priority(frame.timestamp, frame.until, after=self.places_taken, skimmed=self.skimmed_at),
        )


class _FrameWriter:
    """Saves what an extraction yields, in batches: each with the checkpoint up to which it is complete."""

    def __init__(
        self,
        library: Library,
        task: queue.ClaimedTask,
        planner: _FramePlanner,
        progress: ExtractionProgress,
        *,
        passes: tuple[str, ...],
        on_frames: Callable[[], None],
    ) -> None:
        self._library = library
        self._task = task
        self._planner = planner
        self._progress = progress
        self._passes = passes
        self._on_frames = on_frames
        self._batch: list[KeptFrame] = []
        self._epochs: list[extraction.NewEpoch] = []
        self._saved_at = time.monotonic()

    def add(self, step: KeptFrame | ExtractionCheckpoint) -> None:
        """Take the next step of the extraction, and save the batch if it is due."""
        if isinstance(step, ExtractionCheckpoint):
            self.save(step)
            return
        self._batch.append(step)
        is_full = len(self._batch) >= min(BATCH_FRAMES, self._progress.kept + FIRST_BATCH_FRAMES)
        if is_full or time.monotonic() - self._saved_at >= BATCH_SECONDS:
            self.save()

    def save(self, checkpoint: ExtractionCheckpoint | None = None) -> None:
        """Save the batch, and the checkpoint after it. Raises DiskFullError, LeaseLostError."""
        epochs = [extraction.NewEpoch(**asdict(epoch)) for epoch in self._progress.extraction.epochs]
        if not self._batch and checkpoint is None and epochs == self._epochs:
            return
        require_disk(self._library)
        with writing(self._library.engine) as connection:
            requested = priority_range_of(connection, self._task.id)
            frames = [self._planner.plan(frame, requested) for frame in self._batch]
            now = datetime.now(UTC)
            waiting = _discard_other_words(connection, self._task.video_id, frames, now)
            extraction.save_kept_frames(connection, self._task, frames, passes=self._passes, now=now)
            for task in waiting:
                queue.release(connection, task)
            if epochs != self._epochs:
                extraction.save_epochs(connection, self._task.video_id, epochs)
            if checkpoint is not None:
                video_id = self._task.video_id
                extraction.save_checkpoint(connection, video_id, index=checkpoint.index, state=checkpoint.state)
        self._progress.kept += len(self._batch)
        self._batch, self._epochs, self._saved_at = [], epochs, time.monotonic()
        self._on_frames()


def _discard_other_words(
    connection: Connection, video_id: int, frames: Sequence[store.NewFrame], now: datetime
) -> list[queue.ClaimedTask]:
    """Discard descriptions of other pictures than these frames. Returns their tasks: release them with the frames.

    A skim may store a frame under a wrong time, because the clock of the file restarts after it.
    """
    known = extraction.measured_frames(connection, video_id, [frame.timestamp for frame in frames])
    host = this_process().hostname
    return [
        task
        for frame in frames
        if (row := known.get(frame.timestamp)) and _shows_other_content(row, int(frame.dhash, 16), frame.brightness)
        for task in checks.discard_descriptions(connection, row.id, host=host, now=now)
    ]


def _shows_other_content(row: extraction.MeasuredFrame, dhash: int, brightness: float) -> bool:
    if row.dhash is None or row.brightness is None:
        return False
    bits = (int(row.dhash, 16) ^ dhash).bit_count()
    return bits > MOST_HASH_BITS or abs(row.brightness - brightness) > MOST_BRIGHTNESS_LEVELS


def _finish(library: Library, task: queue.ClaimedTask, video: VideoRow, decoding: Extraction) -> None:
    """Mark the video as extracted, with an index for every frame that has none yet."""
    with writing(library.engine) as connection:
        extraction.settle_end(connection, task, decoded=decoding.decoded, now=datetime.now(UTC))
        # In joined recordings each part may lie another way; the video's rotation is that of the first.
        if decoding.rotation is not None and len(decoding.epochs) <= 1:
            extraction.correct_rotation(connection, video.id, decoding.rotation)
    places: dict[int, int | None] = {}
    while True:
        with writing(library.engine) as connection:
            unplaced = extraction.unplaced_frames(connection, video.id)
            if all(frame_id in places for frame_id, _ in unplaced):
                extraction.finish_extraction(
                    connection,
                    task,
                    decoded=decoding.decoded,
                    failures=decoding.failures,
                    measured=_measured(decoding, video),
                    places={frame_id: places[frame_id] for frame_id, _ in unplaced},
                )
                return
        for frame_id, timestamp in unplaced:  # found after decoding had passed it, or kept for its words only
            places[frame_id] = _index_at(library, video, timestamp, decoding.epochs)


def _measured(decoding: Extraction, video: VideoRow) -> extraction.MeasuredVideo:
    """What decoding found out about a video that its header may have wrong."""
    fps, stated = decoding.frame_rate, decoding.stated_length
    is_right = fps is None or (video.fps is not None and abs(video.fps - fps) <= FPS_TOLERANCE_SHARE * fps)
    end, whole = (format_timestamp(seconds).split(".")[0] for seconds in (decoding.length, stated))
    return extraction.MeasuredVideo(
        duration=decoding.length,
        fps=video.fps if is_right or decoding.failures else fps,
        warning=None if stated is None else CUT_SHORT.format(end=end, stated=whole),
    )


def _index_at(library: Library, video: VideoRow, timestamp: float, epochs: Sequence[ClockEpoch]) -> int | None:
    """The index of the source frame at a timestamp that is not kept yet; None if there is none."""
    with reading(library.engine) as connection:
        before = frame_at(connection, video.id, timestamp, is_placed=True)
        row = extraction.measured_frames(connection, video.id, [timestamp]).get(timestamp)
    if before is not None and before.index is not None:
        near, clock = (before.index, before.timestamp), clock_of(epochs)
        source = read_source_frame(video.path, timestamp=timestamp, near=near, clock=clock)
        signals = SignalMeter().measure(LumaShrinker().shrink(source.av_frame))
        is_other = row is not None and _shows_other_content(row, signals.dhash, signals.brightness)
        if source.index is not None and source.timestamp == timestamp and source.index > before.index and not is_other:
            return source.index
    log.warning("%s has no source frame at %.6f s: the frame gets no index", video.title, timestamp)
    return None
