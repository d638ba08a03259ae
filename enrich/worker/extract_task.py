"""The extract task: decodes a claimed video and saves its kept frames as rows and JPEGs.

Runs in a thread of its own. Rows are saved in small batches during decoding, so that frames are described and found
before their video is fully decoded. A kill leaves rows, and complete JPEGs without a row: the next extraction skips
both.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db import extraction, queue, store
from db.editing import REQUEST_PRIORITY, PriorityRange, priority_range_of
from db.engine import reading, writing
from db.queries import VideoRow, frame_at
from db.queries import video as read_video
from enrich.errors import VideoError
from enrich.library.images import (
    RETRY_SECONDS,
    RETRYABLE_ERRORS,
    ExtractionStopped,
    image_folder_name,
    jpeg_format,
    require_disk,
    require_same_file,
    translated_errors,
)
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.schedule.coverage import CoverageOrder
from enrich.video.extraction import Extraction
from enrich.video.kept import KeptFrame
from enrich.video.sampling import parse_sampling
from enrich.video.source import read_source_frame

log = logging.getLogger(__name__)

BATCH_FRAMES = 64
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
        require_same_file(video)
        require_disk(library)
        with translated_errors(library, video):
            _decode(library, task, video, passes=passes, stop=stop, on_begin=on_begin, on_frames=on_frames)
    except RETRYABLE_ERRORS as error:
        log.warning(
            "extraction of %s postponed: %s", video.title, error, extra=about(Action.VIDEO_WAITING, video=video.id)
        )
        later = datetime.now(UTC) + timedelta(seconds=RETRY_SECONDS)
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
        extraction.begin_extraction(connection, video.id)
        skimmed = extraction.unplaced_frames(connection, video.id)
        planner = _FramePlanner(
            order=CoverageOrder(video.duration),
            places_taken=extraction.skimmed_places(connection, video.id),
            skimmed_at=tuple(timestamp for _, timestamp in skimmed),
            folder=image_folder_name(video.fingerprint),
        )
    with Extraction(
        Path(video.path),
        library.frames_folder / planner.folder,
        sampling=parse_sampling(video.sampling),
        jpeg=jpeg_format(library.settings, video),
        wanted=planner.skimmed_at,
    ) as decoding:
        state = ExtractionProgress(video, decoding)
        on_begin(state)
        batch: list[KeptFrame] = []
        saved_at = time.monotonic()
        for frame in decoding:
            batch.append(frame)
            if (
                len(batch) >= min(BATCH_FRAMES, state.kept + FIRST_BATCH_FRAMES)
                or time.monotonic() - saved_at >= BATCH_SECONDS
            ):
                require_disk(library)
                _save(library, task, planner, batch, passes)
                state.kept += len(batch)
                on_frames()
                batch, saved_at = [], time.monotonic()
        if stop.is_set():
            raise ExtractionStopped
        _save(library, task, planner, batch, passes)
        state.kept += len(batch)
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


def _save(
    library: Library, task: queue.ClaimedTask, planner: _FramePlanner, batch: list[KeptFrame], passes: tuple[str, ...]
) -> None:
    if batch:
        with writing(library.engine) as connection:
            requested = priority_range_of(connection, task.id)
            frames = [planner.plan(frame, requested) for frame in batch]
            store.save_frames(connection, task, frames, passes=passes, now=datetime.now(UTC))


def _finish(library: Library, task: queue.ClaimedTask, video: VideoRow, decoding: Extraction) -> None:
    """Mark the video as extracted, once every skimmed frame has its index among the source frames."""
    while True:
        with writing(library.engine) as connection:
            skimmed = extraction.unplaced_frames(connection, video.id)
            if not skimmed:
                extraction.finish_extraction(
                    connection,
                    task,
                    decoded=decoding.decoded,
                    failures=decoding.failures,
                    duration=decoding.position + (1 / video.fps if video.fps else 0.0),
                )
                return
        for frame_id, timestamp in skimmed:  # found after decoding had passed it, or at a time without a frame
            _place(library, video, frame_id, timestamp)


def _place(library: Library, video: VideoRow, frame_id: int, timestamp: float) -> None:
    with reading(library.engine) as connection:
        before = frame_at(connection, video.id, timestamp, is_placed=True)
    near = (before.index, before.timestamp) if before is not None and before.index is not None else None
    source = read_source_frame(video.path, timestamp=timestamp, near=near)
    with writing(library.engine) as connection:
        if near is not None and source.index is not None and source.timestamp == timestamp and source.index > near[0]:
            extraction.place_frame(connection, frame_id, index=source.index)
        else:
            log.warning("%s has no source frame at %.6f s: skimmed frame dropped", video.title, timestamp)
            extraction.delete_frames(connection, [frame_id])
