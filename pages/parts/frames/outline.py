"""What a film is like as a whole: its timeline, its scenes, and the tags its frames have."""

from dataclasses import dataclass

import streamlit as st

from db import gallery
from db.gallery import Bucket, Scene
from db.queries import VideoRow
from pages.parts.session import reading, settings

MOST_BUCKETS = 240
LEAST_BUCKETS = 24
FRESH_SECONDS = 10
FILMS_KEPT = 32  # outlines, some 20 kB each


@dataclass(frozen=True, slots=True)
class Outline:
    """A film in figures. `tags` with the number of frames that have each, the commonest first."""

    buckets: list[Bucket]
    scenes: list[Scene]
    tags: list[tuple[str, int]]


def outline_of(film: VideoRow) -> Outline:
    """The outline, cut into stretches none so narrow that hardly any has a frame.

    It is looked up anew when a frame was kept, described or failed, and every few seconds besides.
    """
    return _outline(settings().url, film.id, film.kept, film.described, film.failed)


@st.cache_data(ttl=FRESH_SECONDS, max_entries=FILMS_KEPT, show_spinner=False)
def _outline(library: str, film_id: int, kept: int, described: int, failed: int) -> Outline:
    del library, described, failed  # they say whether it is still the same
    buckets = max(LEAST_BUCKETS, min(MOST_BUCKETS, kept))
    with reading() as connection:
        return Outline(
            buckets=gallery.timeline(connection, film_id, buckets=buckets),
            scenes=gallery.scenes(connection, film_id),
            tags=gallery.tags(connection, film_id),
        )
