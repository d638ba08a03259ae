"""The route `POST /upload`: takes one film at a time from this dashboard's own pages, and keeps it if it is a film.

The body is the file itself, written to disk as it comes; nothing of it is held in memory but a buffer. It is refused
unless the request comes from a page of this address (Origin, Sec-Fetch-Site) and carries that page's token in a header
that no form and no other site can send. It never takes more than what is free less the reserve, and what is broken off,
too large or no film leaves nothing behind.

Uploaded films on disk, below the data folder: where they wait until they are added, under names of our own.

The truth is what lies there. A name that came with an upload is only ever a title, kept in a file beside the film;
nothing is deleted that the library knows as a video, and nothing without being asked for.
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

from enrich.filenames import MEDIA_SUFFIXES
from enrich.jobs.command import run_command
from enrich.library.media import video_at_path
from enrich.settings import Settings
from enrich.wording import first_line, printable, size
from pages.parts.session import engine, settings

log = logging.getLogger(__name__)

FOLDER = "uploads"
PART, TITLE = ".part", ".title"
OTHER_SUFFIX = ".film"  # of a film whose name says nothing of its kind
NAME_BYTES = 12
DEAD_SECONDS = 600  # an upload that goes on is written to more often
LONGEST_TITLE = 200  # characters
MEGABYTE = 1_000_000
PATH = "/upload"
TOKEN_HEADER = "X-EveryFrame-Token"  # noqa: S105  # its name, not its value
NAME_HEADER = "X-EveryFrame-Name"  # percent-encoded
MOST_TOKENS = 1000
STALL_SECONDS = 60  # without a byte
BUFFER_BYTES = 4_000_000  # written at once; the disk is looked at as often
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A film that was uploaded and is not in the library yet."""

    path: str
    title: str
    size_bytes: int


def free_bytes(settings: Settings) -> int:
    """Bytes that an upload may take: what is free on the data folder's disk, less the reserve; never below 0."""
    below = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    return max(0, shutil.disk_usage(below).free - settings.disk_reserve_mb * MEGABYTE)


def new_place(settings: Settings, given_name: str) -> Path:
    """A path for a new upload: a name of our own, and of the given one no more than a film's ending."""
    folder = settings.home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    suffix = re.search(r"\.[a-z0-9]{1,6}$", given_name.lower())
    ending = suffix[0] if suffix and suffix[0] in MEDIA_SUFFIXES else OTHER_SUFFIX
    return folder / f"{secrets.token_hex(NAME_BYTES)}{ending}"


def part_of(path: Path) -> Path:
    """Where an upload lies until it is whole."""
    return path.with_name(f"{path.stem}{PART}{path.suffix}")


def title_from(given_name: str) -> str:
    """The title a given name makes: without folders and ending, in one line."""
    name = printable(" ".join(re.split(r"[/\\]", given_name)[-1].split()))
    return re.sub(r"\.[A-Za-z0-9]{1,6}$", "", name)[:LONGEST_TITLE].strip() or "Uploaded film"


def keep(path: Path, title: str) -> None:
    """Give a whole upload its name; from now on it waits."""
    path.with_suffix(TITLE).write_text(title, encoding="utf-8")
    part_of(path).replace(path)


def waiting(settings: Settings, registered: Collection[str]) -> list[Upload]:
    """The uploads that no video of the library is, oldest first; `registered`: the paths of all videos."""
    found = []
    try:
        files = [path for path in (settings.home / FOLDER).iterdir() if not path.name.endswith(TITLE)]
    except OSError:
        return []
    for path in files:
        if str(path) in registered or path.stem.endswith(PART) or path.is_symlink() or not path.is_file():
            continue
        status = path.stat()
        found.append((status.st_mtime, Upload(str(path), _title(path), status.st_size)))
    return [upload for _, upload in sorted(found, key=lambda pair: (pair[0], pair[1].path))]


def is_upload(settings: Settings, path: str) -> bool:
    """Whether a path is that of an upload of ours."""
    return Path(path).parent == settings.home / FOLDER


def discard(settings: Settings, path: str, registered: Collection[str]) -> None:
    """Delete an upload that is no video of the library; any other path is left alone."""
    if is_upload(settings, path) and path not in registered:
        for file in (Path(path), Path(path).with_suffix(TITLE), part_of(Path(path))):
            file.unlink(missing_ok=True)


def sweep_parts(settings: Settings) -> None:
    """Delete what uploads left behind that ended with their dashboard: parts that nobody has written to for a while."""
    for path in (settings.home / FOLDER).glob(f"*{PART}.*"):
        with contextlib.suppress(FileNotFoundError):  # it has just become whole, or was cancelled
            if time.time() - path.stat().st_mtime > DEAD_SECONDS:
                path.unlink()


def _title(path: Path) -> str:
    try:
        return path.with_suffix(TITLE).read_text(encoding="utf-8") or path.name
    except (OSError, UnicodeDecodeError):
        return path.name


