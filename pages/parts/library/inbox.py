"""Uploaded films on disk, below the data folder: where they wait until they are added, under names of our own.

The truth is what lies there. A name that came with an upload is only ever a title, kept in a file beside the film;
nothing is deleted that the library knows as a video, and nothing without being asked for.
"""

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from enrich.filenames import MEDIA_SUFFIXES
from enrich.settings import Settings
from enrich.wording import printable

FOLDER = "uploads"
PART, TITLE = ".part", ".title"
OTHER_SUFFIX = ".film"  # of a film whose name says nothing of its kind
NAME_BYTES = 12
DEAD_SECONDS = 600  # an upload that goes on is written to more often
LONGEST_TITLE = 200  # characters
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """A film that was uploaded and is not in the library yet."""

    path: str
    title: str
    size_bytes: int


def room(settings: Settings) -> int:
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
