"""The films and folders somebody has chosen to add, in this tab, until they are added or put back."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import streamlit as st

KEY = "chosen"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A film or a folder. `title` is for one whose name says nothing: an upload."""

    path: str
    is_folder: bool
    title: str = ""
    size_bytes: int | None = None


class NoSuchPathError(Exception):
    """Nothing lies at the path somebody typed; the text says so."""


def chosen() -> list[Chosen]:
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
    st.session_state[KEY] = {**_all(), path: Chosen(path, Path(path).is_dir(), title, count)}


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


def _all() -> dict[str, Chosen]:
    found: dict[str, Chosen] = st.session_state.setdefault(KEY, {})
    return found
