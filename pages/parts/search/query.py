"""What somebody looks for, as the address of the Search page says it, and the box and the filters to say it with.

The address is the truth: the widgets follow it (a link, "back", a reload), and whoever types changes the address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import streamlit as st

from enrich.wording import clock
from pages.parts.plain import shown
from pages.parts.view import moment_in

PAGE_MOMENTS = 16  # moments that are shown at first, and that "more" adds
MOST_MOMENTS = 480
ALL_VIDEOS = 0
MOST_CHARACTERS = 500
_SEEN = "search_seen"  # the address that the widgets show
_PLAYS = "search_plays"
_WORDS, _VIDEO, _TAG, _START, _END = "search_words", "search_video", "search_tag", "search_start", "search_end"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Words, and where to look for them: in a film, with a tag, between two times (seconds)."""

    words: str = ""
    video: int | None = None
    tag: str = ""
    start: float | None = None
    end: float | None = None
    moments: int = PAGE_MOMENTS

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """What an address asks for; what cannot be read in it is not there."""
        moments = _number(query.get("moments")) or PAGE_MOMENTS
        return cls(
            words=" ".join(query.get("q", "").split())[:MOST_CHARACTERS],
            video=_number(query.get("video")),
            tag=" ".join(query.get("tag", "").split())[:MOST_CHARACTERS],
            start=moment_in(query.get("from", "")),
            end=moment_in(query.get("to", "")),
            moments=max(PAGE_MOMENTS, min(moments, MOST_MOMENTS)),
        )

    def query(self) -> dict[str, str]:
        """The part of the address behind the question mark."""
        said = {
            "q": self.words or None,
            "video": self.video,
            "tag": self.tag or None,
            "from": None if self.start is None else time_text(self.start),
            "to": None if self.end is None else time_text(self.end),
            "moments": self.moments if self.moments > PAGE_MOMENTS else None,
        }
        return {name: str(value) for name, value in said.items() if value is not None}

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to look for."""
        return not self.words and not self.tag

    @property
    def is_narrowed(self) -> bool:
        """Whether more might be found without the filters."""
        return bool(self.words) and (self.video, self.tag, self.start, self.end) != (None, "", None, None)


def here() -> SearchQuery:
    """What the address in this tab asks for."""
    return SearchQuery.of(st.query_params.to_dict())


def search_for(wanted: SearchQuery) -> None:
    """Change the address; "back" leads here again. For callbacks."""
    st.query_params.from_dict(wanted.query())


def widen(wanted: SearchQuery) -> None:
    """Look for the same words everywhere. For callbacks."""
    search_for(SearchQuery(wanted.words))


def play(frame_id: int | None) -> None:
    """Play a moment over the hits, or no more. For callbacks."""
    st.session_state[_PLAYS] = frame_id


def played() -> int | None:
    """The frame whose moment is played: nothing is when the page has just been opened."""
    found = st.session_state.get(_PLAYS)
    return found if isinstance(found, int) else None


def asked(titles: Mapping[int, str], tags: Sequence[str]) -> SearchQuery:
    """Draw the box and the filters over films with these titles; what they say.

    `tags` are offered; others can be typed.
    """
    wanted = here()
    if st.session_state.get(_SEEN) != wanted or _WORDS not in st.session_state:
        play(None)
        _follow(wanted, titles)
    st.text_input(
        "Look for",
        key=_WORDS,
        type="search",
        max_chars=MOST_CHARACTERS,
        placeholder="grandma laughing at the speech",
        on_change=_tell,
        help='Words in any order · "exact words" in quotes · the beginning of a word with a star: danc*',
    )
    with st.container(horizontal=True, key="search-filters"):
        st.selectbox(
            "Film",
            [ALL_VIDEOS, *titles],
            key=_VIDEO,
            format_func=lambda video: "All films" if video == ALL_VIDEOS else shown(titles[video]),
            on_change=_tell,
            width=206,  # with the tag, as wide as a telephone
        )
        st.selectbox(
            "Tag",
            list(dict.fromkeys([*([wanted.tag] if wanted.tag else []), *tags])),
            key=_TAG,
            index=None,
            placeholder="Any",
            format_func=shown,
            accept_new_options=True,
            on_change=_tell,
            width=146,
        )
        st.text_input(
            "From", key=_START, placeholder="0:00", on_change=_tell, width=110, help="A time of the film: 12:30"
        )
        st.text_input(
            "To", key=_END, placeholder="the end", on_change=_tell, width=110, help="A time of the film: 15:00"
        )
    for key, name in ((_START, "From"), (_END, "To")):
        if st.session_state[key] and moment_in(st.session_state[key]) is None:
            st.warning(f"“{name}” is no time that can be read. Write minutes and seconds, such as 12:30.")
    return wanted


def time_text(seconds: float) -> str:
    """A moment in whole seconds, as people write it: 12:30."""
    return clock(int(seconds)).removesuffix(".000")


def _follow(wanted: SearchQuery, titles: Mapping[int, str]) -> None:
    """Have the widgets say what the address says."""
    state = st.session_state
    state[_WORDS] = wanted.words
    state[_VIDEO] = wanted.video if wanted.video in titles else ALL_VIDEOS
    state[_TAG] = wanted.tag or None
    state[_START] = "" if wanted.start is None else time_text(wanted.start)
    state[_END] = "" if wanted.end is None else time_text(wanted.end)
    state[_SEEN] = wanted


def _tell() -> None:
    """Have the address say what the widgets say."""
    state = st.session_state
    wanted = SearchQuery.of(
        {
            "q": state[_WORDS] or "",
            "video": str(state[_VIDEO] or ""),
            "tag": state[_TAG] or "",
            "from": state[_START] or "",
            "to": state[_END] or "",
        }
    )
    state[_SEEN] = wanted
    search_for(wanted)


def _number(text: str | None) -> int | None:
    is_number = bool(text) and text is not None and text.isascii() and text.isdecimal() and len(text) < 19  # noqa: PLR2004
    return int(text) if is_number and text else None
