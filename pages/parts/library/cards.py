"""The library as cards, a page at a time: poster, length, frames, state, progress and problems of each video."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar, assert_never

import streamlit as st

from db import gallery, queries
from db.files import caseless
from db.models import EnrichmentStatus, ExtractionStatus
from db.queries import VideoRow
from enrich.library.completion import covered_share, damage_of, is_damaged
from enrich.wording import format_count, format_duration, markdown_text, printable
from pages.parts.library.folders import natural
from pages.parts.library.sampling import sampling_label
from pages.parts.session import live, reading
from pages.parts.view import image_url

Name = TypeVar("Name", bound=StrEnum)
PAGE = "pages/library.py"
CARDS_PER_PAGE = 12
WIDTH_PIXELS = 180  # of a select box
REFRESH = "4s"
TITLE_CHARACTERS, LINE_CHARACTERS = 60, 160
# Layout only: colours come from the theme.
LAYOUT = """<style>
.st-key-cards {
  display: grid; gap: 1rem; align-items: stretch;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr));
}
.st-key-cards > * { width: 100% !important; min-width: 0; height: auto; display: flex; }
[class*="st-key-card-"] { position: relative; gap: 0.4rem; flex: 1 1 auto; height: auto; overflow-wrap: anywhere; }
[class*="st-key-card-"] img {
  width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: rgba(128, 128, 128, 0.14);
}
[class*="st-key-card-"] .no-poster {
  aspect-ratio: 16 / 9; display: grid; place-items: center; background: rgba(128, 128, 128, 0.14); border-radius: 8px;
}
[class*="st-key-card-"] [data-testid="stElementToolbar"] { display: none; }
[class*="st-key-card-"] [data-testid="stPageLink-NavLink"] { background: transparent; padding: 0; margin: 0; }
[class*="st-key-card-"] [data-testid="stPageLink-NavLink"]::after {
  content: ""; position: absolute; inset: 0; z-index: 1; border-radius: 8px;
}
[class*="st-key-card-"] [data-testid="stPageLink-NavLink"] span { white-space: normal; font-weight: 600; }
[class*="st-key-card-"] [data-testid="stPageLink-NavLink"]:hover span { text-decoration: underline; }
[class*="st-key-card-"] [data-testid="stPageLink-NavLink"]:focus-visible::after { outline: 2px solid currentColor; }
</style>"""
DAMAGED = "Damaged"
NO_POSTER = '<div class="no-poster">No image yet</div>'


class VideoFilter(StrEnum):
    """Which videos to show."""

    ALL = "All videos"
    OPEN = "Not finished"
    DONE = "Described"
    TROUBLE = "With problems"


def matches(row: VideoRow, group: VideoFilter) -> bool:
    """Whether a video passes a filter."""
    match group:
        case VideoFilter.ALL:
            return True
        case VideoFilter.OPEN:
            is_open = row.enrichment_status in (EnrichmentStatus.PENDING, EnrichmentStatus.ENRICHING)
            return is_open and not has_failed(row)
        case VideoFilter.DONE:
            return row.enrichment_status is EnrichmentStatus.ENRICHED and not is_damaged(row)
        case VideoFilter.TROUBLE:
            return has_failed(row) or bool(row.error or row.failed or row.decode_failures)
    assert_never(group)


def has_failed(row: VideoRow) -> bool:
    """Whether a video has failed as a whole, so that only a retry continues it."""
    return row.extraction_status is ExtractionStatus.FAILED or row.enrichment_status is EnrichmentStatus.FAILED


def status(row: VideoRow) -> str:  # noqa: PLR0911  # one return per state
    """A video's state."""
    if row.extraction_status is ExtractionStatus.FAILED:
        return "Extraction failed"
    if row.error and row.extraction_status is not ExtractionStatus.EXTRACTED:
        return "Waiting"
    match row.enrichment_status:
        case EnrichmentStatus.ENRICHED:
            return DAMAGED if is_damaged(row) else "Described"
        case EnrichmentStatus.FAILED:
            return "Description failed"
        case EnrichmentStatus.ENRICHING:
            is_extracted = row.extraction_status is ExtractionStatus.EXTRACTED
            return "Describing" if is_extracted else "Extracting and describing"
        case EnrichmentStatus.PENDING:
            match row.extraction_status:
                case ExtractionStatus.EXTRACTED:
                    return "Extracted, not described yet"
                case ExtractionStatus.EXTRACTING:
                    return "Extracting frames"
                case ExtractionStatus.SKIMMED:
                    return "Previewed"
                case _:
                    return "Not started"


def progress(row: VideoRow) -> str:
    """A video's state and share: Describing, 45 %."""
    state = status(row)
    is_ended = state in ("Described", DAMAGED) or has_failed(row)
    return state if is_ended else f"{state}, {int(100 * covered_share(row))} %"


def figures(row: VideoRow) -> str:
    """Length, source frames and kept frames in a line."""
    length = format_duration(row.duration) if row.duration else "unknown length"
    is_counted = row.extraction_status is ExtractionStatus.EXTRACTED
    frames = format_count(row.frame_count, "frame") if row.frame_count else "unknown number of frames"
    about = "" if is_counted or not row.frame_count else "about "
    return f"{length} · {about}{frames} · {row.kept:,} kept"


