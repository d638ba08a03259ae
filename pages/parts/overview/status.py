"""How things stand: looked at for all tabs together, twice a second at the most.

It only reads. What the terminal says comes from the same `enrich.control.status`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

from db import queries
from db.engine import reading
from db.models import ExtractionStatus, RunState
from db.queries import VideoRow
from enrich.control.status import Status
from enrich.control.status import read_status as look_at
from pages.parts.session import engine_of, settings

FRESH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CurrentVideo:
    """The film that is worked on, by its file's name, and how much of it is done; 0 to 100."""

    name: str
    percent: int


@dataclass(frozen=True, slots=True)
class OverviewStatus:
    """How things stand; `current` is None where nothing is worked on."""

    status: Status
    current: CurrentVideo | None


def read_overview() -> OverviewStatus:
    """How things stand."""
    return _look(settings().url)


def refresh_overview() -> None:
    """Something was changed: what was seen before does not count any more."""
    _look.clear()


@st.cache_data(ttl=FRESH_SECONDS, max_entries=4, show_spinner=False)
def _look(url: str) -> OverviewStatus:
    engine = engine_of(url)
    status = look_at(engine, now=datetime.now(UTC), measures=False)
    current = None
    if at_work := _at_work(status):
        with reading(engine) as connection:
            videos = {video.id: video for video in queries.videos(connection, at_work)}
        current = next((_current(status, videos[video_id]) for video_id in at_work if video_id in videos), None)
    return OverviewStatus(status, current)


def _at_work(status: Status) -> list[int]:
    """The films that are worked on: first what was asked about longest ago, then what is read."""
    if status.run is None or not status.is_running or status.state is not RunState.RUNNING:
        return []
    activity = status.run.activity
    calls = sorted((call for host in status.hosts for call in host.calls), key=lambda call: str(call["since"]))
    return [entry["video_id"] for entry in (*calls, activity.get("extracting"), *activity.get("skimming", [])) if entry]


def _current(status: Status, video: VideoRow) -> CurrentVideo:
    decoding: dict[str, Any] = (status.run.activity.get("extracting") if status.run is not None else None) or {}
    decoded = decoding.get("decoded", 0) if decoding.get("video_id") == video.id else 0
    return CurrentVideo(file_name(video), percent_done(video, decoded))


def file_name(video: VideoRow) -> str:
    """A film by its file's name, or by the title that somebody gave it."""
    path = Path(video.path)
    return path.name if path.stem == video.title else video.title


def percent_done(video: VideoRow, decoded: int) -> int:
    """How much of a film is described; of one that is still being read, of what is expected of all of it."""
    share = video.described / video.kept if video.kept else 0.0
    if video.extraction_status is not ExtractionStatus.EXTRACTED:
        share *= min(1.0, decoded / video.frame_count) if video.frame_count else 0.0
    return int(100 * share)  # not rounded: 100 only when it is all
