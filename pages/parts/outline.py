"""What a film is like as a whole: its timeline, its scenes, and the tags its frames have."""

from dataclasses import dataclass

from db import gallery
from db.gallery import Bucket, Scene
from db.queries import VideoRow
from pages.parts.session import reading

MOST_BUCKETS = 240
LEAST_BUCKETS = 24


@dataclass(frozen=True, slots=True)
class Outline:
    """A film in figures. `tags` with the number of frames that have each, the commonest first."""

    buckets: list[Bucket]
    scenes: list[Scene]
    tags: list[tuple[str, int]]


def outline_of(film: VideoRow) -> Outline:
    """The outline as it is now, cut into stretches none so narrow that hardly any has a frame."""
    buckets = max(LEAST_BUCKETS, min(MOST_BUCKETS, film.kept))
    with reading() as connection:
        return Outline(
            buckets=gallery.timeline(connection, film.id, buckets=buckets),
            scenes=gallery.scenes(connection, film.id),
            tags=gallery.tags(connection, film.id),
        )
