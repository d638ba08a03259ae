"""Removing a video: the question, with what will be deleted and what stays, and the doing."""

import os
from pathlib import Path

import streamlit as st

from db import queries
from db.queries import VideoRow
from enrich.jobs.command import run_command
from enrich.settings import Settings
from enrich.wording import counted, size
from pages.parts.library import inbox
from pages.parts.plain import plain, shown
from pages.parts.session import reading, settings

REMOVED = "removed"  # what is said on the library's page afterwards
FAILED = "remove-failed"
ASKED = "remove-asked"  # the id of the video that somebody wants to remove
ANSWERED = "remove-answered"  # the question may go
REMOVE_SECONDS = 600.0


def ask(video_id: int) -> None:
    """Have the question asked when the video is drawn next."""
    st.session_state[ASKED] = video_id
    st.session_state[ANSWERED] = False


def question(row: VideoRow) -> None:
    """Draw the question if somebody asked for it."""
    if st.session_state.pop(ASKED, None) == row.id:
        _question(row)


@st.dialog("Remove this film from the library?")
def _question(row: VideoRow) -> None:
    """Ask; nothing is deleted before the answer."""
    if st.session_state.get(ANSWERED):
        st.rerun()
    now = settings()
    st.text(shown(row.title))
    st.markdown(
        f"Deleted: {counted(row.kept, 'kept frame')} with {'its picture' if row.kept == 1 else 'their pictures'}, "
        f"{size(pictures_bytes(now, row.id))}, and {counted(row.described, 'description')}, also what you corrected."
        if row.kept
        else "Nothing has been taken from it yet: only its entry is deleted."
    )
    is_copy = inbox.is_upload(now, row.path)
    st.markdown("Your own film is not touched." if not is_copy else "The film itself is an uploaded copy.")
    st.text(shown(row.path))
    if is_copy and _bytes(row.path):
        st.checkbox(f"Delete the uploaded copy too, {size(_bytes(row.path))}", key="remove-copy")
    if problem := st.session_state.pop(FAILED, None):
        st.error(plain(problem))
    with st.container(horizontal=True):
        st.button("Remove it", type="primary", on_click=_remove, args=(row,))
        st.button("Keep it", on_click=_keep)


def say_removed() -> None:
    """What was removed last, once."""
    if said := st.session_state.pop(REMOVED, None):
        st.success(plain(said))


def pictures_bytes(now: Settings, video_id: int) -> int:
    """The bytes of a video's pictures on disk."""
    with reading() as connection:
        names = queries.image_paths(connection, limit=1, video_id=video_id)
    if not names:
        return 0
    folder = now.frames_folder / Path(names[0]).parts[0]
    return sum(_bytes(os.path.join(below, name)) for below, _, files in os.walk(folder) for name in files)  # noqa: PTH118


def _bytes(path: str) -> int:
    try:
        return os.path.getsize(path)  # noqa: PTH202
    except OSError:
        return 0


def _remove(row: VideoRow) -> None:
    now = settings()
    outcome = run_command(now, "remove", str(row.id), "--yes", seconds=REMOVE_SECONDS)
    if not outcome.is_good:
        st.session_state[FAILED] = f"That did not work: {outcome.error}"
        return
    if st.session_state.get("remove-copy"):
        with reading() as connection:
            registered = {video.path for video in queries.videos(connection)}
        inbox.discard(now, row.path, registered)
    st.session_state[REMOVED] = f"Removed: {row.title}."
    st.session_state[ANSWERED] = True
    st.query_params.clear()


def _keep() -> None:
    st.session_state[ANSWERED] = True
