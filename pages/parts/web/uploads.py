"""Uploads: the route `POST /upload`, and the inbox below the data folder where uploaded videos wait to be added.

The request body is the file itself, streamed to disk in small buffers; one upload runs at a time. A request is accepted
only if it comes from this dashboard's origin (Origin, Sec-Fetch-Site) and carries the token of one of its pages in a
header that no form and no other site can send. An upload never takes more than the free disk space minus the reserve.
One that is interrupted, too large, or not a video leaves no file behind.

The inbox has no database: its files are its state. Stored names are random, and the name a file came with is used
only as a title, kept in a `.title` file beside the video. A video in the library is never deleted here. Other files are
deleted on request, after a failed upload, or as parts left behind by a dashboard process that has ended.
"""

import contextlib
import logging
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from db.errors import StorageError
from enrich.errors import EveryFrameError
from enrich.filenames import MEDIA_SUFFIXES
from enrich.jobs.command import CommandResult, run_command
from enrich.library.media import video_at_path
from enrich.settings import Settings
from enrich.wording import format_bytes, one_line, printable
from pages.parts.session import engine, settings

log = logging.getLogger(__name__)

FOLDER = "uploads"
PART, TITLE = ".part", ".title"
OTHER_SUFFIX = ".film"  # for a file whose name has no known video extension
NAME_BYTES = 12  # random bytes in a stored name
LONGEST_TITLE = 200  # characters
STALE_PART_SECONDS = 600  # a part not written to for this long belongs to no running upload
MEGABYTE = 1_000_000

PATH = "/upload"
TOKEN_HEADER = "X-EveryFrame-Token"  # noqa: S105  # its name, not its value
NAME_HEADER = "X-EveryFrame-Name"  # percent-encoded
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
MOST_TOKENS = 1000
STALL_SECONDS = 60  # longest wait for the next bytes
PROBE_SECONDS = 120.0
CRASH = re.compile(r"the command ended with|[A-Z]\w*:")  # how the error of a command begins that an exception ended
BUFFER_BYTES = 4_000_000  # size of one write to disk; free space is checked before each


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded video that has not been added to the library yet."""

    path: str
    title: str
    size_bytes: int


class UploadError(Exception):
    """An upload is rejected with an HTTP status; the message is shown to the user."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UploadTokens:
    """Tokens of the sessions that may upload; the oldest are dropped. Thread-safe."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """A new valid token."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = None
            while len(self._tokens) > MOST_TOKENS:
                self._tokens.popitem(last=False)
        return token

    def is_valid(self, token: str) -> bool:
        """Whether the token was issued here and has not been dropped."""
        with self._lock:
            return any(secrets.compare_digest(token.encode(), issued.encode()) for issued in self._tokens)


TOKENS = UploadTokens()

_upload_lock = threading.Lock()  # one upload at a time


def free_bytes(settings: Settings) -> int:
    """Bytes an upload may take: the free space on the data folder's disk minus the reserve; never below 0."""
    existing = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    return max(0, shutil.disk_usage(existing).free - settings.disk_reserve_mb * MEGABYTE)


def waiting(settings: Settings, registered: Collection[str]) -> list[Upload]:
    """The complete uploads that are not in the library, oldest first. `registered`: the paths of all its videos."""
    found = []
    try:
        files = [path for path in (settings.home / FOLDER).iterdir() if not path.name.endswith(TITLE)]
    except OSError:
        return []
    for path in files:
        if str(path) in registered or path.stem.endswith(PART) or path.is_symlink() or not path.is_file():
            continue
        status = path.stat()
        found.append((status.st_mtime, Upload(str(path), _stored_title(path), status.st_size)))
    return [upload for _, upload in sorted(found, key=lambda pair: (pair[0], pair[1].path))]


def is_upload(settings: Settings, path: str) -> bool:
    """Whether a path is in the upload folder."""
    return Path(path).parent == settings.home / FOLDER


