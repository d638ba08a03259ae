"""HTTP routes beside Streamlit's own: images and videos by id, with Range requests, and uploads.

Handlers run in the server's thread pool, outside any page. They serve only files that the library knows, so an unknown
id or a file outside its folders is answered with 404.

Thumbnails are made on demand and cached in memory. While a gallery page is open, a background thread prefetches those
of the next page. A prefetch reads only the library that was open when it was requested; a newer request replaces it.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from PIL import Image
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from enrich.library.media import image_file, strip_file, video_file
from enrich.settings import Settings
from pages.parts.session import engine, settings
from pages.parts.view import THUMB_EDGE
from pages.parts.web.uploads import upload_routes

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
IMAGE_HEADERS = {**HEADERS, "Cache-Control": "private, max-age=86400"}
VIDEO_HEADERS = {**HEADERS, "Cache-Control": "private, no-cache"}
# Content types by file extension. Browsers go by this header and do not inspect the file.
VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}
CACHED_THUMBNAILS = 2000  # about 12 kB each
THUMBNAIL_QUALITY = 80  # of the JPEG, 1 to 95


def routes() -> list[BaseRoute]:
    """All routes of ours. They answer GET and HEAD, except the upload route, which takes POST."""
    return [
        Route("/picture/{frame_id:int}", image_route),
        Route("/film/{video_id:int}", video_route),
        Route("/source/{video_id:int}/{index:int}", source_frame_route),
        *upload_routes(),
    ]


def image_route(request: Request) -> Response:
    """The JPEG of a kept frame; `?edge=320` returns its thumbnail."""
    path = image_file(engine(), settings(), request.path_params["frame_id"])
    if path is None:
        return _not_found()
    if request.query_params.get("edge") != str(THUMB_EDGE):
        return FileResponse(path, media_type="image/jpeg", headers=IMAGE_HEADERS)
    try:
        thumbnail = thumbnail_of(path)
    except OSError:  # missing or broken: the worker re-creates it
        return _not_found()
    return Response(thumbnail, media_type="image/jpeg", headers=IMAGE_HEADERS)


def video_route(request: Request) -> Response:
    """The file of a video in the library, whole or in ranges."""
    path = video_file(engine(), request.path_params["video_id"])
    if path is None:
        return _not_found()
    media_type = VIDEO_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=media_type, headers=VIDEO_HEADERS)


def source_frame_route(request: Request) -> Response:
    """The JPEG of a source frame that `everyframe strip` has decoded."""
    path = strip_file(settings(), request.path_params["video_id"], request.path_params["index"])
    return _not_found() if path is None else FileResponse(path, media_type="image/jpeg", headers=IMAGE_HEADERS)


def thumbnail_of(path: Path) -> bytes:
    """The thumbnail of an image, as JPEG. Raises OSError if the image is missing or broken."""
    return _thumbnail(path, path.stat().st_mtime_ns)


class ThumbnailPrefetcher:
    """Makes thumbnails ahead of their requests, in one background thread. Only the newest request is served."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="everyframe-thumbnails")
        self._newest = 0

    def request(self, frame_ids: Sequence[int]) -> None:
        """Start with the thumbnails of these kept frames of the open library, and drop any earlier request."""
        self._newest += 1
        # The thread gets the engine and the settings of the caller: by the time it runs, both may have changed.
        self._executor.submit(self._make, self._newest, engine(), settings(), list(frame_ids))

    def close(self) -> None:
        """Drop all requests and wait for the thumbnail in progress. No thread is left afterwards."""
        self._newest += 1
        self._executor.shutdown(cancel_futures=True)

    def _make(self, number: int, engine: "Engine", settings: Settings, frame_ids: list[int]) -> None:
        for frame_id in frame_ids:
            if number != self._newest:
                return
            path = image_file(engine, settings, frame_id)
            with suppress(OSError):  # missing or broken: the route answers 404
                if path is not None:
                    thumbnail_of(path)


@st.cache_resource(on_release=ThumbnailPrefetcher.close)
def thumbnail_prefetcher() -> ThumbnailPrefetcher:
    """The dashboard's only prefetcher."""
    return ThumbnailPrefetcher()


@lru_cache(maxsize=CACHED_THUMBNAILS)
def _thumbnail(path: Path, modified_ns: int) -> bytes:
    """`modified_ns` is part of the cache key: a replaced image gets a new thumbnail."""
    del modified_ns
    with Image.open(path) as image:
        if max(image.size) <= THUMB_EDGE:
            return path.read_bytes()
        image.draft("RGB", (THUMB_EDGE, THUMB_EDGE))  # lets the decoder scale down, which is much faster
        image.thumbnail((THUMB_EDGE, THUMB_EDGE))
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=THUMBNAIL_QUALITY)
    return data.getvalue()


def _not_found() -> Response:
    return PlainTextResponse("Not found.", status_code=404, headers=HEADERS)
