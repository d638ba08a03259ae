"""Small JPEGs of stored pictures, made when they are first asked for, or a moment before."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import streamlit as st
from PIL import Image

from enrich.library.media import picture_file
from pages.parts.addresses import THUMB_EDGE
from pages.parts.session import engine, settings

KEPT = 2000  # some 12 kB each
QUALITY = 80


def thumbnail_of(path: Path) -> bytes:
    """The small JPEG of a picture. Raises OSError if it is missing or broken."""
    return _thumbnail(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=KEPT)
def _thumbnail(path: Path, changed: int) -> bytes:
    """`changed`, when the file was, tells a new picture from an old one."""
    del changed
    with Image.open(path) as image:
        if max(image.size) <= THUMB_EDGE:
            return path.read_bytes()
        image.draft("RGB", (THUMB_EDGE, THUMB_EDGE))  # decoded at a fraction of its size
        image.thumbnail((THUMB_EDGE, THUMB_EDGE))
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


class Ahead:
    """Makes those that will probably be asked for next, in a thread of its own; only the newest wish counts."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thumbnails")
        self._wish = 0

    def make(self, frame_ids: Sequence[int]) -> None:
        """Begin with those of these kept frames."""
        self._wish += 1
        self._thread.submit(self._make, self._wish, list(frame_ids))

    def _make(self, wish: int, frame_ids: list[int]) -> None:
        for frame_id in frame_ids:
            if wish != self._wish:
                return
            path = picture_file(engine(), settings(), frame_id)
            with suppress(OSError):  # broken: whoever asks for it is told
                if path is not None:
                    thumbnail_of(path)


@st.cache_resource
def thumbnails() -> Ahead:
    """Those of this dashboard."""
    return Ahead()
