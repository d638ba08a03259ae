"""Repairs of the images of one video, and what follows from them: descriptions of a wrong image are discarded.

A model described what was stored. Where that was another picture than the frame's, its words are about the wrong
picture, so they are discarded and the frame is queued again, before the right image is written: a kill in between
leaves the wrong image without words, which the next verification finds. A missing or damaged image says nothing
against its description, which stays.
"""

from datetime import UTC, datetime

from db import checks, queue
from db.checks import StoredFrame
from db.engine import writing
from db.queries import VideoRow
from enrich.library.images import image_folder_name
from enrich.library.library import Library
from enrich.process import this_process
from enrich.video.jpeg import write_jpeg
from enrich.video.kept import image_name


class ImageRepair:
    """Repairs the images of one video."""

    def __init__(self, library: Library, video: VideoRow) -> None:
        self._library = library
        self._video = video

    def replace(self, row: StoredFrame, jpeg: bytes, *, is_other_content: bool, timestamp: float | None = None) -> bool:
        """Store a frame's image, and correct its timestamp if one is given. Returns whether that was possible.

        `is_other_content`: the stored image was a picture of something else, so its descriptions are discarded.
        """
        timestamp = row.timestamp if timestamp is None else timestamp
        name = f"{image_folder_name(self._video.fingerprint)}/{image_name(timestamp)}"
        claimed: list[queue.ClaimedTask] = []
        with writing(self._library.engine) as connection:
            if (timestamp, name) != (row.timestamp, row.image_path) and not checks.move_frame(
                connection, row.id, timestamp=timestamp, image_path=name
            ):
                return False
            if is_other_content:
                host, now = this_process().hostname, datetime.now(UTC)
                claimed = checks.discard_descriptions(connection, row.id, host=host, now=now)
        write_jpeg(self._library.frames_folder / name, jpeg)
        for task in claimed:
            self._release(task)
        return True

    def _release(self, task: queue.ClaimedTask) -> None:
        try:
            with writing(self._library.engine) as connection:
                queue.release(connection, task)
        except queue.LeaseLostError:  # the video was removed
            return
