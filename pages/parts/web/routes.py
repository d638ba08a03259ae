"""The routes beside Streamlit's own: pictures and films, looked up by id, with Range; all else is not found.

They run in threads of the server, outside of any page.

Small JPEGs of stored pictures, made when they are first asked for, or a moment before.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import streamlit as st
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from enrich.library.media import image_file, strip_file, video_file
from pages.parts.session import engine, settings
from pages.parts.view import THUMB_EDGE
from pages.parts.web.uploads import upload_routes

KEPT = 2000  # some 12 kB each
QUALITY = 80
HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
IMAGE_HEADERS = {**HEADERS, "Cache-Control": "private, max-age=86400"}
# What a browser is told a film is: by its container's ending, since it looks no further.
VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}


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


class ThumbnailPrefetcher:
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
            path = image_file(engine(), settings(), frame_id)
            with suppress(OSError):  # broken: whoever asks for it is told
                if path is not None:
                    thumbnail_of(path)


@st.cache_resource
def thumbnails() -> ThumbnailPrefetcher:
    """Those of this dashboard."""
    return ThumbnailPrefetcher()


def routes() -> list[BaseRoute]:
    """Our routes; each answers GET and HEAD, but the upload's, which takes POST."""
    return [
        Route("/picture/{frame_id:int}", image_route),
        Route("/film/{video_id:int}", video_route),
        Route("/source/{video_id:int}/{index:int}", source_frame_route),
        *upload_routes(),
    ]


def image_route(request: Request) -> Response:
    """The JPEG of a kept frame; `?edge=320` makes it small."""
    path = image_file(engine(), settings(), request.path_params["frame_id"])
    if path is None:
        return _not_found()
    if request.query_params.get("edge") != str(THUMB_EDGE):
        return FileResponse(path, media_type="image/jpeg", headers=IMAGE_HEADERS)
    try:
        small = thumbnail_of(path)
    except OSError:  # broken: the worker makes it again
        return _not_found()
    return Response(small, media_type="image/jpeg", headers=IMAGE_HEADERS)


def video_route(request: Request) -> Response:
    """A registered film, whole or in ranges."""
    path = video_file(engine(), request.path_params["video_id"])
    if path is None:
        return _not_found()
    kind = VIDEO_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={**HEADERS, "Cache-Control": "private, no-cache"})


def source_frame_route(request: Request) -> Response:
    """The JPEG of a source frame that `everyframe strip` has decoded."""
    path = strip_file(settings(), request.path_params["video_id"], request.path_params["index"])
    return _not_found() if path is None else FileResponse(path, media_type="image/jpeg", headers=IMAGE_HEADERS)


def _not_found() -> Response:
    return PlainTextResponse("There is nothing here.", status_code=404, headers=HEADERS)
