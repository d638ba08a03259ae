"""Which film is looked at, and what is said where there is none, or nothing of it to be seen yet.

What a film is like as a whole: its timeline, its scenes, and the tags its frames have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from db import gallery
from db.gallery import Scene, TimelineBucket
from db.queries import VideoRow
from enrich.wording import span
from pages.parts.plain import plain, shown
from pages.parts.session import reading, settings
from pages.parts.view import HAIR_SECONDS, PAGE, View, go

MOST_BUCKETS = 240
LEAST_BUCKETS = 24
FRESH_SECONDS = 10
OUTLINES_KEPT = 32  # outlines, some 20 kB each
TITLE = "Frames"
FIELD = "film"
LIBRARY, OVERVIEW = "pages/library.py", "pages/overview.py"


@dataclass(frozen=True, slots=True)
class Outline:
    """A film in figures. `tags` with the number of frames that have each, the commonest first."""

    buckets: list[TimelineBucket]
    scenes: list[Scene]
    tags: list[tuple[str, int]]


def outline_of(film: VideoRow) -> Outline:
    """The outline, cut into stretches none so narrow that hardly any has a frame.

    It is looked up anew when a frame was kept, described or failed, and every few seconds besides.
    """
    return _outline(settings().url, film.id, film.kept, film.described, film.failed)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=OUTLINES_KEPT, show_spinner=False)
def _outline(library: str, film_id: int, kept: int, described: int, failed: int) -> Outline:
    del library, described, failed  # they say whether it is still the same
    buckets = max(LEAST_BUCKETS, min(MOST_BUCKETS, kept))
    with reading() as connection:
        return Outline(
            buckets=gallery.timeline(connection, film_id, buckets=buckets),
            scenes=gallery.scenes(connection, film_id),
            tags=gallery.tags(connection, film_id),
        )


def video_for(films: Sequence[VideoRow], view: View) -> VideoRow | None:
    """The film of the view; without one in the address the first that has something to see; None: no such film."""
    if view.video is not None:
        return next((film for film in films if film.id == view.video), None)
    return next((film for film in films if film.kept), films[0] if films else None)


def video_head(films: Sequence[VideoRow], film: VideoRow | None) -> None:
    """The page's title, and beside it the film, to be chosen."""
    title, field = st.columns([1, 3], vertical_alignment="bottom")
    title.title(TITLE, anchor=False)
    with field:
        _film_field(films, film)


def _film_field(films: Sequence[VideoRow], film: VideoRow | None) -> None:
    st.session_state[FIELD] = film.id if film is not None else None
    names = {one.id: f"{shown(one.title)} · {span(one.duration)}" for one in films}
    st.selectbox(
        "Film",
        list(names),
        index=None,
        key=FIELD,
        format_func=lambda video_id: names.get(video_id, ""),
        placeholder="Choose a film",
        on_change=_chosen,
    )


def empty_library() -> None:
    """Nothing was added yet."""
    st.title(TITLE, anchor=False)
    st.info("The library is empty. Add a film, and its pictures are here within minutes.")
    st.page_link(LIBRARY, label="Add a film")


def no_such_video() -> None:
    """The address names a film that is not there."""
    st.info("There is no such film in this library; it may have been removed. Choose another one above.")
    st.page_link(LIBRARY, label="All films")


def no_such_frame(film: VideoRow | None) -> None:
    """The address names a frame that is not there."""
    st.info("There is no such frame; its film may have been removed, or decoded anew.")
    if film is not None:
        st.page_link(PAGE, label=f"All frames of {plain(film.title)}", query_params=View(video=film.id).query())


def no_frames(film: VideoRow) -> None:
    """A film of which no frame is kept yet."""
    if film.error:
        st.warning("No pictures could be taken out of this film:")
        st.text(shown(film.error))
        st.page_link(LIBRARY, label="See it in the library", query_params={"video": str(film.id)})
    else:
        st.info("This film is not decoded yet. Its first pictures come within a minute once the work has started.")
        st.page_link(OVERVIEW, label="Start or watch the work")


def way_back(view: View, seconds: float) -> None:
    """To the gallery, at the page that begins with this moment."""
    st.page_link(
        PAGE,
        label="All frames",
        icon=":material/arrow_back:",
        query_params=view.gallery(after=seconds - HAIR_SECONDS).query(),
    )


def _chosen() -> None:
    video_id = st.session_state[FIELD]
    if video_id is not None:
        go(View(video=video_id))
