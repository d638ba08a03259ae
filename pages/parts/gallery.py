"""A gallery of frames: a grid of tiles, each with a thumbnail, a time, a caption and a link to the frame.

The link covers the whole tile: a click anywhere opens the frame in this tab, a Ctrl or middle click in a new one, and
Tab and Enter work as for any link.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from db.gallery import Card
from enrich.library.media import existing_images, image_file
from enrich.wording import format_timestamp, markdown_text, printable
from pages.parts.session import engine, settings
from pages.parts.view import PAGE, View, image_url

CAPTION_CHARACTERS = 90
ALT_CHARACTERS = 200
WIDE, TALL = "gallery-wide", "gallery-tall"
# Layout only; colours come from the theme.
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
    """One frame in a gallery. `heading` and `caption` are Markdown; untrusted text in them is escaped by `plain`."""

    frame_id: int
    view: View  # opened by a click
    heading: str
    caption: str
    alt: str


def draw_gallery(tiles: Sequence[Tile], *, name: str = "frames", is_tall: bool = False) -> None:
    """Draw the tiles in as many columns as fit. `name` keeps the galleries of one page apart."""
    st.html(LAYOUT)
    existing = existing_images(engine(), settings(), [tile.frame_id for tile in tiles])
    with st.container(key=f"{TALL if is_tall else WIDE}-{name}"):
        for tile in tiles:
            with st.container(key=f"tile-{name}-{tile.frame_id}"):
                frame_image(tile.frame_id, tile.alt, has_image=tile.frame_id in existing)
                st.page_link(PAGE, label=tile.heading, query_params=tile.view.to_query())
                st.caption(tile.caption)


def frame_image(frame_id: int, alt: str, *, has_image: bool | None = None) -> None:
    """The thumbnail of a kept frame, or a note if its file is missing. `has_image` None: check the disk."""
    if has_image is None:
        has_image = image_file(engine(), settings(), frame_id) is not None
    if not has_image:
        st.caption("Image missing. The worker re-creates it from the video when it describes this frame.")
    else:
        st.image(image_url(frame_id), width="stretch", alt=alt_text(alt))


def tile_of(card: Card, view: View) -> Tile:
    """The tile of a frame. `view` supplies the video and the filters of its link."""
    text = card.text or ("" if card.error is None else f"Failed: {card.error}")
    badges = [
        badge
        for badge, applies in (
            ("corrected", card.source == "person"),
            ("approved", card.is_reviewed),
            ("flagged", card.has_warnings),
            ("failed", card.error is not None),
        )
        if applies
    ]
    suffix = f" · *{', '.join(badges)}*" if badges else ""
    return Tile(
        frame_id=card.id,
        view=view.kept_frame(card.id),
        heading=f"{markdown_text(format_timestamp(card.timestamp))}{suffix}",
        caption=markdown_text(text, CAPTION_CHARACTERS) or "Not described yet",
        alt=text or "Frame without a description yet",
    )


def alt_text(text: str) -> str:
    """The alternative text of an image: one line of at most `ALT_CHARACTERS`."""
    line = " ".join(printable(text).split())
    return line if len(line) <= ALT_CHARACTERS else f"{line[: ALT_CHARACTERS - 1].rstrip()}…"
