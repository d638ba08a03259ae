"""Decoding one claimed video into frame rows: the hand-over from `enrich.video` to the database.

Runs in a thread of its own beside the event loop. Rows are saved in small batches while decoding goes on, so that
frames are described, and searched, before their video is through. What a kill leaves behind is whole JPEGs without
a row, and rows; the next extraction skips both.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db import extraction, queue, store
from db.editing import PriorityRange, priority_range_of
from db.engine import reading, writing
from db.queries import VideoRow, frame_at
from db.queries import video as read_video
from enrich.errors import VideoError
from enrich.library.library import Library
from enrich.library.pictures import (
    WAITING_SECONDS,
    WAITS,
    ExtractionStopped,
    folder_name,
    jpeg_format,
    require_disk,
    require_same_file,
    translated_errors,
)
from enrich.logs import Action, about
from enrich.schedule.coverage import REQUEST_PRIORITY, CoverageOrder
from enrich.video.extraction import Extraction, KeptFrame
from enrich.video.sampling import parse_sampling
from enrich.video.source import read_source_frame

log = logging.getLogger(__name__)

BATCH_FRAMES = 64
FIRST_BATCH_FRAMES = 4  # the model waits for the first ones; from there on batches grow
BATCH_SECONDS = 0.25


@dataclass(slots=True)
class ExtractionProgress:
    """The video in hand and how far it is; written by the extraction's thread, read by anybody."""

    video: VideoRow
    extraction: Extraction
    kept: int = 0  # rows saved

    @property
    def decoded(self) -> int:
        """Source frames decoded so far."""
        return self.extraction.decoded


def extract_video(
    library: Library,
    job: queue.ClaimedTask,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_begin: Callable[[ExtractionProgress], None],
    on_frames: Callable[[], None],
) -> bool:
    """Decode the video of a claimed task to its end; whether it is done (else it waits, failed, or was stopped).

    To stop early, set `stop` and close the extraction that `on_begin` was given.

    Raises LeaseLostError if the task was taken away meanwhile (the video was removed, say).
    """
    with reading(library.engine) as connection:
        video = read_video(connection, job.video_id)
    try:
        require_same_file(video)
        require_disk(library)
        with translated_errors(library, video):
            _decode(library, job, video, passes=passes, stop=stop, on_begin=on_begin, on_frames=on_frames)
    except WAITS as error:
        log.warning("%s waits: %s", video.title, error, extra=about(Action.VIDEO_WAITING, video=video.id))
        later = datetime.now(UTC) + timedelta(seconds=WAITING_SECONDS)
        with writing(library.engine) as connection:
            extraction.postpone_extraction(connection, job, reason=str(error), not_before=later)
    except VideoError as error:
        log.error("%s: %s", video.title, error, extra=about(Action.VIDEO_FAILED, video=video.id))  # noqa: TRY400
        with writing(library.engine) as connection:
            extraction.fail_extraction(connection, job, error=str(error))
    except ExtractionStopped:
        with writing(library.engine) as connection:
            extraction.postpone_extraction(connection, job, reason=None, not_before=None)
    else:
        return True
    return False


def _decode(
    library: Library,
    job: queue.ClaimedTask,
    video: VideoRow,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_begin: Callable[[ExtractionProgress], None],
    on_frames: Callable[[], None],
) -> None:
    with writing(library.engine) as connection:
        extraction.begin_extraction(connection, video.id)
        sought = extraction.unplaced_frames(connection, video.id)
        planner = _FramePlanner(
            even=CoverageOrder(video.duration),
            places_taken=extraction.places_taken(connection, video.id),
            looked_at=tuple(timestamp for _, timestamp in sought),
            folder=folder_name(video.fingerprint),
        )
    settings = library.settings
    with Extraction(
        Path(video.path),
        library.frames_folder / planner.folder,
        sampling=parse_sampling(video.sampling),
        jpeg=jpeg_format(settings, video),
        wanted=planner.looked_at,
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
                _save(library, job, planner, batch, passes)
                state.kept += len(batch)
                on_frames()
                batch, saved_at = [], time.monotonic()
        if stop.is_set():
            raise ExtractionStopped
        _save(library, job, planner, batch, passes)
        state.kept += len(batch)
        _finish(library, job, video, decoding)
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
    """Makes rows of kept frames: their place in the even order, beyond the moments a look by seeking has taken."""

    even: CoverageOrder
    places_taken: int
    looked_at: tuple[float, ...]
    folder: str

    def plan(self, frame: KeptFrame, wish: PriorityRange | None) -> store.NewFrame:
        is_wished = wish is not None and wish.covers(frame.timestamp)
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
            if is_wished
            else self.even.priority(frame.timestamp, frame.until, after=self.places_taken, skimmed=self.looked_at),
        )


def _save(
    library: Library, job: queue.ClaimedTask, planner: _FramePlanner, batch: list[KeptFrame], passes: tuple[str, ...]
) -> None:
    if batch:
        with writing(library.engine) as connection:
            wish = priority_range_of(connection, job.id)
            frames = [planner.plan(frame, wish) for frame in batch]
            store.save_frames(connection, job, frames, passes=passes, now=datetime.now(UTC))


def _finish(library: Library, job: queue.ClaimedTask, video: VideoRow, decoding: Extraction) -> None:
    """Note that the video is through, once every picture found by seeking has its place among the source frames."""
    while True:
        with writing(library.engine) as connection:
            sought = extraction.unplaced_frames(connection, video.id)
            if not sought:
                extraction.finish_extraction(
                    connection,
                    job,
                    decoded=decoding.decoded,
                    failures=decoding.failures,
                    duration=decoding.position + (1 / video.fps if video.fps else 0.0),
                )
                return
        for frame_id, timestamp in sought:  # found while decoding had passed it already, or at a time nothing has
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
            log.warning("%s has no picture at %.6f s: it is dropped", video.title, timestamp)
            extraction.drop_frames(connection, [frame_id])
