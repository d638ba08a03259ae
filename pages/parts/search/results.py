"""Search results: moments as thumbnails with the search words in bold, and the player that a click opens over them.

Without results: search tips, and why nothing was found. A snippet is model output or user input, so only the
highlighting in it is Markdown.

While a worker is describing, the page counts new matches. It only reads, and results on screen do not move: new ones
are shown on "Refresh results", or automatically if there were none before.
"""

from dataclasses import replace
from datetime import UTC, datetime

import streamlit as st

from db import queries, runs
from db.counts import total_counts
from db.models import RunState
from db.queries import FrameRow, VideoRow
from db.search import MARK_END, MARK_START, Moment, SearchResult, moments, search
from enrich.control.status import WorkerHealth, judge
from enrich.wording import format_count, markdown_text, printable
from pages.parts.gallery import frame_image
from pages.parts.player import draw_player
from pages.parts.search.query import (
    MOST_MOMENTS,
    PAGE_MOMENTS,
    SearchQuery,
    clear_filters,
    go_to_search,
    play,
    time_text,
)
from pages.parts.session import live, reading
from pages.parts.view import PAGE, View

TITLE_CHARACTERS = 60
FRAMES_PER_MOMENT = 3  # frames searched for each moment to show
WIDER_SEARCH_FACTOR = 6  # if adjacent frames merge into too few moments
REFRESH = "3s"
# Layout only; colours come from the theme. The button of a result covers all of it.
LAYOUT = """<style>
.st-key-hits {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: 1.25rem 1rem;
}
.st-key-hits > * { width: 100% !important; min-width: 0; }
[class*="st-key-hit-"] { position: relative; gap: 0.25rem; }
[class*="st-key-hit-"] img { aspect-ratio: 16 / 9; object-fit: contain; background: rgba(128, 128, 128, 0.14); }
[class*="st-key-hit-"] [data-testid="stElementToolbar"] { display: none; }
[class*="st-key-hit-"] [data-testid="stCaptionContainer"] p { overflow-wrap: anywhere; }
[class*="st-key-play-"] { position: static !important; }
[class*="st-key-play-"] button { text-align: left; justify-content: flex-start; padding: 0; min-height: 0; }
[class*="st-key-play-"] button::after { content: ""; position: absolute; inset: 0; z-index: 1; border-radius: 8px; }
[class*="st-key-play-"] button:focus-visible::after { outline: 2px solid currentColor; }
[class*="st-key-hit-"]:hover button p { text-decoration: underline; }
</style>"""


def find(query: SearchQuery) -> SearchResult:
    """The best matching frames; searches further if they merge into fewer moments than the page shows."""
    limit = query.moments * FRAMES_PER_MOMENT
    found = _search(query, limit)
    if len(found.hits) == limit and len(moments(found.hits)) < query.moments:
        found = _search(query, limit * WIDER_SEARCH_FACTOR)
    return found


def draw_results(query: SearchQuery, found: SearchResult, titles: dict[int, str]) -> None:
    """Draw the moments; a click plays one."""
    merged = moments(found.hits)
    has_more = len(merged) > query.moments or len(found.hits) >= query.moments * FRAMES_PER_MOMENT * WIDER_SEARCH_FACTOR
    drawn = merged[: query.moments]
    if not found.every_word:
        st.info("No frame matches all of these words. Showing frames that match some of them.")
    st.caption(f"The {len(drawn):,} best moments" if has_more else format_count(len(drawn), "moment"))
    st.html(LAYOUT)
    with st.container(key="hits"):
        for moment in drawn:
            _draw_moment(query, moment, titles.get(moment.best.video_id, ""))
    if has_more and query.moments < MOST_MOMENTS:
        st.button("Show more", on_click=show_more, args=[query])


def show_more(query: SearchQuery) -> None:
    """Show more moments of the same search. For callbacks."""
    go_to_search(replace(query, moments=query.moments + PAGE_MOMENTS))


def open_player(frame_id: int) -> None:
    """Play the moment of a frame in a dialog, if the frame still exists. Closing it returns to the results."""
    with reading() as connection:
        frame = queries.frame(connection, frame_id)
        video = queries.video(connection, frame.video_id) if frame is not None else None
    if frame is not None and video is not None:
        heading = f"{markdown_text(video.title, TITLE_CHARACTERS)} at {time_text(frame.timestamp)}"
        st.dialog(heading, width="large", on_dismiss=lambda: play(None))(_draw_dialog)(video, frame)


def highlighted(snippet: str) -> str:
    """A snippet as Markdown: matching words in bold, all other text escaped."""
    parts = snippet.replace(MARK_END, MARK_START).split(MARK_START)
    return "".join(
        f"**{_escape(part)}**" if number % 2 and part.strip() else _escape(part) for number, part in enumerate(parts)
    )


def range_text(moment: Moment) -> str:
    """The time range of a moment, such as "12:30 to 12:41, 9 frames"; empty for a single frame."""
    if len(moment.hits) == 1:
        return ""
    start, end = time_text(moment.start), time_text(moment.end)
    return f"{start if start == end else f'{start} to {end}'}, {len(moment.hits):,} frames"


