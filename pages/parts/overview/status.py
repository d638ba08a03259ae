"""The state of the worker and the library, read at most twice a second for all tabs together.

It comes from the same `enrich.control.status` as the terminal's.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from db import queries
from db.engine import reading
from db.models import RunState
from db.queries import VideoRow
from enrich.control.status import Status, read_status
from enrich.library.completion import covered_share
from pages.parts.overview.requests import RequestJob, newest_request
from pages.parts.session import engine_of, settings

CACHE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CurrentVideo:
    """The video being processed: its file name, and the percentage covered, rounded down."""

    name: str
    percent: int


@dataclass(frozen=True, slots=True)
class OverviewStatus:
    """What the overview shows; `current` is None while no video is being processed."""

    status: Status
    current: CurrentVideo | None
    request: RequestJob | None  # the last one that was made


def read_overview() -> OverviewStatus:
    """The current state, at most half a second old."""
    return _read(settings().url)


def refresh_overview() -> None:
    """Drop the cached state after a change."""
    _read.clear()


@st.cache_data(ttl=CACHE_SECONDS, max_entries=4, show_spinner=False)
def _read(url: str) -> OverviewStatus:
    engine = engine_of(url)
    request = newest_request(settings())  # before the status: see `request_in_flight`
    status = read_status(engine, now=datetime.now(UTC), measures=False)
    current = None
    if video_ids := _videos_in_progress(status):
        with reading(engine) as connection:
            videos = {video.id: video for video in queries.videos(connection, video_ids)}
        current = next((_current(videos[video_id]) for video_id in video_ids if video_id in videos), None)
    return OverviewStatus(status, current, request)


def _videos_in_progress(status: Status) -> list[int]:
    """The videos being processed: those of the oldest model requests first, then those being extracted or skimmed."""
    if status.run is None or not status.is_running or status.state is not RunState.RUNNING:
        return []
    activity = status.run.activity
    calls = sorted((call for host in status.hosts for call in host.calls), key=lambda call: str(call["since"]))
    return [entry["video_id"] for entry in (*calls, activity.get("extracting"), *activity.get("skimming", [])) if entry]


def _current(video: VideoRow) -> CurrentVideo:
    return CurrentVideo(file_name(video), int(100 * covered_share(video)))


def file_name(video: VideoRow) -> str:
    """The video's file name, or its title if the user changed that."""
    path = Path(video.path)
    return path.name if path.stem == video.title else video.title
