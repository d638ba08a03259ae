"""The search query, kept in the page's URL, and the search box and filters that edit it.

The URL is the single source of truth. The widgets are reset to it whenever it changes without them, such as by a link,
the Back button or a reload, and any change of a widget updates the URL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import streamlit as st

from enrich.wording import format_timestamp, printable
from pages.parts.view import parse_time

PAGE_MOMENTS = 16  # moments shown at first, and added by each "Show more"
MOST_MOMENTS = 480
ALL_VIDEOS = 0
MOST_CHARACTERS = 500
MOST_DIGITS = 18  # of a number in the URL; fits a signed 64-bit integer
_SYNCED = "search_synced"  # the query that the widgets show
_PLAYING = "search_playing"  # id of the frame whose moment is playing
_WORDS, _VIDEO, _TAG, _START, _END = "search_words", "search_video", "search_tag", "search_start", "search_end"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Search words and filters: video, tag, and a time range in seconds."""

    words: str = ""
    video: int | None = None
    tag: str = ""
    start: float | None = None
    end: float | None = None
    moments: int = PAGE_MOMENTS

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Parse the query parameters of a URL. Invalid values are ignored."""
        moments = _parse_number(query.get("moments")) or PAGE_MOMENTS
        return cls(
            words=" ".join(query.get("q", "").split())[:MOST_CHARACTERS],
            video=_parse_number(query.get("video")),
            tag=" ".join(query.get("tag", "").split())[:MOST_CHARACTERS],
            start=parse_time(query.get("from", "")),
            end=parse_time(query.get("to", "")),
            moments=max(PAGE_MOMENTS, min(moments, MOST_MOMENTS)),
        )

    def to_query(self) -> dict[str, str]:
        """The query parameters of this search's URL."""
        values = {
            "q": self.words or None,
            "video": self.video,
            "tag": self.tag or None,
            "from": None if self.start is None else time_text(self.start),
            "to": None if self.end is None else time_text(self.end),
            "moments": self.moments if self.moments > PAGE_MOMENTS else None,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a word nor a tag to search for."""
        return not self.words and not self.tag

    @property
    def is_filtered(self) -> bool:
        """Whether the same words might find more without the filters."""
        return bool(self.words) and (self.video, self.tag, self.start, self.end) != (None, "", None, None)


def current_query() -> SearchQuery:
    """The query in this tab's URL."""
    return SearchQuery.from_query(st.query_params.to_dict())


def go_to_search(query: SearchQuery) -> None:
    """Navigate to a search; the browser's Back button returns. For callbacks."""
    st.query_params.from_dict(query.to_query())


def clear_filters(query: SearchQuery) -> None:
    """Search for the same words without filters. For callbacks."""
    go_to_search(SearchQuery(query.words))


def play(frame_id: int | None) -> None:
    """Open the player at the moment of a frame; None closes it. For callbacks."""
    st.session_state[_PLAYING] = frame_id


def playing_frame() -> int | None:
    """The id of the frame whose moment is playing, if any."""
    frame_id = st.session_state.get(_PLAYING)
    return frame_id if isinstance(frame_id, int) else None


def draw_search_box(titles: Mapping[int, str], tags: Sequence[str]) -> SearchQuery:
    """Draw the search box and the filters, and return the current query.

    `titles`: of all videos, by id. `tags`: suggestions; others can be typed.
    """
    query = current_query()
    if st.session_state.get(_SYNCED) != query or _WORDS not in st.session_state:
        play(None)
        _sync_widgets(query, titles)
    st.text_input(
        "Search",
        key=_WORDS,
        type="search",
        max_chars=MOST_CHARACTERS,
        placeholder="grandma laughing at the speech",
        on_change=_sync_url,
        help='Words in any order · "exact phrase" in quotes · beginning of a word with a star: danc*',
    )
    with st.container(horizontal=True, key="search-filters"):
        st.selectbox(
            "Video",
            [ALL_VIDEOS, *titles],
            key=_VIDEO,
            format_func=lambda video: "All videos" if video == ALL_VIDEOS else printable(titles[video]),
            on_change=_sync_url,
            width=206,  # with the tag filter, as wide as a phone screen
        )
        st.selectbox(
            "Tag",
            list(dict.fromkeys([*([query.tag] if query.tag else []), *tags])),
            key=_TAG,
            index=None,
            placeholder="Any",
            format_func=printable,
            accept_new_options=True,
            on_change=_sync_url,
            width=146,
        )
        st.text_input(
            "From", key=_START, placeholder="0:00", on_change=_sync_url, width=110, help="Time in the video, e.g. 12:30"
        )
        st.text_input(
            "To", key=_END, placeholder="end", on_change=_sync_url, width=110, help="Time in the video, e.g. 15:00"
        )
    for key, label in ((_START, "From"), (_END, "To")):
        if st.session_state[key] and parse_time(st.session_state[key]) is None:
            st.warning(f"“{label}” is not a valid time. Use minutes and seconds, such as 12:30.")
    return query


def time_text(seconds: float) -> str:
    """A time in whole seconds, such as 12:30."""
    return format_timestamp(int(seconds)).removesuffix(".000")


def _sync_widgets(query: SearchQuery, titles: Mapping[int, str]) -> None:
    """Set the widgets to the query in the URL."""
    state = st.session_state
    state[_WORDS] = query.words
    state[_VIDEO] = query.video if query.video in titles else ALL_VIDEOS
    state[_TAG] = query.tag or None
    state[_START] = "" if query.start is None else time_text(query.start)
    state[_END] = "" if query.end is None else time_text(query.end)
    state[_SYNCED] = query


def _sync_url() -> None:
    """Set the URL to the query in the widgets."""
    state = st.session_state
    query = SearchQuery.from_query(
        {
            "q": state[_WORDS] or "",
            "video": str(state[_VIDEO] or ""),
            "tag": state[_TAG] or "",
            "from": state[_START] or "",
            "to": state[_END] or "",
        }
    )
    state[_SYNCED] = query
    go_to_search(query)


def _parse_number(text: str | None) -> int | None:
    if not text or not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        return None
    return int(text)