def problems(row: VideoRow) -> list[str]:
    """A video's errors and warnings, and what it waits for, one sentence each."""
    found = [row.error] if row.error else []
    if row.failed:
        found.append(f"{format_count(row.failed, 'frame')} could not be described")
    if damage := damage_of(row):
        found.append(str(damage))
    return [*found, *row.warnings]


class CardOrder(StrEnum):
    """How the cards are sorted."""

    NEWEST = "Newest first"
    TITLE = "Title"
    LENGTH = "Longest first"


def draw_cards(rows: Sequence[VideoRow], *, is_live: bool) -> None:
    """Draw the filters and a page of cards; while a worker is running, the cards refresh by themselves."""
    query = st.query_params
    st.session_state.setdefault("find", query.get("find", ""))
    st.session_state.setdefault("show", _named(VideoFilter, query.get("show"), VideoFilter.ALL))
    st.session_state.setdefault("sort", _named(CardOrder, query.get("sort"), CardOrder.NEWEST))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Search videos", key="find", on_change=_set_address)
        group: VideoFilter = st.selectbox(
            "Show", [*VideoFilter], key="show", on_change=_set_address, width=WIDTH_PIXELS
        )
        order: CardOrder = st.selectbox("Sort", [*CardOrder], key="sort", on_change=_set_address, width=WIDTH_PIXELS)
    st.html(LAYOUT)
    live(run_every=REFRESH if is_live else None)(_page)(words, group, order)
    _pager(len(_matching(rows, words, group, order)))


def page_number() -> int:
    """The page in the address, from 1."""
    number = st.query_params.get("page", "1")
    return max(1, int(number)) if number.isdecimal() and len(number) < 6 else 1  # noqa: PLR2004  # no library has more pages


def _page(words: str, group: VideoFilter, order: CardOrder) -> None:
    with reading() as connection:
        matching = _matching(queries.videos(connection), words, group, order)
        number = min(page_number(), _pages(len(matching)))
        rows = matching[(number - 1) * CARDS_PER_PAGE : number * CARDS_PER_PAGE]
        posters = gallery.poster(connection, [row.id for row in rows])
    with st.container(key="cards"):
        for row in rows:
            _card(row, posters.get(row.id))
    if not rows:
        st.info("No videos match. Change the filter or the search.")


def _card(row: VideoRow, poster: int | None) -> None:
    title = markdown_text(row.title, TITLE_CHARACTERS)
    with st.container(key=f"card-{row.id}", border=True):
        if poster is None:
            st.html(NO_POSTER)
        else:
            st.image(image_url(poster), alt=f"Frame of {printable(row.title)}", width="stretch")
        st.page_link(PAGE, label=title or "Untitled", query_params={"video": str(row.id)})
        st.progress(covered_share(row), progress(row))
        lines = [figures(row), sampling_label(row.sampling)]
        if row.context:
            lines.append(f"“{markdown_text(row.context, LINE_CHARACTERS)}”")
        if found := problems(row):
            lines.append(f":material/warning: {markdown_text('; '.join(found), LINE_CHARACTERS)}")
        st.caption("  \n".join(lines))


def _matching(rows: Sequence[VideoRow], words: str, group: VideoFilter, order: CardOrder) -> list[VideoRow]:
    searched = caseless(words).split()
    found = [
        row
        for row in rows
        if matches(row, group) and all(word in caseless(f"{row.title} {row.context}") for word in searched)
    ]
    match order:
        case CardOrder.TITLE:
            return sorted(found, key=lambda row: (natural(row.title), row.id))
        case CardOrder.LENGTH:
            return sorted(found, key=lambda row: (-(row.duration or 0.0), row.id))
        case _:
            return sorted(found, key=lambda row: (row.added_at, row.id), reverse=True)


def _pages(total: int) -> int:
    return max(1, -(-total // CARDS_PER_PAGE))


def _pager(total: int) -> None:
    pages = _pages(total)
    number = min(page_number(), pages)
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.button("Previous", on_click=_show_page, args=(number - 1,), disabled=number == 1, key="previous")
            st.button("Next", on_click=_show_page, args=(number + 1,), disabled=number == pages, key="next")
            st.caption(f"Page {number} of {pages} · {format_count(total, 'video')}")
        else:
            st.caption(format_count(total, "video"))


def _show_page(number: int) -> None:
    st.query_params.from_dict(_query() | {"page": str(number)})


def _set_address() -> None:
    """Show the first page for the current filters."""
    st.query_params.from_dict(_query())


def _query() -> dict[str, str]:
    """The current filters as query parameters."""
    words, group, order = (st.session_state[name] for name in ("find", "show", "sort"))
    query = {"find": words} if words else {}
    query |= {"show": group.name.lower()} if group is not VideoFilter.ALL else {}
    return query | ({"sort": order.name.lower()} if order is not CardOrder.NEWEST else {})


def _named(kind: type[Name], text: str | None, default: Name) -> Name:
    return next((member for member in kind if member.name.lower() == text), default)
