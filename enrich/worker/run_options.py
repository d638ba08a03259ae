"""What a worker is asked to do, and what came of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class RunOptions:
    """One run's work: which videos, which kinds of task, and when it is enough."""

    video_ids: frozenset[int] | None = None  # None: all
    extract: bool = True
    describe: bool = True
    until_idle: bool = True  # end when nothing is left; else wait for more work
    limit: int | None = None  # frames to describe at the most
    within_seconds: float | None = None  # take up no new work after this
    until: datetime | None = None  # nor after this moment
    keeps_hours: bool = False  # work only in the working hours


class RunEnd(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # nothing is left to do
    LIMIT = "limit"
    TIME_UP = "time_up"
    STOPPED = "stopped"


@dataclass(slots=True)
class RunCounts:
    """What a run has done so far. Frames are kept frames."""

    videos_extracted: int = 0
    frames_described: int = 0
    frames_failed: int = 0  # for good
    calls: int = 0
    warnings: int = 0

    def as_dict(self) -> dict[str, int]:
        """For the runs table."""
        return {
            "videos_extracted": self.videos_extracted,
            "frames_described": self.frames_described,
            "frames_failed": self.frames_failed,
            "calls": self.calls,
            "warnings": self.warnings,
        }


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run from its end: what was done, and what could not be."""

    run_id: int
    ending: RunEnd
    counts: RunCounts
    seconds: float
    left: int = 0  # kept frames of the order not described yet
    failures: list[tuple[str, int]] = field(default_factory=list)  # reasons of failed tasks of the order, with counts
    waiting: list[tuple[str, str]] = field(default_factory=list)  # titles of videos that wait, with the reason

    @property
    def is_good(self) -> bool:
        """Whether nothing failed and nothing waits for a person."""
        return not self.failures and not self.waiting
