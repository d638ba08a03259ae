"""Findings: what does not belong together, grouped, so that a million of them take as much room as a dozen."""

from dataclasses import dataclass, field
from enum import StrEnum

from db.queries import VideoRow

SHOWN_PLACES = 5
MEND_PICTURE = "`everyframe verify --mend` makes it again"
MEND_ORPHAN = "`everyframe verify --mend` deletes it"
MEND_ROWS = "restore a copy of the database, or `everyframe remove` the video and `add` it again"
MEND_STATUS = "`everyframe verify` again once no worker runs; if it stays, restore a copy of the database"
MEND_TALLY = "`everyframe verify --mend` counts again"
MEND_INDEX = "restore a copy of the database"


class FindingKind(StrEnum):
    """What can be wrong with what is stored."""

    DATABASE = "database"
    REFERENCE = "reference"
    SEARCH_INDEX = "search_index"
    FILE = "file"
    UNDECODED = "undecoded"
    PICTURE_MISSING = "picture_missing"
    PICTURE_BROKEN = "picture_broken"
    PICTURE_SIZE = "picture_size"
    PICTURE_OTHER = "picture_other"
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
    UNSAID = "unsaid"
    DOCUMENT_MISSING = "document_missing"
    DOCUMENT_EXTRA = "document_extra"
    TALLY = "tally"


# What it says, and what mends it.
WORDS = {
    FindingKind.DATABASE: ("the database is damaged", MEND_INDEX),
    FindingKind.REFERENCE: ("row that refers to nothing", MEND_INDEX),
    FindingKind.SEARCH_INDEX: ("the search index does not hold what was said", MEND_INDEX),
    FindingKind.FILE: (
        "the film cannot be checked",
        "put it back, connect its drive, or `everyframe add` it where it is now",
    ),
    FindingKind.UNDECODED: ("the film cannot be decoded any more", "copy it again from where it came from"),
    FindingKind.PICTURE_MISSING: ("picture missing", MEND_PICTURE),
    FindingKind.PICTURE_BROKEN: ("picture that cannot be decoded", MEND_PICTURE),
    FindingKind.PICTURE_SIZE: ("picture of another size or turned", MEND_PICTURE),
    FindingKind.PICTURE_OTHER: ("picture that shows something else than its frame", MEND_PICTURE),
    FindingKind.ORPHAN: ("file that belongs to no frame", MEND_ORPHAN),
    FindingKind.NOT_IN_FILE: ("frame whose number and time the film does not have", MEND_ROWS),
    FindingKind.UNPLACED: ("frame without its number or what it stands for", MEND_ROWS),
    FindingKind.CHAIN: ("frame that does not follow on the one before", MEND_ROWS),
    FindingKind.SCENE: ("frame of an earlier scene than the one before", MEND_ROWS),
    FindingKind.COUNT: ("the source frames do not add up", MEND_ROWS),
    FindingKind.STATUS: ("the video's state is not that of its tasks", MEND_STATUS),
    FindingKind.TASK: ("description whose task is not done", MEND_ROWS),
    FindingKind.REPLY: ("description without the reply it came from", MEND_ROWS),
    FindingKind.TEXT: ("description that is not what its reply says", MEND_ROWS),
    FindingKind.UNSAID: ("task that is done and brought no description", MEND_ROWS),
    FindingKind.DOCUMENT_MISSING: ("description that the search does not know", MEND_ROWS),
    FindingKind.DOCUMENT_EXTRA: ("frame that the search knows better than it should", MEND_ROWS),
    FindingKind.TALLY: ("the video's counts are not those of its rows", MEND_TALLY),
}


@dataclass(slots=True)
class FindingGroup:
    """All findings of one kind in one video (None: in the library), with the first few places."""

    kind: FindingKind
    video_id: int | None
    title: str | None
    count: int = 0
    mended: int = 0
    places: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        return WORDS[self.kind][0]

    @property
    def remedy(self) -> str:
        return WORDS[self.kind][1]

    @property
    def left(self) -> int:
        """How many are not mended."""
        return self.count - self.mended


class FindingLog:
    """Where findings are written down. For one thread at a time."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int | None, FindingKind], FindingGroup] = {}

    def note(self, kind: FindingKind, video: VideoRow | None, place: str, *, mended: bool = False) -> None:
        """Write one finding down."""
        key = (video.id if video else None, kind)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = FindingGroup(kind, key[0], video.title if video else None)
        group.count += 1
        group.mended += mended
        if len(group.places) < SHOWN_PLACES:
            group.places.append(place)

    def forget(self, video_id: int) -> None:
        """Drop what was found in a video that has been removed meanwhile."""
        self._groups = {key: group for key, group in self._groups.items() if key[0] != video_id}

    @property
    def groups(self) -> list[FindingGroup]:
        """What was found, the library's first, then video by video."""
        return [self._groups[key] for key in sorted(self._groups, key=_order)]


def place_of(index: int | None, timestamp: float) -> str:
    """A frame as people read it."""
    number = "without number" if index is None else str(index)
    return f"frame {number} at {timestamp:.3f} s"


def _order(key: tuple[int | None, FindingKind]) -> tuple[int, int]:
    return key[0] or 0, list(FindingKind).index(key[1])
