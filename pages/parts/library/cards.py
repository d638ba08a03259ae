"""The library as cards, a page at a time: poster, length, frames, how far each film is, and what is wrong with it.

How far a video is, in words a person uses, and as a share of the whole film.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar, assert_never

import streamlit as st

from db import gallery, queries
from db.models import EnrichmentStatus, ExtractionStatus
from db.queries import VideoRow
from enrich.wording import counted, span
from pages.parts.library.folders import natural
from pages.parts.library.sampling import in_words
from pages.parts.plain import plain
from pages.parts.session import reading
from pages.parts.view import image_url

Name = TypeVar("Name", bound=StrEnum)
PAGE = "pages/library.py"
CARDS = 12
SELECT_WIDTH = 180  # pixels
REFRESH = "4s"
TITLE_CHARACTERS, LINE_CHARACTERS = 60, 160
# Where things lie, and nothing about colours: those are the theme's.
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
[class*="st-key-card-"] .nothing {
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
NO_PICTURE = '<div class="nothing">No picture yet</div>'


class VideoFilter(StrEnum):
    """What somebody may want to see of the library."""

    ALL = "All films"
    OPEN = "Not finished"
    DONE = "Described"
    TROUBLE = "With trouble"


def belongs(row: VideoRow, group: VideoFilter) -> bool:
    """Whether a video is one of the group."""
    match group:
        case VideoFilter.ALL:
            return True
        case VideoFilter.OPEN:
            return row.enrichment_status in (EnrichmentStatus.PENDING, EnrichmentStatus.ENRICHING) and not is_lost(row)
        case VideoFilter.DONE:
            return row.enrichment_status is EnrichmentStatus.ENRICHED
        case VideoFilter.TROUBLE:
            return is_lost(row) or bool(row.error or row.failed or row.decode_failures)
    assert_never(group)


def is_lost(row: VideoRow) -> bool:
    """Whether nothing more comes of a video by itself."""
    return row.extraction_status is ExtractionStatus.FAILED or row.enrichment_status is EnrichmentStatus.FAILED


def status(row: VideoRow) -> str:  # noqa: PLR0911  # one for each
    """Where a video stands."""
    if row.extraction_status is ExtractionStatus.FAILED:
        return "Could not be read"
    if row.error and row.extraction_status is not ExtractionStatus.EXTRACTED:
        return "Waits"
    match row.enrichment_status:
        case EnrichmentStatus.ENRICHED:
            return "Described"
        case EnrichmentStatus.FAILED:
            return "No picture could be described"
        case EnrichmentStatus.ENRICHING:
            is_whole = row.extraction_status is ExtractionStatus.EXTRACTED
            return "Being described" if is_whole else "Being taken apart and described"
        case EnrichmentStatus.PENDING:
            match row.extraction_status:
                case ExtractionStatus.EXTRACTED:
                    return "Taken apart, not described yet"
                case ExtractionStatus.EXTRACTING:
                    return "Being taken apart"
                case ExtractionStatus.SKIMMED:
                    return "Looked through once"
                case _:
                    return "Not begun"


def share(row: VideoRow) -> float:
    """The share of the film's own frames that is described, 0 to 1; every kept frame counts for what it stands for."""
    if row.extraction_status is ExtractionStatus.EXTRACTED and row.kept and row.described == row.kept:
        return 1.0
    return min(1.0, row.covered / row.frame_count) if row.frame_count else 0.0


def progress(row: VideoRow) -> str:
    """Where a video stands, with its share: Being described, 45 %."""
    said = status(row)
    return said if said == "Described" or is_lost(row) else f"{said}, {int(100 * share(row))} %"


def figures(row: VideoRow) -> str:
    """Length, frames and kept frames in a line."""
    length = span(row.duration) if row.duration else "length unknown"
    is_counted = row.extraction_status is ExtractionStatus.EXTRACTED
    frames = counted(row.frame_count, "frame") if row.frame_count else "frames not counted"
    about = "" if is_counted or not row.frame_count else "about "
    return f"{length} · {about}{frames} · {row.kept:,} kept"


def troubles(row: VideoRow) -> list[str]:
    """What is wrong with a video, or keeps it waiting, one sentence each."""
    found = [row.error] if row.error else []
    if row.failed:
        found.append(f"{counted(row.failed, 'picture')} could not be described")
    if row.decode_failures:
        found.append(f"{counted(row.decode_failures, 'frame')} could not be decoded: the file is damaged there")
    return [*found, *row.warnings]


