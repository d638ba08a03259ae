"""Relinking: telling the library where a film lies now that was moved, and that it is still the same film."""

import os
from datetime import UTC, datetime
from pathlib import Path

from db import queries
from db.engine import reading, writing
from db.extraction import found_again
from db.queries import VideoRow
from db.store import add_video
from enrich.errors import VideoChangedError
from enrich.library.adding import new_video
from enrich.library.library import Library
from enrich.video.fingerprint import fingerprint
from enrich.video.probe import probe
from enrich.wording import printable


def relink(library: Library, video: VideoRow, path: Path) -> VideoRow:
    """Have a video's row name this file, and what waited for the file go on; the row as it is then.

    Raises VideoChangedError if it is another film, VideoError if there is none.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100  # `..` taken out, links kept as the user knows them
    if fingerprint(whole) != video.fingerprint:
        raise VideoChangedError(
            f"{printable(str(whole))} is another film than {printable(video.title)}, which stays as it is: "
            "name the file it was moved to, or `everyframe add` this one"
        )
    facts = new_video(probe(whole))
    with writing(library.engine) as connection:
        add_video(connection, facts, sampling=video.sampling, context="", now=datetime.now(UTC))
        found_again(connection, video.id)
    with reading(library.engine) as connection:
        return queries.video(connection, video.id)
