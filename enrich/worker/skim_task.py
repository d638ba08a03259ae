"""Looking at one claimed video by seeking: the hand-over from `enrich.video.skim` to the database.

Runs in a thread of its own. Pictures are saved as they are found, so that the first is described while the rest are
looked for. A look that is cut short is taken up again; pictures it has found already are not looked for twice.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db import extraction, queue, store
from db.engine import reading, writing
from db.queries import VideoRow
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
from enrich.schedule.coverage import SKIM_PRIORITY, CoverageOrder
from enrich.video.skim import SkimFrame, SkimTarget, skim

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.5
MOST_SECONDS = 30.0  # for one look: what cannot be sought quickly waits for extraction


def skim_video(
    library: Library,
    job: queue.ClaimedTask,
    *,
    passes: tuple[str, ...],
    stop: threading.Event,
    on_frames: Callable[[], None],
) -> None:
    """Look at the video of a claimed task. Raises LeaseLostError if the task was taken away meanwhile."""
    with reading(library.engine) as connection:
        video = read_video(connection, job.video_id)
    try:
        require_same_file(video)
        require_disk(library)
        with translated_errors(library, video):
            taken = _SkimTask(library, job, video, passes=passes, on_frames=on_frames).run(stop)
    except ExtractionStopped:
        with writing(library.engine) as connection:
            queue.release(connection, job)
        return
    except WAITS as error:
        later = datetime.now(UTC) + timedelta(seconds=WAITING_SECONDS)
        with writing(library.engine) as connection:
            queue.release(connection, job, reason=str(error), not_before=later)
        return
    except VideoError as error:  # extraction will say so, and of which video
        log.info("%s cannot be sought: %s", video.title, error, extra=about(Action.VIDEO_SKIMMED, video=video.id))
        taken = int((job.payload or {}).get("pictures", 0))
    with writing(library.engine) as connection:
        extraction.finish_skim(connection, job, taken=taken)


class _SkimTask:
    """One look at a video: the pictures of some ranks of its even order."""

    def __init__(
        self,
        library: Library,
        job: queue.ClaimedTask,
        video: VideoRow,
        *,
        passes: tuple[str, ...],
        on_frames: Callable[[], None],
    ) -> None:
        self._library = library
        self._job = job
        self._video = video
        self._passes = passes
        self._on_frames = on_frames
        self._even = CoverageOrder(video.duration)
        payload = job.payload or {}
        self._taken, self._wanted = int(payload.get("taken", 0)), int(payload.get("pictures", 0))

    def run(self, stop: threading.Event) -> int:
        """Look; how many places of the even order are taken afterwards. Raises Stopped."""
        began = time.monotonic()
        ranks, spots = self._open_spots()
        settings = self._library.settings
        found: list[store.NewFrame] = []
        saved_at = float("-inf")
        last = self._taken
        for picture in skim(
            Path(self._video.path),
            self._library.frames_folder / folder_name(self._video.fingerprint),
            spots,
            jpeg=jpeg_format(settings, self._video),
            stop=stop,
            time_limit=MOST_SECONDS,
        ):
            last = ranks[picture.target]
            found.append(self._planned(picture, last))
            if time.monotonic() - saved_at >= BATCH_SECONDS:
                require_disk(self._library)
                self._save(found)
                found, saved_at = [], time.monotonic()
        self._save(found)
        if stop.is_set():
            raise ExtractionStopped
        seconds = time.monotonic() - began
        log.info(
            "%s: looked at in %d places, in %.1f s",
            self._video.title,
            len(spots),
            seconds,
            extra=about(Action.VIDEO_SKIMMED, video=self._video.id),
        )
        return last if seconds >= MOST_SECONDS and last > self._taken else self._wanted

    def _open_spots(self) -> tuple[list[int], list[SkimTarget]]:
        """The ranks and spots without a picture yet: none where decoding, or a look that was cut short, has been."""
        with reading(self._library.engine) as connection:
            sought = [timestamp for _, timestamp in extraction.unplaced_frames(connection, self._video.id)]
            decoded = extraction.decoded_until(connection, self._video.id)
        numbered = enumerate(self._even.targets(self._taken + 1, self._wanted), self._taken + 1)
        still_open = [(rank, spot) for rank, spot in numbered if spot.at >= decoded and not _is_taken(spot, sought)]
        return [rank for rank, _ in still_open], [spot for _, spot in still_open]

    def _planned(self, picture: SkimFrame, rank: int) -> store.NewFrame:
        is_first_skim = self._taken == 0
        return store.NewFrame(
            index=None,
            timestamp=picture.timestamp,
            stands_for=None,
            scene=None,
            image_path=f"{folder_name(self._video.fingerprint)}/{picture.image_path}",
            dhash=f"{picture.dhash:016x}",
            sharpness=picture.sharpness,
            brightness=picture.brightness,
            motion=None,
            priority=SKIM_PRIORITY - rank if is_first_skim else self._even.priority_of_rank(rank),
        )

    def _save(self, found: list[store.NewFrame]) -> None:
        if found:
            with writing(self._library.engine) as connection:
                store.save_frames(connection, self._job, found, passes=self._passes, now=datetime.now(UTC))
            self._on_frames()


def _is_taken(spot: SkimTarget, timestamps: Sequence[float]) -> bool:
    return any(spot.earliest <= timestamp < spot.latest for timestamp in timestamps)
