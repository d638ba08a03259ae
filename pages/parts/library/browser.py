"""A file browser for this computer's videos, and the tab's selection of videos and folders to add.

It starts from the user's own folders and the drives; a page of folders and videos at a time.
"""

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil
import streamlit as st

from enrich.wording import format_bytes, format_count, markdown_text, printable
from pages.parts.library.folders import FileOrder, Folder, FolderPage, VideoFile, first_folder, list_folder

USUAL = ("Videos", "Movies", "Films", "Pictures", "Desktop", "Downloads", "Documents")
DRIVE_FOLDERS = ("/media", "/run/media", "/mnt", "/Volumes")  # where Linux and macOS show drives and shares
SELECTION = "selection"  # session state: the selected paths, in order
NAME_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class StartFolder:
    """A folder to start browsing from, and its display name."""

    name: str
    path: str


def start_folders() -> list[StartFolder]:
    """The home folder, its usual subfolders, and the drives. Drives are not read, as one in standby would block."""
    home = Path.home()
    usual = [StartFolder(name, str(home / name)) for name in USUAL if (home / name).is_dir()]
    return [StartFolder("Home", str(home)), *usual, *drives()]


def drives() -> list[StartFolder]:
    """The computer's drives and network shares, by the names its file manager shows."""
    if sys.platform == "win32":
        return [StartFolder(part.mountpoint, part.mountpoint) for part in psutil.disk_partitions(all=True)]
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=True)}
    found = [StartFolder(os.path.basename(path), path) for path in sorted(mounted) if _is_drive(path)]  # noqa: PTH119  # a mount point may not be readable
    return [StartFolder("This computer", "/"), *found]


def _is_drive(mountpoint: str) -> bool:
    """Whether a mount point is a drive or share rather than a system mount: `/mnt/nas`, `/media/ana/CAMERA`."""
    for folder in DRIVE_FOLDERS:
        rest = mountpoint.removeprefix(f"{folder}/")
        if rest != mountpoint:
            return len(rest.split("/")) <= 2 and not rest.startswith(".")  # noqa: PLR2004  # user/drive
    return False


@dataclass(frozen=True, slots=True)
class SelectedPath:
    """A selected video or folder. `title` replaces a meaningless file name: an upload's."""

    path: str
    is_folder: bool
    title: str = ""
    size_bytes: int | None = None


class NoSuchPathError(Exception):
    """A typed path is not valid or does not exist."""


def selected() -> list[SelectedPath]:
    """All selected entries, in the order they were selected."""
    return list(_all().values())


def paths() -> Collection[str]:
    """The paths of the selected entries."""
    return _all().keys()


def toggle(path: str) -> None:
    """Select a video, or deselect it."""
    if path in _all():
        deselect(path)
    else:
        select(path)


def select(path: str, *, title: str = "") -> None:
    """Select a video or a folder."""
    is_folder = os.path.isdir(path)  # noqa: PTH112  # pathlib's raises errors
    try:
        size_bytes = None if is_folder else os.path.getsize(path)  # noqa: PTH202
    except OSError:
        size_bytes = None
    st.session_state[SELECTION] = {**_all(), path: SelectedPath(path, is_folder, title, size_bytes)}


def deselect(path: str) -> None:
    """Remove an entry from the selection."""
    st.session_state[SELECTION] = {other: entry for other, entry in _all().items() if other != path}


def deselect_all() -> None:
    """Clear the selection."""
    st.session_state[SELECTION] = {}


def path_from(typed: str) -> str:
    """The absolute path for typed or pasted text, which may have quotes, `file://` or `~`. Raises NoSuchPathError."""
    text = typed.strip().strip("\"'").strip()
    if not text:
        raise NoSuchPathError("Enter the path to a video or folder first.")
    if text.lower().startswith("file://"):
        text = unquote(urlsplit(text).path)
        text = text[1:] if os.name == "nt" else text  # /C:/Videos
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise NoSuchPathError(f"{text} is not an absolute path. Start it with {Path(Path.cwd().anchor)} or ~.")
    try:
        if not path.exists():
            raise NoSuchPathError(f"{path} does not exist. If it is on an external drive, connect the drive.")
    except OSError as error:
        raise NoSuchPathError(f"{path} cannot be read: {error.strerror or error}") from error
    return os.path.abspath(path)  # noqa: PTH100  # removes `..`, keeps links as the user knows them


def _all() -> dict[str, SelectedPath]:
    found: dict[str, SelectedPath] = st.session_state.setdefault(SELECTION, {})
    return found


