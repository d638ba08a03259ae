"""A gallery of frames: thumbnails with their time and what is said of them, each leading to its frame by a link.

The link of a tile covers its picture too, so that a click anywhere opens the frame in this tab; Tab and Enter do the
same, and a click with Ctrl or the middle button opens another tab.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from db.gallery import Card
from enrich.library.media import existing_images, image_file
from enrich.wording import clock
from pages.parts.plain import plain, shown
from pages.parts.session import engine, settings
from pages.parts.view import PAGE, View, image_url

LINE_CHARACTERS = 90
ALT_CHARACTERS = 200
WIDE, TALL = "gallery-wide", "gallery-tall"
# Where things lie, and nothing about colours: those are the theme's.
LAYOUT = """<style>
[class*="st-key-gallery-"] {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10rem, 44%), 1fr)); gap: 1rem 0.75rem;
}
[class*="st-key-gallery-"] > * { width: 100% !important; min-width: 0; }
[class*="st-key-tile-"] { position: relative; gap: 0.1rem; }
[class*="st-key-tile-"] img { aspect-ratio: 16 / 9; object-fit: contain; background: rgba(128, 128, 128, 0.14); }
[class*="st-key-gallery-tall-"] [class*="st-key-tile-"] img { aspect-ratio: 3 / 4; }
[class*="st-key-tile-"] [data-testid="stElementToolbar"] { display: none; }
[class*="st-key-tile-"] [data-testid="stElementContainer"]:has([data-testid="stPageLink"]) { position: static; }
[class*="st-key-tile-"] [data-testid="stPageLink-NavLink"] { background: transparent; padding: 0; margin: 0; }
[class*="st-key-tile-"] [data-testid="stPageLink-NavLink"]::after {
  content: ""; position: absolute; inset: 0; z-index: 1; border-radius: 8px;
}
[class*="st-key-tile-"] [data-testid="stPageLink-NavLink"]:hover span { text-decoration: underline; }
[class*="st-key-tile-"] [data-testid="stPageLink-NavLink"]:focus-visible::after { outline: 2px solid currentColor; }
[class*="st-key-tile-"] [data-testid="stCaptionContainer"] p { overflow-wrap: anywhere; }
</style>"""


@dataclass(frozen=True, slots=True)
class Tile:
    """One frame in a gallery. `heading` and `line` are Markdown, so what others wrote has been through `plain`."""

    frame_id: int
    view: View  # where it leads
    heading: str
    line: str
    alt: str


def gallery(tiles: Sequence[Tile], *, name: str = "frames", is_tall: bool = False) -> None:
    """Draw the tiles, as many in a row as there is room for; `name` tells several galleries of a page apart."""
    st.html(LAYOUT)
    there = existing_images(engine(), settings(), [tile.frame_id for tile in tiles])
    with st.container(key=f"{TALL if is_tall else WIDE}-{name}"):
        for tile in tiles:
            with st.container(key=f"tile-{name}-{tile.frame_id}"):
                frame_image(tile.frame_id, tile.alt, is_there=tile.frame_id in there)
                st.page_link(PAGE, label=tile.heading, query_params=tile.view.query())
                st.caption(tile.line)


def frame_image(frame_id: int, alt: str, *, is_there: bool | None = None) -> None:
    """The thumbnail of a kept frame, or a word in its place if the file is missing (None: that is looked up)."""
    if is_there is None:
        is_there = image_file(engine(), settings(), frame_id) is not None
    if not is_there:
        st.caption("The picture is missing. The worker makes it again from the film when it describes this frame.")
    else:
        st.image(image_url(frame_id), width="stretch", alt=plain_alt(alt))


def tile_of(card: Card, view: View) -> Tile:
    """The tile of a frame of the film that is looked at."""
    said = card.text or ("" if card.error is None else f"Failed: {card.error}")
    notes = [
        word
        for word, is_so in (
            ("corrected", card.source == "person"),
            ("approved", card.is_reviewed),
            ("doubtful", card.has_warnings),
            ("failed", card.error is not None),
        )
        if is_so
    ]
    marks = f" · *{', '.join(notes)}*" if notes else ""
    return Tile(
        frame_id=card.id,
        view=view.kept(card.id),
        heading=f"{plain(clock(card.timestamp))}{marks}",
        line=plain(said, LINE_CHARACTERS) or "Not described yet",
        alt=said or "A frame that is not described yet",
    )


def plain_alt(text: str) -> str:
    """What a screen reader says of a picture: one line, at most some sentences."""
    line = " ".join(shown(text).split())
    return line if len(line) <= ALT_CHARACTERS else f"{line[: ALT_CHARACTERS - 1].rstrip()}…"
