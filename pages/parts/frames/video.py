"""The video that the Frames page shows: its selector, its outline, and the messages where there is nothing to show."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from db import gallery
from db.gallery import Scene, TimelineBucket
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.wording import format_duration, markdown_text, printable
from pages.parts.session import reading, settings
from pages.parts.view import EPSILON_SECONDS, PAGE, View, go_to

FEWEST_BUCKETS, MOST_BUCKETS = 24, 240  # of the timeline
OUTLINE_TTL_SECONDS = 10
CACHED_OUTLINES = 32  # about 20 kB each
TITLE = "Frames"
SELECTOR = "frames-video"
LIBRARY, OVERVIEW = "pages/library.py", "pages/overview.py"


@dataclass(frozen=True, slots=True)
class Outline:
    """Summary of a video. `tags`: with the number of frames that have each, most frequent first."""

    buckets: list[TimelineBucket]
    scenes: list[Scene]
    tags: list[tuple[str, int]]


def outline_of(video: VideoRow) -> Outline:
    """The cached outline of a video, with at most as many timeline buckets as kept frames.

    It is reloaded when a frame is kept, described or failed, and after `OUTLINE_TTL_SECONDS`.
    """
    return _outline(settings().url, video.id, video.kept, video.described, video.failed)


@st.cache_data(ttl=OUTLINE_TTL_SECONDS, max_entries=CACHED_OUTLINES, show_spinner=False)
def _outline(library: str, video_id: int, kept: int, described: int, failed: int) -> Outline:
    del library, described, failed  # part of the cache key only
    buckets = max(FEWEST_BUCKETS, min(MOST_BUCKETS, kept))
    with reading() as connection:
        return Outline(
            buckets=gallery.timeline(connection, video_id, buckets=buckets),
            scenes=gallery.scenes(connection, video_id),
            tags=gallery.tags(connection, video_id),
        )


def selected_video(videos: Sequence[VideoRow], view: View) -> VideoRow | None:
    """The video of the view, None if it does not exist. A view without a video selects the first one with frames."""
    if view.video is not None:
        return next((video for video in videos if video.id == view.video), None)
    return next((video for video in videos if video.kept), videos[0] if videos else None)


def draw_header(videos: Sequence[VideoRow], video: VideoRow | None) -> None:
    """The page title, with the video selector beside it."""
    title, selector = st.columns([1, 3], vertical_alignment="bottom")
    title.title(TITLE, anchor=False)
    with selector:
        _draw_selector(videos, video)


def _draw_selector(videos: Sequence[VideoRow], video: VideoRow | None) -> None:
    st.session_state[SELECTOR] = video.id if video is not None else None
    labels = {each.id: f"{printable(each.title)} · {format_duration(each.duration)}" for each in videos}
    st.selectbox(
        "Video",
        list(labels),
        index=None,
        key=SELECTOR,
        format_func=lambda video_id: labels.get(video_id, ""),
        placeholder="Choose a video",
        on_change=_select,
    )


def show_empty_library() -> None:
    """The library has no videos."""
    st.title(TITLE, anchor=False)
    st.info("The library is empty. Add a video to see its first frames within minutes.")
    st.page_link(LIBRARY, label="Add a video")


def show_no_such_video() -> None:
    """The video in the URL does not exist."""
    st.info("This video is not in the library. It may have been removed. Choose another one above.")
    st.page_link(LIBRARY, label="All videos")


def show_no_such_frame(video: VideoRow) -> None:
    """The frame in the URL does not exist."""
    st.info("This frame does not exist. Its video may have been removed or extracted again.")
    st.page_link(
        PAGE, label=f"All frames of {markdown_text(video.title)}", query_params=View(video=video.id).to_query()
    )


def show_no_frames(video: VideoRow) -> None:
    """No frame of the video has been kept yet."""
    if video.error:
        is_failed = video.extraction_status is ExtractionStatus.FAILED
        st.warning("This video could not be extracted:" if is_failed else "This video is waiting to be extracted:")
        st.text(printable(video.error))
        st.page_link(LIBRARY, label="Show in library", query_params={"video": str(video.id)})
    else:
        st.info("No frames have been extracted from this video yet. The first ones appear about a minute after Start.")
        st.page_link(OVERVIEW, label="Go to Overview")


def link_to_gallery(view: View, seconds: float) -> None:
    """A link to the gallery page that starts at this time."""
    st.page_link(
        PAGE,
        label="All frames",
        icon=":material/arrow_back:",
        query_params=view.gallery(after=seconds - EPSILON_SECONDS).to_query(),
    )


def _select() -> None:
    video_id = st.session_state[SELECTOR]
    if video_id is not None:
        go_to(View(video=video_id))