def browse(
    key: str,
    on_video: Callable[[str], None],
    *,
    marked: Collection[str] | None = None,
    start: str | None = None,
    on_folder: Callable[[str], None] | None = None,
) -> None:
    """Draw the browser; `on_video` is called with the path of a clicked video.

    `marked`: videos have checkboxes instead of buttons, and these are checked. `on_folder`: called with the open folder
    by a button that selects all of it.
    """
    folder = st.session_state.setdefault(f"{key}-folder", start or first_folder())
    _start_folders(key)
    with st.container(horizontal=True, vertical_alignment="center"):
        parent = str(Path(folder).parent)
        st.button(
            "Up",
            icon=":material/arrow_upward:",
            key=f"{key}-up",
            on_click=_open,
            args=(key, parent),
            disabled=parent == folder,
            help="Parent folder",
        )
        st.text(printable(folder))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Search this folder", key=f"{key}-words", on_change=_set_page, args=(key, 0))
        order = st.selectbox(
            "Sort", [*FileOrder], index=0, key=f"{key}-order", on_change=_set_page, args=(key, 0), width=180
        )
    page = list_folder(folder, words=words, order=order, number=st.session_state.get(f"{key}-page", 0))
    if page.problem:
        st.warning(page.problem)
        return
    for entry in page.folders:
        _folder(key, entry)
    for video in page.videos:
        _video(key, video, on_video, marked)
    _footer(key, page)
    if on_folder is not None:
        st.button(
            "Select this folder",
            icon=":material/create_new_folder:",
            key=f"{key}-whole",
            on_click=on_folder,
            args=(folder,),
            help="All videos in it and its subfolders",
        )


def selection_key(key: str, path: str) -> str:
    """The key of a video's checkbox in the browser `key`."""
    return f"{key}-video-{path}"


def _start_folders(key: str) -> None:
    found: list[StartFolder] = start_folders()
    with st.container(horizontal=True, gap="small"):
        for place in found:
            st.button(
                markdown_text(place.name, 24),
                key=f"{key}-place-{place.path}",
                on_click=_open,
                args=(key, place.path),
                type="tertiary",
                help=markdown_text(place.path),
            )


def _folder(key: str, folder: Folder) -> None:
    about = f" · {folder.about}" if folder.about else ""
    st.button(
        f"{markdown_text(folder.name, NAME_CHARACTERS)}{about}",
        icon=":material/folder:",
        key=f"{key}-open-{folder.path}",
        type="tertiary",
        on_click=_open,
        args=(key, folder.path),
        disabled=not folder.may_be_read,
    )


def _video(key: str, video: VideoFile, on_video: Callable[[str], None], marked: Collection[str] | None) -> None:
    label = f"{markdown_text(video.name, NAME_CHARACTERS)} · {_details(video)}"
    if marked is None:
        st.button(
            label,
            icon=":material/movie:",
            key=selection_key(key, video.path),
            type="tertiary",
            on_click=on_video,
            args=(video.path,),
        )
        return
    name = selection_key(key, video.path)
    st.session_state[name] = video.path in marked  # the checkbox only shows the selection, which is stored elsewhere
    st.checkbox(label, key=name, on_change=on_video, args=(video.path,))


def _details(video: VideoFile) -> str:
    if video.size_bytes is None or video.changed_at is None:
        return "cannot be read"
    changed = datetime.fromtimestamp(video.changed_at).astimezone()
    return f"{format_bytes(video.size_bytes)} · {changed.day} {changed:%b %Y}"


def _footer(key: str, page: FolderPage) -> None:
    parts = [format_count(page.total_folders, "folder")] if page.total_folders else []
    parts.append(format_count(page.total_videos, "video") if page.total_videos else "no videos")
    if page.others:
        parts.append(f"{format_count(page.others, 'other file')} not shown")
    summary = ", ".join(parts).capitalize()
    if page.pages == 1:
        st.caption(summary)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, number, is_enabled in (
            ("Previous", page.number - 1, page.number > 0),
            ("Next", page.number + 1, page.number < page.pages - 1),
        ):
            st.button(label, key=f"{key}-{label}", on_click=_set_page, args=(key, number), disabled=not is_enabled)
        st.caption(f"Page {page.number + 1:,} of {page.pages:,} · {summary}")


def _open(key: str, path: str) -> None:
    st.session_state[f"{key}-folder"] = path
    st.session_state[f"{key}-words"] = ""
    _set_page(key, 0)


def _set_page(key: str, number: int) -> None:
    st.session_state[f"{key}-page"] = number
