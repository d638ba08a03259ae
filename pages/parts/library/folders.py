"""Listing folders of this computer: subfolders, videos, and whether they can be read.

Stays fast with thousands of entries: it reads only names, and sizes only of the entries shown, unless it sorts by size.
"""

import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from db.files import caseless
from enrich.filenames import is_media_name
from enrich.wording import format_bytes, format_count

PEEK_SECONDS = 0.3  # for all folders of a page together; on a slow drive some details are missing
PEEK_ENTRIES = 5000
NO_ACCESS = "no permission"


class FileOrder(StrEnum):
    """How videos are sorted. Folders come first, always by name."""

    NAME = "Name"
    NEWEST = "Newest first"
    LARGEST = "Largest first"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file with a video's file name. `size_bytes` and `changed_at` (seconds since 1970) are None if unknown."""

    name: str
    path: str
    size_bytes: int | None
    changed_at: float | None


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; `about` says what it contains, None if there was no time to find out."""

    name: str
    path: str
    about: str | None
    may_be_read: bool


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A page of a folder's entries, folders first. `problem` says why it could not be listed."""

    folders: list[Folder]
    videos: list[VideoFile]
    number: int  # from 0
    pages: int
    total_folders: int
    total_videos: int
    others: int  # files without a video's file name
    problem: str | None = None


def list_folder(
    path: str, *, words: str = "", order: FileOrder = FileOrder.NAME, number: int = 0, limit: int = 25
) -> FolderPage:
    """Page `number`, of `limit` entries, of the entries that are not hidden and whose names contain `words`."""
    try:
        folders, videos, others = _read(path)
    except OSError as error:
        return FolderPage([], [], 0, 1, 0, 0, 0, problem=_why(error))
    wanted = caseless(words).strip()
    folders = sorted((name for name in folders if wanted in caseless(name)), key=natural)
    videos = [name for name in videos if wanted in caseless(name)]
    pages = max(1, -(-(len(folders) + len(videos)) // limit))
    number = min(max(0, number), pages - 1)
    first, last = number * limit, (number + 1) * limit
    shown_folders = folders[first:last]
    from_video, to_video = max(0, first - len(folders)), max(0, last - len(folders))
    if order is FileOrder.NAME:
        shown_videos = [_video(path, name) for name in sorted(videos, key=natural)[from_video:to_video]]
    else:
        shown_videos = _sorted((_video(path, name) for name in videos), order)[from_video:to_video]
    return FolderPage(
        folders=_with_details(path, shown_folders),
        videos=shown_videos,
        number=number,
        pages=pages,
        total_folders=len(folders),
        total_videos=len(videos),
        others=others,
    )


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key for natural sorting: clip 2 before clip 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name.casefold())]


def nearest_folder(path: str) -> str:
    """The nearest folder above a path that still exists."""
    for parent in Path(path).parents:
        if parent.is_dir():
            return str(parent)
    return str(Path.home())


def first_folder() -> str:
    """The folder to start in: the user's videos if there is one."""
    home = Path.home()
    return str(next((home / name for name in ("Videos", "Movies") if (home / name).is_dir()), home))


def _read(path: str) -> tuple[list[str], list[str], int]:
    """The names of the subfolders and videos in a folder, and the number of other files. Raises OSError."""
    folders, videos, others = [], [], 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                is_folder = entry.is_dir()
                if _is_hidden(entry, is_folder=is_folder):
                    continue
                if is_folder:
                    folders.append(entry.name)
                elif is_media_name(entry.name) and entry.is_file():
                    videos.append(entry.name)
                else:
                    others += 1
            except OSError:  # a circular link, a file deleted meanwhile
                others += 1
    return folders, videos, others


def _is_hidden(entry: os.DirEntry[str], *, is_folder: bool) -> bool:
    """Whether an entry is hidden: by a leading dot, or by a flag of Windows or macOS."""
    if entry.name.startswith((".", "$")):
        return True
    if os.name == "nt":
        return bool(getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN)
    if is_folder and hasattr(os, "chflags"):  # macOS; checking every file would be slow
        return bool(getattr(entry.stat(follow_symlinks=False), "st_flags", 0) & stat.UF_HIDDEN)
    return False


def _video(folder: str, name: str) -> VideoFile:
    path = os.path.join(folder, name)  # noqa: PTH118  # pathlib is slow for thousands
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return VideoFile(name, path, None, None)
    return VideoFile(name, path, status.st_size, status.st_mtime)


def _sorted(videos: Iterable[VideoFile], order: FileOrder) -> list[VideoFile]:
    if order is FileOrder.LARGEST:
        return sorted(videos, key=lambda video: (-(video.size_bytes or 0), natural(video.name)))
    return sorted(videos, key=lambda video: (-(video.changed_at or 0.0), natural(video.name)))


def _with_details(path: str, names: Iterable[str]) -> list[Folder]:
    """Folders with the number of videos in each, as far as time allows."""
    end = time.monotonic() + PEEK_SECONDS
    found = []
    for name in names:
        whole = os.path.join(path, name)  # noqa: PTH118
        about, may_be_read = None, True
        if time.monotonic() < end:
            about, may_be_read = _details(whole, end)
        found.append(Folder(name, whole, about, may_be_read))
    return found


def _details(path: str, end: float) -> tuple[str | None, bool]:
    """What a folder directly contains (None if there was no time to count), and whether it can be read."""
    videos = folders = total = 0
    try:
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number >= PEEK_ENTRIES or time.monotonic() > end:
                    return None, True
                if entry.name.startswith("."):
                    continue
                if is_media_name(entry.name):
                    videos += 1
                    total += entry.stat().st_size
                elif entry.is_dir():
                    folders += 1
    except PermissionError:
        return NO_ACCESS, False
    except OSError:
        return None, True
    if videos:
        return f"{format_count(videos, 'video')}, {format_bytes(total)}", True
    return (format_count(folders, "folder") if folders else "no videos"), True


def _why(error: OSError) -> str:
    """Why a folder cannot be listed, and the next step."""
    if isinstance(error, PermissionError):
        return (
            "You do not have permission to read this folder. Change its permissions, or choose another one. "
            "On a Mac: System Settings > Privacy & Security > Files and Folders."
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "This folder no longer exists. If it is on an external drive, connect the drive."
    return f"This folder cannot be listed: {error.strerror or error}"