def is_describing() -> bool:
    """Whether a healthy worker is running, so that new results may appear."""
    with reading() as connection:
        run = runs.last_run(connection)
    return run is not None and run.state is RunState.RUNNING and judge(run, datetime.now(UTC))[0] is WorkerHealth.WELL


def draw_updates(query: SearchQuery, found: SearchResult) -> None:
    """Draw how many frames are described so far, and how many new matches there are since the search."""
    known = frozenset(hit.frame_id for hit in found.hits)
    with st.container(horizontal=True, vertical_alignment="center", key="search-updates"):
        live(run_every=REFRESH)(_draw_live_counts)(query, known)
        st.button("Refresh results", help="Include frames described since this search", type="tertiary")


def _draw_live_counts(query: SearchQuery, known: frozenset[int]) -> None:
    new = sum(hit.frame_id not in known for hit in find(query).hits)
    if not is_describing() or (new and not known):
        st.rerun()
    with reading() as connection:
        counts = total_counts(connection)
    described = f"{counts.described:,} of {counts.kept:,} frames described so far"
    st.caption(f"{described}; {format_count(new, 'new result')}." if new else f"{described}.")


def _search(query: SearchQuery, limit: int) -> SearchResult:
    with reading() as connection:
        return search(
            connection,
            query.words,
            limit=limit,
            video_ids=None if query.video is None else [query.video],
            tag=query.tag or None,
            start=query.start,
            end=query.end,
        )


def _draw_moment(query: SearchQuery, moment: Moment, title: str) -> None:
    best = moment.best
    suffix = "" if query.video is not None else f" · {markdown_text(title, TITLE_CHARACTERS)}"
    with st.container(key=f"hit-{best.frame_id}"):
        frame_image(best.frame_id, best.marked("", ""))
        st.button(
            f"{time_text(best.timestamp)}{suffix}",
            key=f"play-{best.frame_id}",
            type="tertiary",
            on_click=play,
            args=[best.frame_id],
        )
        time_range = range_text(moment)
        st.caption(f"{f'*{time_range}* · ' if time_range else ''}{highlighted(best.snippet)}")


def _draw_dialog(video: VideoRow, frame: FrameRow) -> None:
    view = View(video=video.id)
    draw_player(video, view, frame.timestamp)
    st.text(printable(frame.description or ""))
    st.page_link(PAGE, label="Open frame", query_params=view.kept_frame(frame.id).to_query())


def _escape(part: str) -> str:
    """A part of a snippet as escaped Markdown; a space at either end is kept, since it separates words."""
    before = " " if part[:1].isspace() else ""
    after = " " if part[-1:].isspace() and part.strip() else ""
    return f"{before}{markdown_text(part)}{after}"


QUOTED_CHARACTERS = 60
TIPS = """
- Describe what can be *seen*: `dance`, `white dress garden`, `children cake`. Results contain all words, in any order.
- Put an exact phrase in quotes: `"cutting the cake"`.
- End a word with a star to match its beginning: `danc*` finds dancing, dancers, danced.
- Frames with your own corrections come first.
"""
NO_RESULT_TIPS = """
- Descriptions contain what can be *seen*: try `woman in a white dress` instead of a name.
- Use fewer words, or another word for the same thing: `couch` instead of `sofa`.
- End a word with a star to match its beginning: `danc*` finds dancing, dancers, danced.
"""


def draw_tips(*, has_videos: bool, has_descriptions: bool, is_describing: bool) -> None:
    """Explain how to search, or why there is nothing to search yet."""
    if has_descriptions:
        st.markdown(TIPS)
    else:
        _draw_nothing_described(has_videos=has_videos, is_describing=is_describing)


def draw_no_results(query: SearchQuery, *, has_videos: bool, has_descriptions: bool, is_describing: bool) -> None:
    """Explain why nothing was found, and what to try next."""
    if not has_descriptions:
        _draw_nothing_described(has_videos=has_videos, is_describing=is_describing)
        return
    words = f"“{markdown_text(query.words, QUOTED_CHARACTERS)}”" if query.words else ""
    tag = f"the tag “{markdown_text(query.tag, QUOTED_CHARACTERS)}”" if query.tag else ""
    filters = " with these filters" if query.is_filtered and not (tag and not words) else ""
    st.info(f"No results for {words or tag}{filters}.")
    if query.is_filtered:
        st.button("Clear filters", on_click=clear_filters, args=[query])
    if is_describing:
        st.caption("Frames are still being described. New results appear automatically.")
    st.markdown(NO_RESULT_TIPS)


def _draw_nothing_described(*, has_videos: bool, is_describing: bool) -> None:
    if is_describing:
        st.info("No frames are described yet. Results appear as soon as the first ones are.")
    elif has_videos:
        st.info("No frames are described yet. Press Start on the Overview page.")
        st.page_link("pages/overview.py", label="Go to Overview")
    else:
        st.info("The library is empty. Add videos on the Library page.")
        st.page_link("pages/library.py", label="Go to Library")