class CardOrder(StrEnum):
    """How the cards are sorted."""

    NEWEST = "Newest first"
    TITLE = "By title"
    LENGTH = "Longest first"


def cards(rows: Sequence[VideoRow], *, is_live: bool) -> None:
    """Draw the filters and a page of cards; while a worker lives, the cards are drawn anew by themselves."""
    query = st.query_params
    st.session_state.setdefault("find", query.get("find", ""))
    st.session_state.setdefault("show", _named(VideoFilter, query.get("show"), VideoFilter.ALL))
    st.session_state.setdefault("sort", _named(CardOrder, query.get("sort"), CardOrder.NEWEST))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Find a film", key="find", on_change=_look)
        group: VideoFilter = st.selectbox("Show", [*VideoFilter], key="show", on_change=_look, width=SELECT_WIDTH)
        order: CardOrder = st.selectbox("Sort", [*CardOrder], key="sort", on_change=_look, width=SELECT_WIDTH)
    st.html(LAYOUT)
    st.fragment(_page, run_every=REFRESH if is_live else None)(words, group, order)
    _turner(len(_wanted(rows, words, group, order)))


def page_number() -> int:
    """The page in the address, from 1."""
    said = st.query_params.get("page", "1")
    return max(1, int(said)) if said.isdecimal() and len(said) < 6 else 1  # noqa: PLR2004  # no library is so large


def _page(words: str, group: VideoFilter, order: CardOrder) -> None:
    with reading() as connection:
        wanted = _wanted(queries.videos(connection), words, group, order)
        number = min(page_number(), _pages(len(wanted)))
        rows = wanted[(number - 1) * CARDS : number * CARDS]
        posters = gallery.poster(connection, [row.id for row in rows])
    with st.container(key="cards"):
        for row in rows:
            _card(row, posters.get(row.id))
    if not rows:
        st.info("No film is like that. Change what is shown, or the words.")


def _card(row: VideoRow, poster: int | None) -> None:
    title = plain(row.title, TITLE_CHARACTERS)
    with st.container(key=f"card-{row.id}", border=True):
        if poster is None:
            st.html(NO_PICTURE)
        else:
            st.image(image_url(poster), alt=f"A picture of {row.title}", width="stretch")
        st.page_link(PAGE, label=title or "Untitled", query_params={"video": str(row.id)})
        st.progress(share(row), progress(row))
        lines = [figures(row), in_words(row.sampling)]
        if row.context:
            lines.append(f"“{plain(row.context, LINE_CHARACTERS)}”")
        if trouble := troubles(row):
            lines.append(f":material/warning: {plain('; '.join(trouble), LINE_CHARACTERS)}")
        st.caption("  \n".join(lines))


def _wanted(rows: Sequence[VideoRow], words: str, group: VideoFilter, order: CardOrder) -> list[VideoRow]:
    looked_for = words.casefold().split()
    found = [
        row
        for row in rows
        if belongs(row, group) and all(word in f"{row.title} {row.context}".casefold() for word in looked_for)
    ]
    match order:
        case CardOrder.TITLE:
            return sorted(found, key=lambda row: (natural(row.title), row.id))
        case CardOrder.LENGTH:
            return sorted(found, key=lambda row: (-(row.duration or 0.0), row.id))
        case _:
            return sorted(found, key=lambda row: (row.added_at, row.id), reverse=True)


def _pages(total: int) -> int:
    return max(1, -(-total // CARDS))


def _turner(total: int) -> None:
    pages = _pages(total)
    number = min(page_number(), pages)
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.button("Previous", on_click=_turn, args=(number - 1,), disabled=number == 1, key="previous")
            st.button("Next", on_click=_turn, args=(number + 1,), disabled=number == pages, key="next")
            st.caption(f"Page {number} of {pages} · {counted(total, 'film')}")
        else:
            st.caption(counted(total, "film"))


def _turn(number: int) -> None:
    st.query_params.from_dict(_query() | {"page": str(number)})


def _look() -> None:
    """Show the first page of what is looked for now."""
    st.query_params.from_dict(_query())


def _query() -> dict[str, str]:
    """What is looked for, as the address says it."""
    words, group, order = (st.session_state[name] for name in ("find", "show", "sort"))
    query = {"find": words} if words else {}
    query |= {"show": group.name.lower()} if group is not VideoFilter.ALL else {}
    return query | ({"sort": order.name.lower()} if order is not CardOrder.NEWEST else {})


def _named(kind: type[Name], text: str | None, usual: Name) -> Name:
    return next((member for member in kind if member.name.lower() == text), usual)
