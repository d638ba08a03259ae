"""A browser over the folders of this machine, drawn: places, the way up, a page of folders and films to choose from.

Where people keep films: their own folder with what is usual in it, and the drives of this machine.

The films and folders somebody has chosen to add, in this tab, until they are added or put back.
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

from enrich.wording import counted, size
from pages.parts.library.folders import FileOrder, Folder, FolderPage, VideoFile, first_folder, look_into
from pages.parts.plain import plain, shown

USUAL = ("Videos", "Movies", "Films", "Pictures", "Desktop", "Downloads", "Documents")
DRIVE_FOLDERS = ("/media", "/run/media", "/mnt", "/Volumes")  # where Linux and macOS show drives and shares
KEY = "chosen"
NAME_LENGTH = 70


@dataclass(frozen=True, slots=True)
class StartFolder:
    """A folder to begin at, and what people call it."""

    name: str
    path: str


def places() -> list[StartFolder]:
    """Home, its usual folders and the drives, which are not looked into: one that sleeps keeps nobody waiting."""
    home = Path.home()
    usual = [StartFolder(name, str(home / name)) for name in USUAL if (home / name).is_dir()]
    return [StartFolder("Home", str(home)), *usual, *drives()]


def drives() -> list[StartFolder]:
    """The machine's drives and network shares, by the names people know them by."""
    if sys.platform == "win32":
        return [StartFolder(part.mountpoint, part.mountpoint) for part in psutil.disk_partitions(all=True)]
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=True)}
    found = [StartFolder(os.path.basename(path), path) for path in sorted(mounted) if _is_drive(path)]  # noqa: PTH119  # it is one
    return [StartFolder("This computer", "/"), *found]


def _is_drive(mountpoint: str) -> bool:
    """Whether something is mounted there for people: at most one folder of the user's name below the usual ones."""
    for folder in DRIVE_FOLDERS:
        rest = mountpoint.removeprefix(f"{folder}/")
        if rest != mountpoint:
            return len(rest.split("/")) <= 2 and not rest.startswith(".")  # noqa: PLR2004  # user/drive
    return False


@dataclass(frozen=True, slots=True)
class SelectedPath:
    """A film or a folder. `title` is for one whose name says nothing: an upload."""

    path: str
    is_folder: bool
    title: str = ""
    size_bytes: int | None = None


class NoSuchPathError(Exception):
    """Nothing lies at the path somebody typed; the text says so."""


def chosen() -> list[SelectedPath]:
    """All that is chosen, in the order it was."""
    return list(_all().values())


def paths() -> Collection[str]:
    """Their paths."""
    return _all().keys()


def toggle(path: str) -> None:
    """Choose a film, or put it back."""
    if path in _all():
        drop(path)
    else:
        choose(path)


def choose(path: str, *, title: str = "") -> None:
    """Choose a film or a folder."""
    try:
        count = None if os.path.isdir(path) else os.path.getsize(path)  # noqa: PTH112, PTH202  # nothing is built of it
    except OSError:
        count = None
    st.session_state[KEY] = {**_all(), path: SelectedPath(path, Path(path).is_dir(), title, count)}


def drop(path: str) -> None:
    """Put one back."""
    st.session_state[KEY] = {other: entry for other, entry in _all().items() if other != path}


def drop_all() -> None:
    """Put all back."""
    st.session_state[KEY] = {}


def path_from(typed: str) -> str:
    """The absolute path that was pasted: quotes, `file://` and `~` are understood. Raises NoSuchPathError."""
    text = typed.strip().strip("\"'").strip()
    if not text:
        raise NoSuchPathError("Paste the path of a film or a folder first.")
    if text.lower().startswith("file://"):
        text = unquote(urlsplit(text).path)
        text = text[1:] if os.name == "nt" else text  # /C:/Films
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise NoSuchPathError(f"{text} is no whole path: it begins with {Path(Path.cwd().anchor)}, or with ~.")
    try:
        if not path.exists():
            raise NoSuchPathError(f"There is nothing at {path}. If it lies on a drive, plug the drive in.")
    except OSError as error:
        raise NoSuchPathError(f"{path} cannot be looked at: {error.strerror or error}") from error
    return os.path.abspath(path)  # noqa: PTH100  # `..` taken out, links kept as the user knows them


def _all() -> dict[str, SelectedPath]:
    found: dict[str, SelectedPath] = st.session_state.setdefault(KEY, {})
    return found


