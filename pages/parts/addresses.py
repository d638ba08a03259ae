"""Where the browser finds pictures and films: absolute addresses, since Streamlit takes others for files."""

from urllib.parse import urlsplit

import streamlit as st

FALLBACK = "http://127.0.0.1:8501"
THUMB_EDGE = 320  # pixels, long edge; the picture route knows these two and the whole picture
LARGE_EDGE = 1344


def base_url() -> str:
    """The dashboard's address as this browser calls it: http://127.0.0.1:8501."""
    parts = urlsplit(st.context.url or FALLBACK)
    return f"{parts.scheme}://{parts.netloc}"


def picture_url(frame_id: int, edge: int = THUMB_EDGE) -> str:
    """The picture of a kept frame, at most `edge` pixels long."""
    return f"{base_url()}/picture/{frame_id}?edge={edge}"


def source_url(video_id: int, index: int) -> str:
    """The picture of any source frame that `everyframe strip` has decoded."""
    return f"{base_url()}/source/{video_id}/{index}"


def video_url(video_id: int) -> str:
    """The film itself, with Range requests."""
    return f"{base_url()}/film/{video_id}"
