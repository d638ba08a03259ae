"""Run options and results: what a run is asked to do, why it ended, and what it did."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to work on, and when to end."""

    video_ids: frozenset[int] | None = None  # None: all
    extract: bool = True
    describe: bool = True
    until_idle: bool = True  # end when nothing is left; else wait for more videos
    limit: int | None = None  # most frames to describe
    within_seconds: float | None = None  # start no new work after this time
    until: datetime | None = None  # nor after this point in time
    keeps_hours: bool = False  # work in the working hours only


class RunEnd(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # nothing is left to do
    LIMIT = "limit"
    TIME_UP = "time_up"
    STOPPED = "stopped"


@dataclass(slots=True)
class RunCounts:
    """What a run did so far."""

    videos_extracted: int = 0
    frames_described: int = 0
    frames_failed: int = 0  # permanently
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
    """The result of a run."""

    run_id: int
    ending: RunEnd
    counts: RunCounts
    seconds: float
    left: int = 0  # frames not described yet
    failures: list[tuple[str, int]] = field(default_factory=list)  # reasons of failed tasks, with counts
    waiting: list[tuple[str, str]] = field(default_factory=list)  # titles of waiting videos, with the reason
    damaged: list[tuple[str, str]] = field(default_factory=list)  # titles of damaged videos, with what can be read

    @property
    def is_good(self) -> bool:
        """Whether nothing failed and nothing needs a person."""
        return not self.failures and not self.waiting and not self.damaged
