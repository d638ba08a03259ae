"""The last described frames, as they come: all as high, so that nothing moves."""

import streamlit as st

from db.gallery import LatestCard, latest
from enrich.wording import clock, first_line
from pages.parts.addresses import picture_url
from pages.parts.plain import plain, shown
from pages.parts.session import reading

PLACES = 6
WIDTH, HEIGHT = 168, 236  # pixels of a card
LONGEST_TEXT = 70  # characters
LONGEST_TITLE = 24


def draw_latest() -> None:
    """The last described frames, each a link to its own page."""
    with reading() as connection:
        cards = latest(connection, limit=PLACES)
    with st.container(horizontal=True, key="latest-frames", gap="small"):
        for card in cards:
            # By its frame: a picture is never seen above another frame's words, while the next one is loaded.
            with st.container(width=WIDTH, height=HEIGHT, border=False, gap="xxsmall", key=f"latest-{card.id}"):
                _draw(card)


def _draw(card: LatestCard) -> None:
    text = shown(first_line(card.text, LONGEST_TEXT))
    st.image(picture_url(card.id), width="stretch", alt=text or "A frame without a description")
    st.page_link(
        "pages/frames.py",
        label=f"{plain(card.title, LONGEST_TITLE)} · {clock(card.timestamp).split('.')[0]}",
        query_params={"video": str(card.video_id), "frame": str(card.id)},
    )
    st.text(text)
