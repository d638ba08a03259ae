"""The routes beside Streamlit's own: pictures and films, looked up by id, with Range; all else is not found.

They run in threads of the server, outside of any page.
"""

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from enrich.library.media import film_file, picture_file, strip_file
from pages.parts.addresses import THUMB_EDGE
from pages.parts.session import engine, settings
from pages.parts.web.thumbnails import thumbnail_of
from pages.parts.web.uploads import upload_routes

HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
PICTURE_HEADERS = {**HEADERS, "Cache-Control": "private, max-age=86400"}
# What a browser is told a film is: by its container's ending, since it looks no further.
FILM_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}


def routes() -> list[BaseRoute]:
    """Our routes; each answers GET and HEAD, but the upload's, which takes POST."""
    return [
        Route("/picture/{frame_id:int}", picture),
        Route("/film/{video_id:int}", film),
        Route("/source/{video_id:int}/{index:int}", source),
        *upload_routes(),
    ]


def picture(request: Request) -> Response:
    """The JPEG of a kept frame; `?edge=320` makes it small."""
    path = picture_file(engine(), settings(), request.path_params["frame_id"])
    if path is None:
        return _not_found()
    if request.query_params.get("edge") != str(THUMB_EDGE):
        return FileResponse(path, media_type="image/jpeg", headers=PICTURE_HEADERS)
    try:
        small = thumbnail_of(path)
    except OSError:  # broken: the worker makes it again
        return _not_found()
    return Response(small, media_type="image/jpeg", headers=PICTURE_HEADERS)


def film(request: Request) -> Response:
    """A registered film, whole or in ranges."""
    path = film_file(engine(), request.path_params["video_id"])
    if path is None:
        return _not_found()
    kind = FILM_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={**HEADERS, "Cache-Control": "private, no-cache"})


def source(request: Request) -> Response:
    """The JPEG of a source frame that `everyframe strip` has decoded."""
    path = strip_file(settings(), request.path_params["video_id"], request.path_params["index"])
    return _not_found() if path is None else FileResponse(path, media_type="image/jpeg", headers=PICTURE_HEADERS)


def _not_found() -> Response:
    return PlainTextResponse("There is nothing here.", status_code=404, headers=HEADERS)