class RefusedError(Exception):
    """An upload is not taken; its text is what the user reads."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class UploadTokens:
    """The tokens of the sessions that may upload; the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """A new token, known from now on."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._known[token] = None
            while len(self._known) > MOST_TOKENS:
                self._known.popitem(last=False)
        return token

    def knows(self, token: str) -> bool:
        """Whether it was issued here."""
        with self._lock:
            return any(secrets.compare_digest(token.encode(), known.encode()) for known in self._known)


TOKENS = UploadTokens()

_slot = threading.Lock()  # of the one upload at a time


def upload_routes() -> list[BaseRoute]:
    """The route, for the dashboard's list."""
    return [Route(PATH, upload, methods=["POST"])]


async def upload(request: Request) -> Response:
    """Take a film: 201 with its title, or a status and the reason why not."""
    try:
        _require_own_page(request)
        given = settings()
        length = _length(request, free_bytes(given))
        with _alone():
            return await _take(request, given, length)
    except RefusedError as refusal:
        return _reply(refusal.status, {"error": str(refusal)})
    except ClientDisconnect:
        return _reply(400, {"error": "The upload was broken off."})  # nobody is there to read it
    except OSError as error:
        log.warning("an upload could not be written: %s", error)
        return _reply(507, {"error": f"The film cannot be written to this disk: {error.strerror or error}."})


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the one slot. Raises RefusedError if it is taken."""
    if not _slot.acquire(blocking=False):
        raise RefusedError(409, "Another film is being uploaded. Wait until it is there, then try again.")
    try:
        yield
    finally:
        _slot.release()


def _require_own_page(request: Request) -> None:
    """Refuse what no page of this dashboard has sent."""
    origin, site = request.headers.get("origin", ""), request.headers.get("sec-fetch-site", "same-origin")
    is_ours = urlsplit(origin).netloc == request.headers.get("host") and urlsplit(origin).scheme in ("http", "https")
    if not is_ours or site != "same-origin":
        raise RefusedError(403, "Films can only be uploaded from the dashboard's own pages.")
    if not TOKENS.knows(request.headers.get(TOKEN_HEADER, "")):
        raise RefusedError(403, "This page is from before the dashboard was started anew: load it again.")


def _length(request: Request, room: int) -> int:
    """How many bytes are announced; refused if that is nothing, or more than there is room for."""
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal():
        raise RefusedError(411, "The browser did not say how large the film is. Try another browser.")
    if int(announced) == 0:
        raise RefusedError(422, "This file is empty.")
    if int(announced) > room:
        raise RefusedError(413, _too_large(room))
    return int(announced)


async def _take(request: Request, given: Settings, length: int) -> Response:
    name = unquote(request.headers.get(NAME_HEADER, ""), errors="replace")
    title = title_from(name)
    path = await run_sync(new_place, given, name)
    await run_sync(sweep_parts, given)
    is_kept = False
    try:
        part = part_of(path)
        await _write(request, part, given, length)
        await run_sync(_require_new_film, given, part)
        await run_sync(keep, path, title)
        is_kept = True
    finally:
        if not is_kept:
            with anyio.CancelScope(shield=True):
                await run_sync(discard, given, str(path), ())
    return _reply(201, {"title": title})


async def _write(request: Request, part: Path, given: Settings, length: int) -> None:
    """Write the body to disk as it comes. Raises RefusedError when it grows too large or comes to a halt."""
    written, buffer, chunks = 0, bytearray(), aiter(request.stream())
    async with await anyio.open_file(part, "xb") as file:
        while chunk := await _next(chunks):
            buffer += chunk
            if written + len(buffer) > length:
                raise RefusedError(400, "More came than the browser had announced.")
            if len(buffer) >= BUFFER_BYTES:
                room = await run_sync(free_bytes, given)
                if room < len(buffer):
                    raise RefusedError(413, _too_large(written + room))
                await file.write(buffer)
                written += len(buffer)
                buffer = bytearray()
        await file.write(buffer)
        written += len(buffer)
    if written != length:
        raise RefusedError(400, "The upload was broken off.")


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    """The next part of the body that is not empty; empty at its end."""
    try:
        with anyio.fail_after(STALL_SECONDS):
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise RefusedError(408, "The upload came to a halt. Try again.") from error
    return b""


def _require_new_film(given: Settings, path: Path) -> None:
    """Have the command line probe the film. Raises RefusedError if it is none, or is in the library already."""
    outcome = run_command(given, "estimate", str(path))
    if outcome.code and isinstance(outcome.data, dict) and not outcome.data.get("videos"):
        reason = first_line(outcome.error.replace(str(path), "it"), 300)
        raise RefusedError(422, f"This cannot be used, and was deleted again: {reason}")
    known = video_at_path(engine(), path)
    if known is not None:
        raise RefusedError(409, f"This film is in the library already, as {known}; the copy was deleted again.")


def _too_large(room: int) -> str:
    return f"There is room for {size(room)} on the disk beside the reserve, not for this film. Free some space first."


def _reply(status: int, content: dict[str, Any]) -> Response:
    return JSONResponse(content, status_code=status, headers=HEADERS)