def discard(settings: Settings, path: str, registered: Collection[str]) -> None:
    """Delete an upload that is not in the library. Any other path is ignored."""
    if is_upload(settings, path) and path not in registered:
        for file in (Path(path), Path(path).with_suffix(TITLE), _part_path(Path(path))):
            file.unlink(missing_ok=True)


def upload_routes() -> list[BaseRoute]:
    """The upload route."""
    return [Route(PATH, upload_route, methods=["POST"])]


async def upload_route(request: Request) -> Response:
    """Receive one video. Answers 201 with its title, or an error status with the reason."""
    try:
        _require_same_origin(request)
        current = settings()
        length = _content_length(request, free_bytes(current))
        with _exclusive_upload():
            return await _receive(request, current, length)
    except UploadError as error:
        return _json(error.status, {"error": str(error)})
    except ClientDisconnect:
        return _json(400, {"error": "The upload was interrupted."})  # the client is gone and cannot read it
    except (EveryFrameError, StorageError) as error:  # the settings or the library cannot be used
        return _json(503, {"error": f"The video was not kept: {error}"})
    except OSError as error:
        log.warning("upload failed: cannot write to disk: %s", error)
        return _json(507, {"error": f"The video cannot be written to this disk: {error.strerror or error}."})


@contextmanager
def _exclusive_upload() -> Iterator[None]:
    """Hold the upload lock. Raises UploadError if another upload holds it."""
    if not _upload_lock.acquire(blocking=False):
        raise UploadError(409, "Another upload is in progress. Wait for it to finish, then try again.")
    try:
        yield
    finally:
        _upload_lock.release()


def _require_same_origin(request: Request) -> None:
    """Raise UploadError unless the request comes from a page of this dashboard, with its token."""
    origin, site = request.headers.get("origin", ""), request.headers.get("sec-fetch-site", "same-origin")
    is_ours = urlsplit(origin).netloc == request.headers.get("host") and urlsplit(origin).scheme in ("http", "https")
    if not is_ours or site != "same-origin":
        raise UploadError(403, "Videos can only be uploaded from the dashboard's own pages.")
    if not TOKENS.is_valid(request.headers.get(TOKEN_HEADER, "")):
        raise UploadError(403, "This page is out of date because the dashboard was restarted. Reload the page.")


def _content_length(request: Request, room: int) -> int:
    """The size the request announces, in bytes. Raises UploadError if it is missing, zero, or more than `room`."""
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        raise UploadError(411, "The browser did not send the size of the file. Try another browser.")
    if int(announced) == 0:
        raise UploadError(422, "The file is empty.")
    if int(announced) > room:
        raise UploadError(413, _too_large(room))
    return int(announced)


async def _receive(request: Request, current: Settings, length: int) -> Response:
    """Store one video in the inbox; on any error or cancellation, delete what was written."""
    name = unquote(request.headers.get(NAME_HEADER, ""), errors="replace")
    title = _title_from(name)
    path = await run_sync(_new_path, current, name)
    await run_sync(_delete_stale_parts, current)
    is_stored = False
    try:
        part = _part_path(path)
        await _write(request, part, current, length)
        await run_sync(_require_new_video, current, part)
        await run_sync(_store, path, title)
        is_stored = True
    finally:
        if not is_stored:
            with anyio.CancelScope(shield=True):
                await run_sync(discard, current, str(path), ())
    return _json(201, {"title": title})


async def _write(request: Request, part: Path, current: Settings, length: int) -> None:
    """Stream the body to disk. Raises UploadError if it is too large, too short, or stalls."""
    written, buffer, chunks = 0, bytearray(), aiter(request.stream())
    async with await anyio.open_file(part, "xb") as file:
        while chunk := await _next_chunk(chunks):
            buffer += chunk
            if written + len(buffer) > length:
                raise UploadError(400, "The file is larger than the browser announced. Try again.")
            if len(buffer) >= BUFFER_BYTES:
                room = await run_sync(free_bytes, current)
                if room < len(buffer):
                    raise UploadError(413, _too_large(written + room))
                await file.write(buffer)
                written += len(buffer)
                buffer = bytearray()
        await file.write(buffer)
        written += len(buffer)
    if written != length:
        raise UploadError(400, "The upload was interrupted. Try again.")


