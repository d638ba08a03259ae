"""Which frames of a film the gallery shows, and turning its pages. Both are part of the address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from db import gallery
from db.gallery import Card, FrameFilter
from db.queries import VideoRow
from enrich.wording import clock, counted
from pages.parts.frames.stepping import jump_field, to_page_at
from pages.parts.plain import plain, shown
from pages.parts.session import reading
from pages.parts.view import HAIR_SECONDS, View, go

PAGE_CARDS = 18  # three rows on a wide screen
SHOW, TAG = "frames-show", "frames-tag"
NAMES = {
    FrameFilter.ALL: "All",
    FrameFilter.WAITING: "Not yet described",
    FrameFilter.WARNINGS: "Doubtful",
    FrameFilter.FAILED: "Failed",
    FrameFilter.CORRECTED: "Corrected",
    FrameFilter.REVIEWED: "Approved",
    FrameFilter.UNREVIEWED: "Not approved",
}


@dataclass(frozen=True, slots=True)
class FramePage:
    """A page of the gallery. `total`: of all pages; `earlier` and `later`: None where there is nothing."""

    cards: list[Card]
    following: list[Card]  # those of the next page
    total: int
    earlier: View | None
    later: View | None


def filters(view: View, tags: Sequence[tuple[str, int]]) -> None:
    """Choose among all frames, those that want attention, and those with a tag."""
    st.session_state[SHOW], st.session_state[TAG] = view.show, view.tag
    counts = dict(tags)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Show",
            list(NAMES),
            required=True,
            wrap=True,
            key=SHOW,
            format_func=NAMES.__getitem__,
            on_change=_chosen,
            args=(view,),
        )
        st.selectbox(
            "Tag",
            list(counts) if view.tag is None or view.tag in counts else [view.tag, *counts],
            index=None,
            key=TAG,
            placeholder="Any tag",
            width=240,
            format_func=lambda tag: _tag_label(tag, counts),
            on_change=_chosen,
            args=(view,),
        )


def page_of(video: VideoRow, view: View) -> FramePage:
    """The frames of the view's page, and where turning it leads."""
    with reading() as connection:
        cards = gallery.cards(
            connection, video.id, show=view.show, tag=view.tag, after=view.after, limit=2 * PAGE_CARDS
        )
        first = cards[0].timestamp if cards else view.after
        before = (
            gallery.cards(connection, video.id, show=view.show, tag=view.tag, before=first, limit=PAGE_CARDS + 1)
            if first is not None and view.after is not None
            else []
        )
        is_all = view.show is FrameFilter.ALL and view.tag is None
        total = video.kept if is_all else gallery.count(connection, video.id, show=view.show, tag=view.tag)
    shown_cards = cards[:PAGE_CARDS]
    begins = before[0].timestamp + HAIR_SECONDS if len(before) > PAGE_CARDS else None  # None: the first page
    return FramePage(
        cards=shown_cards,
        following=cards[PAGE_CARDS:],
        total=total,
        earlier=view.gallery(after=begins) if before else None,
        later=view.gallery(after=shown_cards[-1].timestamp + HAIR_SECONDS) if len(cards) > PAGE_CARDS else None,
    )


def page_buttons(video: VideoRow, view: View, page: FramePage) -> None:
    """Turn the page, by buttons or by the arrow keys; and which stretch of the film this page shows."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _turn("Earlier", page.earlier, "Left")
        _turn("Later", page.later, "Right")
        jump_field(video, lambda seconds: to_page_at(video, view, seconds))
        if page.cards:
            first, last = page.cards[0].timestamp, page.cards[-1].timestamp
            st.caption(
                f"{plain(clock(first))} to {plain(clock(last))} of {plain(clock(video.duration))}"
                f" · {len(page.cards)} of {plain(counted(page.total, 'picture'))}"
            )
    if not page.cards:
        st.info("No frame of this film is like that." if view.after is None or page.total == 0 else "Nothing follows.")


def _turn(label: str, to: View | None, key: str) -> None:
    view = to if to is not None else View()
    st.button(label, key=f"turn-{key}", shortcut=key, disabled=to is None, on_click=go, args=(view,))


def _chosen(view: View) -> None:
    go(replace(view.gallery(), show=st.session_state[SHOW] or FrameFilter.ALL, tag=st.session_state[TAG]))


def _tag_label(tag: str, counts: Mapping[str, int]) -> str:
    return f"{shown(tag)} ({counts[tag]:,})" if tag in counts else shown(tag)
