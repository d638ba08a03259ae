"""A moment that was found, played over the hits; closing it leads back to them."""

import streamlit as st

from db import queries
from db.queries import FrameRow, VideoRow
from pages.parts.plain import plain, shown
from pages.parts.player import player
from pages.parts.search.query import play, time_text
from pages.parts.session import reading
from pages.parts.view import PAGE, View

TITLE_CHARACTERS = 60


def show(frame_id: int) -> None:
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