async def _next_chunk(chunks: AsyncIterator[bytes]) -> bytes:
    """The next non-empty chunk of the body; empty at its end. Raises UploadError if none comes in time."""
    try:
        with anyio.fail_after(STALL_SECONDS):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise UploadError(408, f"The upload stalled: no data for {STALL_SECONDS:g} s. Try again.") from error
    return b""


def _require_new_video(current: Settings, path: Path) -> None:
    """Probe the file with the command line. Raises UploadError unless it is a video that is not in the library yet.

    A file over which the command crashes, hangs or runs out of memory would do the same to the worker.
    """
    outcome = run_command(current, "estimate", str(path), seconds=PROBE_SECONDS)
    facts = outcome.data if isinstance(outcome.data, dict) else None
    if facts is None and not _is_library_error(outcome):
        log.warning("upload refused: probing ended with code %s: %s", outcome.code, one_line(outcome.error, 300))
        reason = one_line(outcome.error.replace(str(path), "it"), 300)
        raise UploadError(422, f"Reading this file failed, so it was not kept. It may be damaged: {reason}")
    if outcome.code and facts is not None and not facts.get("videos"):
        reason = one_line(outcome.error.replace(str(path), "it"), 300)
        raise UploadError(422, f"This file cannot be used and was not kept: {reason}")
    existing = video_at_path(engine(), path)
    if existing is not None:
        raise UploadError(409, f"This video is already in the library, as {existing}. The copy was not kept.")


def _is_library_error(outcome: CommandResult) -> bool:
    """Whether the command ended before it probed, as the library cannot be used now. It says nothing about the file."""
    return outcome.code == 1 and bool(outcome.error) and not CRASH.match(outcome.error)


def _new_path(settings: Settings, given_name: str) -> Path:
    """A path for a new upload: a random name, with the video extension of the given name if it has one."""
    folder = settings.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    suffix = re.search(r"\.[a-z0-9]{1,6}$", given_name.lower())
    ending = suffix[0] if suffix and suffix[0] in MEDIA_SUFFIXES else OTHER_SUFFIX
    return folder / f"{secrets.token_hex(NAME_BYTES)}{ending}"


def _part_path(path: Path) -> Path:
    """Where an upload is written until it is complete."""
    return path.with_name(f"{path.stem}{PART}{path.suffix}")


def _store(path: Path, title: str) -> None:
    """Move a complete upload from its part path to its final one."""
    path.with_suffix(TITLE).write_text(title, encoding="utf-8")
    _part_path(path).replace(path)


def _title_from(given_name: str) -> str:
    """The title for a given file name: without folders and extension, in one line."""
    name = printable(" ".join(re.split(r"[/\\]", given_name)[-1].split()))
    return re.sub(r"\.[A-Za-z0-9]{1,6}$", "", name)[:LONGEST_TITLE].strip() or "Uploaded video"


def _stored_title(path: Path) -> str:
    try:
        return path.with_suffix(TITLE).read_text(encoding="utf-8") or path.name
    except (OSError, UnicodeDecodeError):
        return path.name


def _delete_stale_parts(settings: Settings) -> None:
    """Delete parts of uploads whose dashboard process has ended: nothing has been written to them for a while."""
    for path in (settings.home / FOLDER).glob(f"*{PART}.*"):
        with contextlib.suppress(FileNotFoundError):  # just completed or cancelled
            if time.time() - path.stat().st_mtime > STALE_PART_SECONDS:
                path.unlink()


def _too_large(room: int) -> str:
    return f"Not enough disk space: {format_bytes(room)} are available for uploads. Free some space and try again."


def _json(status: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status_code=status, headers=HEADERS)
