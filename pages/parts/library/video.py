"""One video of the library: what is known of it, how far it is, and all that can be done with it.

Removing a video: the question, with what will be deleted and what stays, and the doing.
"""

import os
from datetime import datetime
from pathlib import Path

import streamlit as st

from db import editing, files, gallery, queries, store
from db.queries import VideoRow
from enrich.jobs.command import run_command
from enrich.settings import Settings
from enrich.wording import clock, counted, printable, size
from pages.parts.costs import quick_pass
from pages.parts.costs.quick_pass import draw_last_scan
from pages.parts.library.browser import browse
from pages.parts.library.cards import figures, is_lost, progress, share, troubles
from pages.parts.library.folders import nearest_folder
from pages.parts.library.sampling import in_words
from pages.parts.plain import plain, shown
from pages.parts.session import reading, settings, writing
from pages.parts.view import LARGE_EDGE, image_url
from pages.parts.web import uploads

REMOVED = "removed"  # what is said on the library's page afterwards
FAILED = "remove-failed"
ASKED = "remove-asked"  # the id of the video that somebody wants to remove
ANSWERED = "remove-answered"  # the question may go
REMOVE_SECONDS = 600.0
NOTICE = "video-notice"
FRAMES_PAGE = "pages/frames.py"
REFRESH = "2s"
LONGEST_TITLE, LONGEST_CONTEXT = 200, 2000


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
        f"{size(image_bytes(now, row.id))}, and {counted(row.described, 'description')}, also what you corrected."
        if row.kept
        else "Nothing has been taken from it yet: only its entry is deleted."
    )
    is_copy = uploads.is_upload(now, row.path)
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


def image_bytes(now: Settings, video_id: int) -> int:
    """The bytes of a video's pictures on disk."""
    with reading() as connection:
        names = files.newest_image_paths(connection, limit=1, video_id=video_id)
    if not names:
        return 0
    folder = now.frames_folder / Path(names[0]).parts[0]
    return sum(_bytes(os.path.join(below, name)) for below, _, names in os.walk(folder) for name in names)  # noqa: PTH118


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
        uploads.discard(now, row.path, registered)
    st.session_state[REMOVED] = f"Removed: {row.title}."
    st.session_state[ANSWERED] = True
    st.query_params.clear()


def _keep() -> None:
    st.session_state[ANSWERED] = True


def video_part(video_id: int, *, is_live: bool) -> None:
    """Draw a video with its actions."""
    with reading() as connection:
        try:
            row = queries.video(connection, video_id)
        except queries.NoSuchVideoError:
            st.title("Library")
            st.warning("This film is not in the library any more.")
            return
        poster = gallery.poster(connection, [video_id]).get(video_id)
        failures = queries.failures(connection, [video_id]) if row.failed or is_lost(row) else []
    st.title(plain(row.title) or "Untitled")
    relinks = st.query_params.get("do") == "relink"
    if not relinks:
        _notice()
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if poster is not None:
            st.image(image_url(poster, LARGE_EDGE), alt=f"A picture of {row.title}", width="stretch")
        else:
            st.caption("No picture yet: the worker takes the first ones within seconds.")
        st.page_link(
            FRAMES_PAGE,
            label="Look through its frames",
            icon=":material/grid_view:",
            query_params={"video": str(row.id)},
        )
    with right:
        st.fragment(_standing, run_every=REFRESH if is_live else None)(video_id)
        for reason, count in failures:
            st.text(shown(f"{counted(count, 'time')}: {reason}"))
        is_there = os.path.isfile(row.path)  # noqa: PTH113  # pathlib's raise
        if not is_there:
            st.error("The film's file is not where it was. Plug its drive in, or say where it lies now.")
        _actions(row, is_there=is_there)
        draw_last_scan(settings(), row.id)
        _edit(row)
    if relinks:
        _relink(row)
    _facts(row)
    question(row)
    quick_pass.draw_dialog(settings())


def _standing(video_id: int) -> None:
    with reading() as connection:
        try:
            row = queries.video(connection, video_id)
        except queries.NoSuchVideoError:
            st.rerun()
    st.progress(share(row), progress(row))
    st.caption(f"{figures(row)} · {row.described:,} described, which cover {counted(row.covered, 'frame')} of the film")
    trouble = troubles(row)
    st.text(shown("\n".join(trouble)) if trouble else "")


