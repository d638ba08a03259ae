"""Findings of a verification, grouped by kind and video, so that memory use does not grow with their number."""

from dataclasses import dataclass, field
from enum import StrEnum

from db.queries import VideoRow

MAX_PLACES = 5
RECREATE_IMAGE = "`everyframe verify --mend` recreates it"
REPLACE_IMAGE = "`everyframe verify --mend` replaces it, and has its frame described again"
DELETE_ORPHAN = "`everyframe verify --mend` deletes it"
EXTRACT_AGAIN = "`everyframe verify --mend` queues the video for extraction again; its descriptions stay"
QUEUED = "the video is queued for extraction again: run `everyframe enrich`"
RESTORE_ROWS = "restore a backup of the database, or `everyframe remove` the video and `everyframe add` it again"
RECHECK_STATUS = (
    "run `everyframe verify` again while no worker runs; if the problem remains, restore a backup of the database"
)
RECOUNT = "`everyframe verify --mend` recounts"
RESTORE_DATABASE = "restore a backup of the database"


class FindingKind(StrEnum):
    """The kinds of inconsistency."""

    DATABASE = "database"
    REFERENCE = "reference"
    SEARCH_INDEX = "search_index"
    FILE = "file"
    UNDECODED = "undecoded"
    UNCHECKED = "unchecked"
    DAMAGED = "damaged"
    IMAGE_MISSING = "picture_missing"
    IMAGE_BROKEN = "picture_broken"
    IMAGE_SIZE = "picture_size"
    IMAGE_DIFFERENT = "picture_other"
    ORPHAN = "orphan"
    NOT_IN_FILE = "not_in_file"
    UNPLACED = "unplaced"
    CHAIN = "chain"
    SCENE = "scene"
    COUNT = "count"
    STATUS = "status"
    TASK = "task"
    REPLY = "reply"
    TEXT = "text"
    MISSING_DESCRIPTION = "unsaid"
    DOCUMENT_MISSING = "document_missing"
    DOCUMENT_EXTRA = "document_extra"
    COUNTS = "tally"


# The problem, and how to fix it.
FINDING_TEXTS = {
    FindingKind.DATABASE: ("the database is damaged", RESTORE_DATABASE),
    FindingKind.REFERENCE: ("row that refers to a missing row", RESTORE_DATABASE),
    FindingKind.SEARCH_INDEX: ("the search index does not match the descriptions", RESTORE_DATABASE),
    FindingKind.FILE: (
        "the video file cannot be checked",
        "restore the file, connect its drive, or `everyframe add` it from its new location",
    ),
    FindingKind.UNDECODED: ("the video file can no longer be decoded", "copy it again from the original"),
    FindingKind.UNCHECKED: (
        "the video could not be checked completely",
        "remove the cause and run `everyframe verify` again, or report it as a bug",
    ),
    FindingKind.DAMAGED: (
        "the video file was damaged after it was extracted, so no image is replaced from it",
        "copy it again from the original, and run `everyframe verify --mend`",
    ),
    FindingKind.IMAGE_MISSING: ("missing image", RECREATE_IMAGE),
    FindingKind.IMAGE_BROKEN: ("image that cannot be decoded", RECREATE_IMAGE),
    FindingKind.IMAGE_SIZE: ("image with the wrong size or rotation", RECREATE_IMAGE),
    FindingKind.IMAGE_DIFFERENT: ("image that does not show its frame", REPLACE_IMAGE),
    FindingKind.ORPHAN: ("image file without a frame", DELETE_ORPHAN),
    FindingKind.NOT_IN_FILE: ("frame whose index and time are not in the video file", EXTRACT_AGAIN),
    FindingKind.UNPLACED: ("frame without an index or its number of source frames", EXTRACT_AGAIN),
    FindingKind.CHAIN: ("gap or overlap before a frame", EXTRACT_AGAIN),
    FindingKind.SCENE: ("frame in an earlier scene than the frame before it", EXTRACT_AGAIN),
    FindingKind.COUNT: ("wrong number of source frames", EXTRACT_AGAIN),
    FindingKind.STATUS: ("the video's status does not match its tasks", RECHECK_STATUS),
    FindingKind.TASK: ("description without a finished task", RESTORE_ROWS),
    FindingKind.REPLY: ("description without its model reply", RESTORE_ROWS),
    FindingKind.TEXT: ("description that differs from its model reply", RESTORE_ROWS),
    FindingKind.MISSING_DESCRIPTION: ("finished task without a description", RESTORE_ROWS),
    FindingKind.DOCUMENT_MISSING: ("description missing from search", RESTORE_ROWS),
    FindingKind.DOCUMENT_EXTRA: ("search entry that does not match its frame", RESTORE_ROWS),
    FindingKind.COUNTS: ("the video's counts do not match its rows", RECOUNT),
}

# Corrected by extracting the video again.
POSITION_KINDS = (
    FindingKind.NOT_IN_FILE,
    FindingKind.UNPLACED,
    FindingKind.CHAIN,
    FindingKind.SCENE,
    FindingKind.COUNT,
)


@dataclass(slots=True)
class FindingGroup:
    """All findings of one kind in one video (None: in the library), with the first few places where they occur."""

    kind: FindingKind
    video_id: int | None
    title: str | None
    count: int = 0
    repaired: int = 0
    is_queued: bool = False  # the video is queued for extraction again, which corrects what is left
    places: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str:
        return FINDING_TEXTS[self.kind][0]

    @property
    def remedy(self) -> str:
        return QUEUED if self.is_queued else FINDING_TEXTS[self.kind][1]

    @property
    def left(self) -> int:
        """How many are not repaired."""
        return self.count - self.repaired


class FindingLog:
    """Collects findings. Not thread-safe."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int | None, FindingKind], FindingGroup] = {}

    def add(self, kind: FindingKind, video: VideoRow | None, place: str, *, repaired: bool = False) -> None:
        """Record one finding."""
        key = (video.id if video else None, kind)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = FindingGroup(kind, key[0], video.title if video else None)
        group.count += 1
        group.repaired += repaired
        if len(group.places) < MAX_PLACES:
            group.places.append(place)

    def has(self, video: VideoRow, *kinds: FindingKind) -> bool:
        """Whether a video has findings of one of these kinds that are not repaired."""
        found = (self._groups.get((video.id, kind)) for kind in kinds)
        return any(group is not None and group.left for group in found)

    def mark_queued(self, video: VideoRow) -> None:
        """Record that a video is queued for extraction again."""
        for kind in POSITION_KINDS:
            if (group := self._groups.get((video.id, kind))) is not None:
                group.is_queued = True

    def discard_video(self, video_id: int) -> None:
        """Discard the findings of a video that was removed during the verification."""
        self._groups = {key: group for key, group in self._groups.items() if key[0] != video_id}

    @property
    def groups(self) -> list[FindingGroup]:
        """The groups: the library's first, then video by video."""
        return [self._groups[key] for key in sorted(self._groups, key=_order)]


def frame_label(index: int | None, timestamp: float) -> str:
    """A frame's index and time for display."""
    number = "without index" if index is None else str(index)
    return f"frame {number} at {timestamp:.3f} s"


def _order(key: tuple[int | None, FindingKind]) -> tuple[int, int]:
    return key[0] or 0, list(FindingKind).index(key[1])
