"""The folders of this machine, listed: what may be opened, which films lie in it, what may not be read.

A folder of thousands stays fast: names alone are read, and sizes only of what is shown, unless they are sorted by.
"""

import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from enrich.filenames import is_media_name
from enrich.wording import counted, size

PEEK_SECONDS = 0.3  # for all folders of a page together: a slow drive only says less
PEEK_ENTRIES = 5000
NO_ACCESS = "may not be read"


class FileOrder(StrEnum):
    """How films are sorted; folders stand before them, always by name."""

    NAME = "By name"
    NEWEST = "Newest first"
    LARGEST = "Largest first"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file that is a film by its name. `size_bytes` and `changed_at` (seconds since 1970) are None where unknown."""

    name: str
    path: str
    size_bytes: int | None
    changed_at: float | None


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, and what could be said of it in the time there was: None if nothing could."""

    name: str
    path: str
    about: str | None
    may_be_read: bool


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A page of what lies in a folder: folders first. `problem` says why nothing is shown."""

    folders: list[Folder]
    films: list[VideoFile]
    number: int  # from 0
    pages: int
    total_folders: int
    total_films: int
    others: int  # files that are no films by their names
    problem: str | None = None


def look_into(
    path: str, *, words: str = "", order: FileOrder = FileOrder.NAME, number: int = 0, limit: int = 25
) -> FolderPage:
    """What lies in a folder and is not hidden: of the entries whose names hold `words`, page `number` of `limit`."""
    try:
        folders, films, others = _read(path)
    except OSError as error:
        return FolderPage([], [], 0, 1, 0, 0, 0, problem=_why(error))
    wanted = words.casefold().strip()
    folders = sorted((name for name in folders if wanted in name.casefold()), key=natural)
    films = [name for name in films if wanted in name.casefold()]
    pages = max(1, -(-(len(folders) + len(films)) // limit))
    number = min(max(0, number), pages - 1)
    first, last = number * limit, (number + 1) * limit
    shown_folders = folders[first:last]
    from_film, to_film = max(0, first - len(folders)), max(0, last - len(folders))
    if order is FileOrder.NAME:
        shown_films = [_film(path, name) for name in sorted(films, key=natural)[from_film:to_film]]
    else:
        shown_films = _sorted((_film(path, name) for name in films), order)[from_film:to_film]
    return FolderPage(
        folders=_peeked(path, shown_folders),
        films=shown_films,
        number=number,
        pages=pages,
        total_folders=len(folders),
        total_films=len(films),
        others=others,
    )


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts as people count: film 2 before film 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name.casefold())]


def nearest_folder(path: str) -> str:
    """The folder of a path, or the nearest one above that is still there."""
    for parent in Path(path).parents:
        if parent.is_dir():
            return str(parent)
    return str(Path.home())


def first_folder() -> str:
    """Where people's films usually are."""
    home = Path.home()
    return str(next((home / name for name in ("Videos", "Movies") if (home / name).is_dir()), home))


def _read(path: str) -> tuple[list[str], list[str], int]:
    """The names of a folder's folders and films, and how many other files there are. Raises OSError."""
    folders, films, others = [], [], 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                is_folder = entry.is_dir()
                if _is_hidden(entry, is_folder=is_folder):
                    continue
                if is_folder:
                    folders.append(entry.name)
                elif is_media_name(entry.name) and entry.is_file():
                    films.append(entry.name)
                else:
                    others += 1
            except OSError:  # a link in a circle, a file that is gone by now
                others += 1
    return folders, films, others


def _is_hidden(entry: os.DirEntry[str], *, is_folder: bool) -> bool:
    """Whether the system keeps it from people's eyes: by a dot, or by what Windows and macOS note of it."""
    if entry.name.startswith((".", "$")):
        return True
    if os.name == "nt":
        return bool(getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN)
    if is_folder and hasattr(os, "chflags"):  # macOS; a look at every file would cost time
        return bool(getattr(entry.stat(follow_symlinks=False), "st_flags", 0) & stat.UF_HIDDEN)
    return False


def _film(folder: str, name: str) -> VideoFile:
    path = os.path.join(folder, name)  # noqa: PTH118  # pathlib's is slow for thousands
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return VideoFile(name, path, None, None)
    return VideoFile(name, path, status.st_size, status.st_mtime)


def _sorted(films: Iterable[VideoFile], order: FileOrder) -> list[VideoFile]:
    if order is FileOrder.LARGEST:
        return sorted(films, key=lambda film: (-(film.size_bytes or 0), natural(film.name)))
    return sorted(films, key=lambda film: (-(film.changed_at or 0.0), natural(film.name)))


def _peeked(path: str, names: Iterable[str]) -> list[Folder]:
    """Folders with how many films lie in each, as far as the time goes."""
    end = time.monotonic() + PEEK_SECONDS
    found = []
    for name in names:
        whole = os.path.join(path, name)  # noqa: PTH118
        about, may_be_read = None, True
        if time.monotonic() < end:
            about, may_be_read = _peek(whole, end)
        found.append(Folder(name, whole, about, may_be_read))
    return found


def _peek(path: str, end: float) -> tuple[str | None, bool]:
    """What lies directly in a folder, in words, and whether it may be read; None where there was no time to see all."""
    films = folders = total = 0
    try:
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number >= PEEK_ENTRIES or time.monotonic() > end:
                    return None, True
                if entry.name.startswith("."):
                    continue
                if is_media_name(entry.name):
                    films += 1
                    total += entry.stat().st_size
                elif entry.is_dir():
                    folders += 1
    except PermissionError:
        return NO_ACCESS, False
    except OSError:
        return None, True
    if films:
        return f"{counted(films, 'film')}, {size(total)}", True
    return (counted(folders, "folder") if folders else "no films"), True


def _why(error: OSError) -> str:
    """Why a folder cannot be listed, and what to do."""
    if isinstance(error, PermissionError):
        return (
            "This folder may not be read by you. Change its permissions, or choose another one. "
            "On a Mac: System Settings, Privacy & Security, Files and Folders."
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "This folder is gone. If it lies on a drive, plug the drive in."
    return f"This folder cannot be listed: {error.strerror or error}"
