"""A view of the Frames page as its address names it: a gallery, a kept frame, or any frame of the film.

The address is the only memory there is: a link opens the same view in another tab, tomorrow, and after "back".

Where the browser finds pictures and films: absolute addresses, since Streamlit takes others for files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

import streamlit as st

from db.gallery import FrameFilter

FALLBACK = "http://127.0.0.1:8501"
THUMB_EDGE = 320  # pixels, long edge; the picture route knows these two and the whole picture
LARGE_EDGE = 1344
PAGE = "pages/frames.py"
AFTER_DIGITS = 4  # of a second, in an address
HAIR_SECONDS = 0.0005  # what lies behind a moment without this hair begins with the frame at it
NOBODY = 0  # no row has this id: what a broken address asks for
LARGEST_ID = 2**63 - 1  # what a database takes
CLOCK = re.compile(r"(?:(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,4}):)?(?P<seconds>\d{1,7}(?:[.,]\d{0,9})?)\s*s?")


def base_url() -> str:
    """The dashboard's address as this browser calls it: http://127.0.0.1:8501."""
    parts = urlsplit(st.context.url or FALLBACK)
    return f"{parts.scheme}://{parts.netloc}"


def image_url(frame_id: int, edge: int = THUMB_EDGE) -> str:
    """The picture of a kept frame, at most `edge` pixels long."""
    return f"{base_url()}/picture/{frame_id}?edge={edge}"


def source_url(video_id: int, index: int) -> str:
    """The picture of any source frame that `everyframe strip` has decoded."""
    return f"{base_url()}/source/{video_id}/{index}"


def video_url(video_id: int) -> str:
    """The film itself, with Range requests."""
    return f"{base_url()}/film/{video_id}"


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at. `frame` is a kept frame's id, `source` a source frame's number, `after` in seconds."""

    video: int | None = None
    frame: int | None = None
    source: int | None = None
    after: float | None = None  # the gallery's page begins behind this moment
    show: FrameFilter = FrameFilter.ALL
    tag: str | None = None
    plays: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """The view an address asks for; what cannot be read in it finds nothing, or is not there."""
        wanted = query.get("show", "")
        return cls(
            video=_number(query.get("video")),
            frame=_number(query.get("frame")),
            source=_number(query.get("source"), least=0),
            after=_seconds(query.get("after")),
            show=FrameFilter(wanted) if wanted in set(FrameFilter) else FrameFilter.ALL,
            tag=query.get("tag") or None,
            plays=query.get("play") == "1",
        )

    def query(self) -> dict[str, str]:
        """The part of the address behind the question mark."""
        said = {
            "video": self.video,
            "frame": self.frame,
            "source": self.source,
            "after": self.after,
            "show": None if self.show is FrameFilter.ALL else self.show.value,
            "tag": self.tag,
            "play": "1" if self.plays else None,
        }
        return {name: str(value) for name, value in said.items() if value is not None}

    def gallery(self, after: float | None = None) -> "View":
        """The gallery of the same film, with the same filters."""
        place = round(after, AFTER_DIGITS) if after is not None else None
        return replace(self, frame=None, source=None, after=place, plays=False)

    def kept(self, frame_id: int) -> "View":
        """A kept frame of the same film, with the same filters."""
        return replace(self.gallery(), frame=frame_id)

    def nth(self, index: int) -> "View":
        """The frame of the film that has this number, kept or not."""
        return replace(self.gallery(), source=index)


def here() -> View:
    """The view that the address in this tab asks for."""
    return View.of(st.query_params.to_dict())


def go(view: View) -> None:
    """Have the tab show another view; "back" leads here again. For callbacks."""
    st.query_params.from_dict(view.query())


def stay(view: View) -> None:
    """Have the address say what is shown: a link within a page leaves the browser's as it was."""
    st.query_params.from_dict(view.query())


def moment_in(text: str) -> float | None:
    """The moment of a film that someone typed: 12:30, 1:02:03.5, or seconds; None if it cannot be read as one."""
    found = CLOCK.fullmatch(text.strip())
    if found is None:
        return None
    seconds = float(found["seconds"].replace(",", "."))
    return int(found["hours"] or 0) * 3600 + int(found["minutes"] or 0) * 60 + seconds


def _number(text: str | None, *, least: int = 1) -> int | None:
    if text is None:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID))
    number = int(text) if is_number else NOBODY
    return number if least <= number <= LARGEST_ID else NOBODY


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
