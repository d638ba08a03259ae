"""Frames: the frame gallery of a video, and the view of a single frame. The URL selects which."""

from dataclasses import replace

import streamlit as st

from db import gallery, queries
from db.queries import FrameRow, VideoRow
from pages.parts.frames import frame as parts
from pages.parts.frames import video as header
from pages.parts.frames.editor import draw_bulk_tagging, draw_editor, draw_redescribe_panel
from pages.parts.frames.filters import draw_filters, draw_pagination, load_page
from pages.parts.frames.navigation import draw_navigation, go_to_page_at, strip_cache
from pages.parts.frames.timeline import draw_timeline
from pages.parts.gallery import draw_gallery, tile_of
from pages.parts.session import reading, settings
from pages.parts.view import View, current_view, sync_url
from pages.parts.web.routes import thumbnail_prefetcher


def draw() -> None:
    """Draw the view in the URL, or a message if there is nothing to show."""
    view = current_view()
    with reading() as connection:
        videos = queries.videos(connection)
        frame = queries.frame(connection, view.frame) if view.frame is not None else None
    if not videos:
        header.show_empty_library()
        return
    video = header.selected_video(videos, view if frame is None else replace(view, video=frame.video_id))
    header.draw_header(videos, video)
    if video is None:
        header.show_no_such_video()
        return
    view = replace(view, video=video.id)
    sync_url(view)
    if view.frame is not None and frame is None:
        header.show_no_such_frame(video)
    elif not video.kept and view.source is None:
        header.show_no_frames(video)
    elif frame is not None:
        draw_kept_frame(video, view, frame)
    elif view.source is not None:
        draw_source_frame(video, view, view.source)
    else:
        draw_gallery_page(video, view)


def draw_gallery_page(video: VideoRow, view: View) -> None:
    """Draw one page of the gallery, and prefetch the thumbnails of the next."""
    outline, page = header.outline_of(video), load_page(video, view)
    position = (page.cards[0].timestamp, page.cards[-1].timestamp) if page.cards else None
    draw_timeline(video, outline, position=position, jump=lambda seconds: go_to_page_at(video, view, seconds))
    draw_filters(view, outline.tags)
    draw_pagination(video, view, page)
    draw_gallery([tile_of(card, view) for card in page.cards], is_tall=video.height > video.width)
    thumbnail_prefetcher().request([card.id for card in page.following])


def draw_kept_frame(video: VideoRow, view: View, frame: FrameRow) -> None:
    """Draw a kept frame with its descriptions, its editor and its details."""
    outline = header.outline_of(video)
    with reading() as connection:
        calls = gallery.calls(connection, frame.id)
    draw_navigation(video, view, outline, timestamp=frame.timestamp, index=frame.index)
    image, facts = st.columns([3, 2], gap="medium")
    with image:
        parts.draw_kept_image(video, view, frame)
        parts.draw_model_texts(frame, calls)
    with facts:
        parts.draw_kept_facts(video, view, frame)
        draw_editor(frame, [tag for tag, _ in outline.tags])
    draw_bulk_tagging(video, frame, outline.scenes)
    draw_redescribe_panel(video, frame, calls)
    parts.draw_details(video, frame, calls)


def draw_source_frame(video: VideoRow, view: View, index: int) -> None:
    """Draw any source frame; its neighbours are prefetched."""
    with reading() as connection:
        kept = queries.frame_of_index(connection, video.id, index)
    if kept is not None and kept.index == index:
        draw_kept_frame(video, view, kept)
        strip_cache().prefetch(settings(), video, index)
    elif (source := parts.load_source_frame(video, view, index)) is not None:
        draw_navigation(video, view, header.outline_of(video), timestamp=source.timestamp, index=index)
        image, facts = st.columns([3, 2], gap="medium")
        with image:
            parts.draw_source_image(video, view, source)
        with facts:
            parts.draw_source_facts(view, source, kept)


draw()