def _actions(row: VideoRow, *, is_there: bool) -> None:
    is_done = row.enrichment_status == "enriched" or is_lost(row)
    with st.container(horizontal=True):
        st.button(
            "Describe this first",
            on_click=_first,
            args=(row.id,),
            disabled=is_done,
            help="Before all other films; those go on a little beside it",
        )
        st.button(
            "Quick scan",
            on_click=quick_pass.request_dialog,
            args=([(row.id, row.title)],),
            disabled=not is_there and not row.kept,
            help="Describes its key frames within minutes. You see the cost before anything is sent.",
        )
        if row.failed or is_lost(row):
            st.button("Try what failed again", on_click=_retry, args=(row.id,))
        st.button(
            "Say where the file is now",
            type="primary" if not is_there else "secondary",
            on_click=_ask_relink,
            help="For a film that was moved or renamed",
        )
        st.button("Remove", icon=":material/delete:", on_click=ask, args=(row.id,))


def _edit(row: VideoRow) -> None:
    with st.form(f"edit-{row.id}"):
        st.text_input("Title", row.title, key=f"title-{row.id}", max_chars=LONGEST_TITLE)
        st.text_area(
            "What it is about",
            row.context,
            key=f"about-{row.id}",
            max_chars=LONGEST_CONTEXT,
            help="The model reads it with every picture that is described from now on.",
        )
        st.form_submit_button("Save", on_click=_save, args=(row.id,))


def _relink(row: VideoRow) -> None:
    with st.container(border=True):
        st.subheader("Where is the file now?")
        st.caption("Choose the same film at its new place. Another film is refused.")
        _notice()
        browse(f"relink-{row.id}", lambda path: _relinked(row.id, path), start=nearest_folder(row.path))
        st.button("Leave it as it is", on_click=_leave_relink)


def _facts(row: VideoRow) -> None:
    shown_size = size(os.path.getsize(row.path)) if os.path.isfile(row.path) else "not there"  # noqa: PTH113, PTH202
    facts = {
        "File": row.path,
        "Size": shown_size,
        "Length": clock(row.duration).split(".")[0] if row.duration else "unknown",
        "Picture": f"{row.width}×{row.height}, {row.codec}" + (f", {row.fps:.4g} a second" if row.fps else ""),
        "Kept": in_words(row.sampling),
        "Added": _moment(row.added_at),
    }
    if row.recorded_at:
        facts["Recorded"] = _moment(row.recorded_at)
    if row.camera:
        facts["Camera"] = row.camera
    if row.recording and row.chapter:
        facts["Recording"] = f"chapter {row.chapter} of {Path(row.recording).name}"
    with st.expander("About the file"):
        for name, value in facts.items():
            st.text(shown(f"{name}: {value}"))


def _moment(moment: datetime) -> str:
    here = moment.astimezone()
    return f"{here.day} {here:%B %Y, %H:%M}"


def _notice() -> None:
    """What the last action came to."""
    said = st.session_state.pop(NOTICE, None)
    if said is not None:
        is_good, text = said
        (st.success if is_good else st.error)(plain(text))


def _say(text: str, *, is_good: bool = True) -> None:
    st.session_state[NOTICE] = (is_good, text)


def _save(video_id: int) -> None:
    title = " ".join(printable(st.session_state[f"title-{video_id}"]).split())
    context = printable(st.session_state[f"about-{video_id}"]).strip()
    if not title:
        _say("A film needs a title.", is_good=False)
        return
    with writing() as connection:
        editing.rename_video(connection, video_id, title)
        editing.set_context(connection, video_id, context)
    _say("Saved.")


def _first(video_id: int) -> None:
    outcome = run_command(settings(), "first", str(video_id))
    if not outcome.is_good:
        _say(f"That did not work: {outcome.error}", is_good=False)
        return
    count = int((outcome.data or {}).get("frames") or 0)
    _say(f"It goes first now: {counted(count, 'picture')} at once, and what is still to be taken from it.")


def _retry(video_id: int) -> None:
    with writing() as connection:
        count = store.retry(connection, video_id=video_id)
    _say(f"{counted(count, 'task')} put back: the worker tries again." if count else "There is nothing to try again.")


def _ask_relink() -> None:
    st.query_params["do"] = "relink"


def _leave_relink() -> None:
    st.query_params.pop("do", None)


def _relinked(video_id: int, path: str) -> None:
    outcome = run_command(settings(), "relink", str(video_id), "--", path)
    if outcome.is_good:
        _leave_relink()
        _say(f"Found again: {path}")
    else:
        _say(outcome.error, is_good=False)
