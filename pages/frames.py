"""Frames: the gallery of a film, and each of its frames by itself. The address says which."""

from dataclasses import replace

import streamlit as st

from db import gallery, queries
from db.queries import FrameRow, VideoRow
from pages.parts.frames import frame as parts
from pages.parts.frames.asking import ask_part
from pages.parts.frames.editing import edit_part, tag_many
from pages.parts.frames.filters import filters, page_buttons, page_of
from pages.parts.frames.stepping import strips, to_page_at, walk
from pages.parts.frames.timeline import timeline
from pages.parts.frames.video import (
    empty_library,
    no_frames,
    no_such_frame,
    no_such_video,
    outline_of,
    video_for,
    video_head,
)
from pages.parts.gallery import gallery as draw_gallery
from pages.parts.gallery import tile_of
from pages.parts.session import reading, settings
from pages.parts.view import View, here, stay
from pages.parts.web.routes import thumbnails


def draw() -> None:
    """Read the address, and draw what it asks for."""
    view = here()
    with reading() as connection:
        films = queries.videos(connection)
        frame = queries.frame(connection, view.frame) if view.frame is not None else None
    if not films:
        empty_library()
        return
    film = video_for(films, view if frame is None else replace(view, video=frame.video_id))
    video_head(films, film)
    if film is None:
        no_such_video()
        return
    view = replace(view, video=film.id)
    stay(view)
    if view.frame is not None and frame is None:
        no_such_frame(film)
    elif not film.kept and view.source is None:
        no_frames(film)
    elif frame is not None:
        draw_kept(film, view, frame)
    elif view.source is not None:
        draw_source(film, view, view.source)
    else:
        draw_gallery_page(film, view)


def draw_gallery_page(film: VideoRow, view: View) -> None:
    """A page of the gallery."""
    outline, page = outline_of(film), page_of(film, view)
    stretch = (page.cards[0].timestamp, page.cards[-1].timestamp) if page.cards else None
    timeline(film, outline, at=stretch, jump=lambda seconds: to_page_at(film, view, seconds))
    filters(view, outline.tags)
    page_buttons(film, view, page)
    draw_gallery([tile_of(card, view) for card in page.cards], is_tall=film.height > film.width)
    thumbnails().make([card.id for card in page.following])


def draw_kept(film: VideoRow, view: View, frame: FrameRow) -> None:
    """A kept frame, with all that is known of it."""
    outline = outline_of(film)
    with reading() as connection:
        calls = gallery.calls(connection, frame.id)
    walk(film, view, outline, timestamp=frame.timestamp, index=frame.index)
    picture, words = st.columns([3, 2], gap="medium")
    with picture:
        parts.kept_image(film, view, frame)
        parts.model_texts(frame, calls)
    with words:
        parts.kept_facts(film, view, frame)
        edit_part(frame, [tag for tag, _ in outline.tags])
    tag_many(film, frame, outline.scenes)
    ask_part(film, frame, calls)
    parts.details(film, frame, calls)


def draw_source(film: VideoRow, view: View, index: int) -> None:
    """Any frame of the film, kept or not; its neighbours are decoded ahead."""
    with reading() as connection:
        kept = queries.frame_of_index(connection, film.id, index)
    if kept is not None and kept.index == index:
        draw_kept(film, view, kept)
        strips().ahead(settings(), film, index)
    elif (source := parts.decoded(film, view, index)) is not None:
        walk(film, view, outline_of(film), timestamp=source.timestamp, index=index)
        picture, words = st.columns([3, 2], gap="medium")
        with picture:
            parts.source_image(film, view, source)
        with words:
            parts.source_facts(view, source, kept)


draw()
