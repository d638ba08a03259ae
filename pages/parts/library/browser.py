"""A browser over the folders of this machine, drawn: places, the way up, a page of folders and films to choose from."""

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

import streamlit as st

from enrich.wording import counted, size
from pages.parts.library.folders import Film, Folder, Order, Page, first_folder, look_into
from pages.parts.library.places import Place, places
from pages.parts.plain import plain, shown

NAME_LENGTH = 70


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
        order = st.selectbox("Sort", [*Order], index=0, key=f"{key}-order", on_change=_turn, args=(key, 0), width=180)
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


def film_key(key: str, path: str) -> str:
    """The key of a film's tick in the browser `key`."""
    return f"{key}-film-{path}"


def _places(key: str) -> None:
    found: list[Place] = places()
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


def _film(key: str, film: Film, on_film: Callable[[str], None], marked: Collection[str] | None) -> None:
    label = f"{plain(film.name, NAME_LENGTH)} · {_about(film)}"
    if marked is None:
        st.button(
            label,
            icon=":material/movie:",
            key=film_key(key, film.path),
            type="tertiary",
            on_click=on_film,
            args=(film.path,),
        )
        return
    name = film_key(key, film.path)
    st.session_state[name] = film.path in marked  # what is chosen is known elsewhere; the tick only shows it
    st.checkbox(label, key=name, on_change=on_film, args=(film.path,))


def _about(film: Film) -> str:
    if film.size_bytes is None or film.changed_at is None:
        return "cannot be read"
    changed = datetime.fromtimestamp(film.changed_at).astimezone()
    return f"{size(film.size_bytes)} · {changed.day} {changed:%b %Y}"


def _foot(key: str, page: Page) -> None:
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
