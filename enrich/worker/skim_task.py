"""The skim task: finds the first frames of a claimed video by seeking and saves them.

Runs in a thread of its own. Frames are saved as they are found, so that the first is described while the others are
sought. An interrupted first skim seeks again and makes the same choices, but saves only the frames it had not saved.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from db import extraction, queue, store
from db.engine import reading, writing
from db.queries import VideoRow
from db.queries import video as read_video
from enrich.errors import VideoError
from enrich.library.images import (
    RETRYABLE_ERRORS,
    ExtractionStopped,
    jpeg_format,
    require_disk,
    retry_at,
    translated_errors,
    use_file,
)
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.schedule.coverage import SKIM_PRIORITY, CoverageOrder
from enrich.video.skim import SkimFrame, SkimTarget, skim

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.5
MOST_SECONDS = 30.0  # per skim: a video that seeks slowly waits for extraction


def skim_video(
    library: Library,
    task: queue.ClaimedTask,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_frames: Callable[[], None],
) -> None:
    """Skim the video of a claimed task. Raises LeaseLostError if the lease was lost."""
    with reading(library.engine) as connection:
        video = read_video(connection, task.video_id)
    try:
        video = use_file(library, video)
        require_disk(library)
        with translated_errors(library, video):
            taken = _SkimTask(library, task, video, passes=passes, on_frames=on_frames).run(stop)
    except ExtractionStopped:
        with writing(library.engine) as connection:
            queue.release(connection, task)
        return
    except RETRYABLE_ERRORS as error:
        later = retry_at(video, datetime.now(UTC))
        with writing(library.engine) as connection:
            queue.release(connection, task, reason=str(error), not_before=later)
        return
    except VideoError as error:  # extraction will report it
        log.info("%s: seeking failed: %s", video.title, error, extra=about(Action.VIDEO_SKIMMED, video=video.id))
        taken = int((task.payload or {}).get("pictures", 0))
    with writing(library.engine) as connection:
        extraction.finish_skim(connection, task, places=taken)


class _SkimTask:
    """One skim of a video: the frames of some ranks of its coverage order."""

    def __init__(
        self,
        library: Library,
        task: queue.ClaimedTask,
        video: VideoRow,
        *,
        passes: tuple[str, ...],
        on_frames: Callable[[], None],
    ) -> None:
        self._library = library
        self._task = task
        self._video = video
        self._passes = passes
        self._on_frames = on_frames
        self._order = CoverageOrder(video.duration)
        payload = task.payload or {}
        self._clock_offset = 0.0  # seconds between the file's clock and timestamps
        self._taken, self._wanted = int(payload.get("taken", 0)), int(payload.get("pictures", 0))

    def run(self, stop: threading.Event) -> int:
        """Skim. Returns how many places of the coverage order are taken afterwards. Raises ExtractionStopped."""
        began = time.monotonic()
        ranks, targets, known = self._open_targets()
        found: list[store.NewFrame] = []
        saved_at = float("-inf")
        last = self._taken
        for frame in skim(
            Path(self._video.path),
            self._library.frames_folder / self._video.image_folder,
            targets,
            jpeg=jpeg_format(self._library.settings, self._video),
            known=known,
            stop=stop,
            time_limit=MOST_SECONDS,
        ):
            last = ranks[frame.target]
            found.append(self._planned(frame, last))
            self._clock_offset = frame.clock_at - frame.timestamp
            if time.monotonic() - saved_at >= BATCH_SECONDS:
                require_disk(self._library)
                self._save(found)
                found, saved_at = [], time.monotonic()
        self._save(found)
        if stop.is_set():
            raise ExtractionStopped
        seconds = time.monotonic() - began
        log.info(
            "%s: skimmed at %d places in %.1f s",
            self._video.title,
            len(targets),
            seconds,
            extra=about(Action.VIDEO_SKIMMED, video=self._video.id),
        )
        return last if seconds >= MOST_SECONDS and last > self._taken else self._wanted

    def _open_targets(self) -> tuple[list[int], list[SkimTarget], list[float]]:
        """The ranks and targets to skim, and the timestamps of frames that were saved already.

        All targets of a first skim, since each choice depends on those before it. A deeper skim omits targets that have
        a frame. None that extraction has reached.
        """
        with reading(self._library.engine) as connection:
            taken_at = [timestamp for _, timestamp in extraction.unplaced_frames(connection, self._video.id)]
            decoded = extraction.decoded_until(connection, self._video.id)
        numbered = enumerate(self._order.targets(self._taken + 1, self._wanted), self._taken + 1)
        is_first = self._taken == 0
        still_open = [
            (rank, target)
            for rank, target in numbered
            if target.at >= decoded and (is_first or not _is_taken(target, taken_at))
        ]
        known = taken_at if is_first else []
        return [rank for rank, _ in still_open], [target for _, target in still_open], known

    def _planned(self, frame: SkimFrame, rank: int) -> store.NewFrame:
        is_first_skim = self._taken == 0
        return store.NewFrame(
            index=None,
            timestamp=frame.timestamp,
            stands_for=None,
            scene=None,
            image_path=f"{self._video.image_folder}/{frame.image_path}",
            dhash=f"{frame.dhash:016x}",
            sharpness=frame.sharpness,
            brightness=frame.brightness,
            motion=None,
            priority=SKIM_PRIORITY - rank if is_first_skim else self._order.priority_of_rank(rank),
        )

    def _save(self, found: list[store.NewFrame]) -> None:
        if found:
            with writing(self._library.engine) as connection:
                store.save_frames(connection, self._task, found, passes=self._passes, now=datetime.now(UTC))
                first = extraction.NewEpoch(0, 0.0, self._clock_offset, is_steady=True)
                extraction.save_epochs(connection, self._video.id, [first], is_first_guess=True)
            self._on_frames()


def _is_taken(target: SkimTarget, timestamps: Sequence[float]) -> bool:
    return any(target.earliest <= timestamp < target.latest for timestamp in timestamps)
