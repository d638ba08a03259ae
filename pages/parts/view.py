"""What the Frames page shows, stored in its URL: the gallery of a video, a kept frame, or any source frame.

The URL is the only state, so links, bookmarks and the browser's Back button all reopen the same view. The module also
builds the URLs of images and videos. They are absolute, because Streamlit treats relative ones as file paths.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

import streamlit as st

from db.gallery import FrameFilter

PAGE = "pages/frames.py"
FALLBACK_URL = "http://127.0.0.1:8501"
THUMB_EDGE = 320  # pixels, long edge; for any other value the image route returns the stored image
LARGE_EDGE = 1344
AFTER_DECIMALS = 4  # of `after` in the URL, in seconds
EPSILON_SECONDS = 0.0005  # subtracted from a timestamp so that "after it" includes the frame at that timestamp
NO_SUCH_ID = 0  # no row has this id; stands for an id in the URL that cannot be parsed
LARGEST_ID = 2**63 - 1  # of a signed 64-bit database integer
CLOCK = re.compile(r"(?:(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,4}):)?(?P<seconds>\d{1,7}(?:[.,]\d{0,9})?)\s*s?")


@dataclass(frozen=True, slots=True)
class View:
    """State of the Frames page. `frame` is a kept frame's id, `source` a source frame's index, `after` in seconds."""

    video: int | None = None
    frame: int | None = None
    source: int | None = None
    after: float | None = None  # the gallery page starts after this timestamp
    show: FrameFilter = FrameFilter.ALL
    tag: str | None = None
    is_playing: bool = False

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Parse the query parameters of a URL. Invalid ids match nothing; other invalid values are ignored."""
        show = query.get("show", "")
        return cls(
            video=_parse_id(query.get("video")),
            frame=_parse_id(query.get("frame")),
            source=_parse_id(query.get("source"), least=0),
            after=_parse_seconds(query.get("after")),
            show=FrameFilter(show) if show in set(FrameFilter) else FrameFilter.ALL,
            tag=query.get("tag") or None,
            is_playing=query.get("play") == "1",
        )

    def to_query(self) -> dict[str, str]:
        """The query parameters of this view's URL."""
        values = {
            "video": self.video,
            "frame": self.frame,
            "source": self.source,
            "after": self.after,
            "show": None if self.show is FrameFilter.ALL else self.show.value,
            "tag": self.tag,
            "play": "1" if self.is_playing else None,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    def gallery(self, after: float | None = None) -> "View":
        """The gallery of the same video, with the same filters, starting after a timestamp in seconds."""
        rounded = round(after, AFTER_DECIMALS) if after is not None else None
        return replace(self, frame=None, source=None, after=rounded, is_playing=False)

    def kept_frame(self, frame_id: int) -> "View":
        """A kept frame of the same video, with the same filters."""
        return replace(self.gallery(), frame=frame_id)

    def source_frame(self, index: int) -> "View":
        """The source frame of the same video with this index, kept or not."""
        return replace(self.gallery(), source=index)


def current_view() -> View:
    """The view in this tab's URL."""
    return View.from_query(st.query_params.to_dict())


def go_to(view: View) -> None:
    """Navigate to a view; the browser's Back button returns. For callbacks."""
    st.query_params.from_dict(view.to_query())


def sync_url(view: View) -> None:
    """Set the URL to the view shown: after a link within a page, the browser still shows the old one."""
    st.query_params.from_dict(view.to_query())


def base_url() -> str:
    """The dashboard's origin as this browser sees it, such as http://127.0.0.1:8501."""
    parts = urlsplit(st.context.url or FALLBACK_URL)
    return f"{parts.scheme}://{parts.netloc}"


def image_url(frame_id: int, edge: int = THUMB_EDGE) -> str:
    """The image of a kept frame, at most `edge` pixels long."""
    return f"{base_url()}/picture/{frame_id}?edge={edge}"


def source_url(video_id: int, index: int) -> str:
    """The image of a source frame that `everyframe strip` has decoded."""
    return f"{base_url()}/source/{video_id}/{index}"


def video_url(video_id: int) -> str:
    """The video file, served with Range requests."""
    return f"{base_url()}/film/{video_id}"


def parse_time(text: str) -> float | None:
    """Seconds from a typed time: 12:30, 1:02:03.5, or plain seconds. None if it is not valid."""
    found = CLOCK.fullmatch(text.strip())
    if found is None:
        return None
    seconds = float(found["seconds"].replace(",", "."))
    return int(found["hours"] or 0) * 3600 + int(found["minutes"] or 0) * 60 + seconds


def _parse_id(text: str | None, *, least: int = 1) -> int | None:
    if text is None:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID))
    number = int(text) if is_number else NO_SUCH_ID
    return number if least <= number <= LARGEST_ID else NO_SUCH_ID


def _parse_seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
