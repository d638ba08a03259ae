"""What a search has found: moments as thumbnails with their words marked, each a click away from being played.

Snippets are a model's or a person's words, so that only the marks in them are Markdown.

A moment that was found, played over the hits; closing it leads back to them.

What has been described since a search was made, while the worker still describes.

It only reads, and nothing that is shown moves: new hits are counted, and shown when somebody looks again. Only where
nothing was found yet are they shown by themselves.
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
from enrich.wording import counted
from pages.parts.gallery import frame_image
from pages.parts.plain import plain, shown
from pages.parts.player import player
from pages.parts.search.query import MOST_MOMENTS, PAGE_MOMENTS, SearchQuery, play, search_for, time_text
from pages.parts.session import reading
from pages.parts.view import PAGE, View

TITLE_CHARACTERS = 60
FRAMES_A_MOMENT = 3  # that are looked for, for each moment that is shown
FARTHER = 6  # times as many, where frames next to each other are all that is found
# Where things lie, and nothing about colours: the button of a hit covers all of it.
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
EVERY = "3s"


def show_moment(frame_id: int) -> None:
    """Play the moment of a frame; one that is gone is not played."""
    with reading() as connection:
        frame = queries.frame(connection, frame_id)
        video = queries.video(connection, frame.video_id) if frame is not None else None
    if frame is not None and video is not None:
        heading = f"{plain(video.title, TITLE_CHARACTERS)} at {time_text(frame.timestamp)}"
        st.dialog(heading, width="large", on_dismiss=lambda: play(None))(_draw)(video, frame)


def _draw(video: VideoRow, frame: FrameRow) -> None:
    view = View(video=video.id)
    player(video, view, frame.timestamp)
    st.text(shown(frame.description or ""))
    st.page_link(PAGE, label="Open this frame", query_params=view.kept(frame.id).query())


def find(wanted: SearchQuery) -> SearchResult:
    """What is found, best first; more is looked for where it joins into fewer moments than are to be shown."""
    limit = wanted.moments * FRAMES_A_MOMENT
    found = _search(wanted, limit)
    if len(found.hits) == limit and len(moments(found.hits)) < wanted.moments:
        found = _search(wanted, limit * FARTHER)
    return found


def marked(snippet: str) -> str:
    """A snippet as Markdown: its found words in bold, all else as it was written."""
    parts = snippet.replace(MARK_END, MARK_START).split(MARK_START)
    return "".join(
        f"**{_text(part)}**" if place % 2 and part.strip() else _text(part) for place, part in enumerate(parts)
    )


def span(moment: Moment) -> str:
    """How long a moment of several frames is: 12:30 to 12:41, 9 frames; empty for a single frame."""
    if len(moment.hits) == 1:
        return ""
    start, end = time_text(moment.start), time_text(moment.end)
    return f"{start if start == end else f'{start} to {end}'}, {len(moment.hits):,} frames"


def show(wanted: SearchQuery, found: SearchResult, titles: dict[int, str]) -> None:
    """Draw the moments; a click plays one."""
    every = moments(found.hits)
    more = len(every) > wanted.moments or len(found.hits) >= wanted.moments * FRAMES_A_MOMENT * FARTHER
    shown = every[: wanted.moments]
    if not found.every_word:
        st.info("No frame has all of these words. These have some of them.")
    st.caption(f"The {len(shown):,} best moments" if more else counted(len(shown), "moment"))
    st.html(LAYOUT)
    with st.container(key="hits"):
        for moment in shown:
            _hit(wanted, moment, titles.get(moment.best.video_id, ""))
    if more and wanted.moments < MOST_MOMENTS:
        st.button("More moments", on_click=more_of, args=[wanted])


def more_of(wanted: SearchQuery) -> None:
    """Show more moments of the same search. For callbacks."""
    search_for(replace(wanted, moments=wanted.moments + PAGE_MOMENTS))


def _search(wanted: SearchQuery, limit: int) -> SearchResult:
    with reading() as connection:
        return search(
            connection,
            wanted.words,
            limit=limit,
            video_ids=None if wanted.video is None else [wanted.video],
            tag=wanted.tag or None,
            start=wanted.start,
            end=wanted.end,
        )


def _hit(wanted: SearchQuery, moment: Moment, title: str) -> None:
    best = moment.best
    name = "" if wanted.video is not None else f" · {plain(title, TITLE_CHARACTERS)}"
    with st.container(key=f"hit-{best.frame_id}"):
        frame_image(best.frame_id, best.marked("", ""))
        st.button(
            f"{time_text(best.timestamp)}{name}",
            key=f"play-{best.frame_id}",
            type="tertiary",
            on_click=play,
            args=[best.frame_id],
        )
        joined = span(moment)
        st.caption(f"{f'*{joined}* · ' if joined else ''}{marked(best.snippet)}")


def _text(part: str) -> str:
    """A part of a snippet, with the spaces at its ends, which belong between the words."""
    before = " " if part[:1].isspace() else ""
    after = " " if part[-1:].isspace() and part.strip() else ""
    return f"{before}{plain(part)}{after}"


def show_news(wanted: SearchQuery, found: SearchResult) -> None:
    """How much is described by now, and how many more frames fit than are shown."""
    known = frozenset(hit.frame_id for hit in found.hits)
    with st.container(horizontal=True, vertical_alignment="center", key="search-news"):
        st.fragment(_news, run_every=EVERY)(wanted, known)
        st.button("Look again", help="Show what has been described since", type="tertiary")


def is_working() -> bool:
    """Whether a worker is describing, so that more may be found soon."""
    with reading() as connection:
        run = runs.last_run(connection)
    return run is not None and run.state is RunState.RUNNING and judge(run, datetime.now(UTC))[0] is WorkerHealth.WELL


def _news(wanted: SearchQuery, known: frozenset[int]) -> None:
    new = sum(hit.frame_id not in known for hit in find(wanted).hits)
    if not is_working() or (new and not known):
        st.rerun()
    with reading() as connection:
        counts = total_counts(connection)
    described = f"{counts.described:,} of {counts.kept:,} frames are described so far"
    st.caption(f"{described}; {counted(new, 'new frame')} found since." if new else f"{described}.")