def browse(
    key: str,
    on_film: Callable[[str], None],
    *,
    marked: Collection[str] | None = None,
    start: str | None = None,
    on_folder: Callable[[str], None] | None = None,
) -> None:
    """Draw the browser; `on_film` is called with the path of a film that somebody clicks.

    `marked`: films are ticked rather than pressed, and these are. `on_folder`: the whole open folder can be chosen too.
    """
    folder = st.session_state.setdefault(f"{key}-folder", start or first_folder())
    _places(key)
    with st.container(horizontal=True, vertical_alignment="center"):
        parent = str(Path(folder).parent)
        st.button(
            "Up",
            icon=":material/arrow_upward:",
            key=f"{key}-up",
            on_click=_open,
            args=(key, parent),
            disabled=parent == folder,
            help="The folder that this one lies in",
        )
        st.text(shown(folder))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Find in this folder", key=f"{key}-words", on_change=_turn, args=(key, 0))
        order = st.selectbox(
            "Sort", [*FileOrder], index=0, key=f"{key}-order", on_change=_turn, args=(key, 0), width=180
        )
    page = look_into(folder, words=words, order=order, number=st.session_state.get(f"{key}-page", 0))
    if page.problem:
        st.warning(page.problem)
        return
    for entry in page.folders:
        _folder(key, entry)
    for film in page.films:
        _film(key, film, on_film, marked)
    _foot(key, page)
    if on_folder is not None:
        st.button(
            "Choose this whole folder",
            icon=":material/create_new_folder:",
            key=f"{key}-whole",
            on_click=on_folder,
            args=(folder,),
            help="Every film in it and in its folders",
        )


def selection_key(key: str, path: str) -> str:
    """The key of a film's tick in the browser `key`."""
    return f"{key}-film-{path}"


def _places(key: str) -> None:
    found: list[StartFolder] = places()
    with st.container(horizontal=True, gap="small"):
        for place in found:
            st.button(
                plain(place.name, 24),
                key=f"{key}-place-{place.path}",
                on_click=_open,
                args=(key, place.path),
                type="tertiary",
                help=plain(place.path),
            )


def _folder(key: str, folder: Folder) -> None:
    about = f" · {folder.about}" if folder.about else ""
    st.button(
        f"{plain(folder.name, NAME_LENGTH)}{about}",
        icon=":material/folder:",
        key=f"{key}-open-{folder.path}",
        type="tertiary",
        on_click=_open,
        args=(key, folder.path),
        disabled=not folder.may_be_read,
    )


def _film(key: str, film: VideoFile, on_film: Callable[[str], None], marked: Collection[str] | None) -> None:
    label = f"{plain(film.name, NAME_LENGTH)} · {_about(film)}"
    if marked is None:
        st.button(
            label,
            icon=":material/movie:",
            key=selection_key(key, film.path),
            type="tertiary",
            on_click=on_film,
            args=(film.path,),
        )
        return
    name = selection_key(key, film.path)
    st.session_state[name] = film.path in marked  # what is chosen is known elsewhere; the tick only shows it
    st.checkbox(label, key=name, on_change=on_film, args=(film.path,))


def _about(film: VideoFile) -> str:
    if film.size_bytes is None or film.changed_at is None:
        return "cannot be read"
    changed = datetime.fromtimestamp(film.changed_at).astimezone()
    return f"{size(film.size_bytes)} · {changed.day} {changed:%b %Y}"


def _foot(key: str, page: FolderPage) -> None:
    parts = [counted(page.total_folders, "folder")] if page.total_folders else []
    parts.append(counted(page.total_films, "film") if page.total_films else "no films in it")
    if page.others:
        parts.append(f"{counted(page.others, 'other file')} not shown")
    said = ", ".join(parts).capitalize()
    if page.pages == 1:
        st.caption(said)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, number, is_there in (
            ("Previous", page.number - 1, page.number > 0),
            ("Next", page.number + 1, page.number < page.pages - 1),
        ):
            st.button(label, key=f"{key}-{label}", on_click=_turn, args=(key, number), disabled=not is_there)
        st.caption(f"Page {page.number + 1:,} of {page.pages:,} · {said}")


def _open(key: str, path: str) -> None:
    st.session_state[f"{key}-folder"] = path
    st.session_state[f"{key}-words"] = ""
    _turn(key, 0)


def _turn(key: str, number: int) -> None:
    st.session_state[f"{key}-page"] = number
