"""Filters and pagination of the frame gallery. Both are kept in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from db import gallery
from db.gallery import Card, FrameFilter
from db.queries import VideoRow
from enrich.wording import format_count, format_timestamp, markdown_text, printable
from pages.parts.frames.navigation import draw_jump_field, go_to_page_at
from pages.parts.session import reading
from pages.parts.view import EPSILON_SECONDS, View, go_to

PAGE_CARDS = 18  # three rows on a wide screen
SHOW, TAG = "frames-show", "frames-tag"
FILTER_LABELS = {
    FrameFilter.ALL: "All",
    FrameFilter.WAITING: "Not described",
    FrameFilter.WARNINGS: "Flagged",
    FrameFilter.FAILED: "Failed",
    FrameFilter.CORRECTED: "Corrected",
    FrameFilter.REVIEWED: "Approved",
    FrameFilter.UNREVIEWED: "Not approved",
}


@dataclass(frozen=True, slots=True)
class FramePage:
    """One page of the gallery. `total`: frames on all pages; `earlier`, `later`: None if there is no such page."""

    cards: list[Card]
    following: list[Card]  # of the next page, for prefetching
    total: int
    earlier: View | None
    later: View | None


def draw_filters(view: View, tags: Sequence[tuple[str, int]]) -> None:
    """Draw the filters by state and by tag. `tags`: with the number of frames that have each."""
    st.session_state[SHOW], st.session_state[TAG] = view.show, view.tag
    counts = dict(tags)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Show",
            list(FILTER_LABELS),
            required=True,
            wrap=True,
            key=SHOW,
            format_func=FILTER_LABELS.__getitem__,
            on_change=_apply_filters,
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
            on_change=_apply_filters,
            args=(view,),
        )


def load_page(video: VideoRow, view: View) -> FramePage:
    """Load the gallery page of a view by keyset pagination: pages start after a timestamp, not at an offset."""
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
        is_unfiltered = view.show is FrameFilter.ALL and view.tag is None
        total = video.kept if is_unfiltered else gallery.count(connection, video.id, show=view.show, tag=view.tag)
    page_cards = cards[:PAGE_CARDS]
    earlier_after = before[0].timestamp + EPSILON_SECONDS if len(before) > PAGE_CARDS else None  # None: the first page
    has_later = len(cards) > PAGE_CARDS
    return FramePage(
        cards=page_cards,
        following=cards[PAGE_CARDS:],
        total=total,
        earlier=view.gallery(after=earlier_after) if before else None,
        later=view.gallery(after=page_cards[-1].timestamp + EPSILON_SECONDS) if has_later else None,
    )


def draw_pagination(video: VideoRow, view: View, page: FramePage) -> None:
    """Draw the page buttons, which the arrow keys press too, and the time range of this page."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _page_button("Earlier", page.earlier, "Left")
        _page_button("Later", page.later, "Right")
        draw_jump_field(video, lambda seconds: go_to_page_at(video, view, seconds))
        if page.cards:
            times = (page.cards[0].timestamp, page.cards[-1].timestamp, video.duration)
            first, last, length = (markdown_text(format_timestamp(seconds)) for seconds in times)
            total = markdown_text(format_count(page.total, "frame"))
            st.caption(f"{first} to {last} of {length} · {len(page.cards)} of {total}")
    if not page.cards:
        st.info("No frames match." if view.after is None or page.total == 0 else "No more frames.")


def _page_button(label: str, target: View | None, key: str) -> None:
    view = target if target is not None else View()
    st.button(label, key=f"turn-{key}", shortcut=key, disabled=target is None, on_click=go_to, args=(view,))


def _apply_filters(view: View) -> None:
    go_to(replace(view.gallery(), show=st.session_state[SHOW] or FrameFilter.ALL, tag=st.session_state[TAG]))


def _tag_label(tag: str, counts: Mapping[str, int]) -> str:
    return f"{printable(tag)} ({counts[tag]:,})" if tag in counts else printable(tag)
