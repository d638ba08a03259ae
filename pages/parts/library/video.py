"""One video of the library: its progress, facts and actions, and the dialog that removes it."""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import streamlit as st

from db import editing, files, gallery, queries, store
from db.editing import PriorityRange
from db.queries import VideoRow
from db.reservations import open_usd_of_video
from enrich.jobs.command import run_command
from enrich.library.completion import covered_share
from enrich.settings import Settings
from enrich.wording import format_bytes, format_count, format_timestamp, format_usd, markdown_text, printable
from pages.parts.costs import quick_pass
from pages.parts.costs.quick_pass import draw_last_scan
from pages.parts.library.browser import browse
from pages.parts.library.cards import figures, has_failed, problems, progress
from pages.parts.library.folders import nearest_folder
from pages.parts.library.sampling import sampling_label
from pages.parts.session import live, reading, reports_storage_errors, settings, writing
from pages.parts.view import LARGE_EDGE, image_url
from pages.parts.web import uploads

FRAMES_PAGE = "pages/frames.py"
REFRESH = "2s"
REMOVE_SECONDS = 600.0
TITLE_CHARACTERS, CONTEXT_CHARACTERS = 200, 2000
# Keys of the session state:
NOTICE = "video-notice"  # the result of the last action, shown once
TO_REMOVE = "video-to-remove"  # the id of the video whose removal dialog opens
IS_ANSWERED = "remove-answered"  # the dialog closes
REMOVED = "video-removed"  # the message shown on the library page afterwards
REMOVE_FAILED = "remove-failed"


def ask_to_remove(video_id: int) -> None:
    """Open the removal dialog when the video is next drawn. For callbacks."""
    st.session_state[TO_REMOVE] = video_id
    st.session_state[IS_ANSWERED] = False


def _draw_removal(row: VideoRow) -> None:
    """The removal dialog, if it was opened."""
    if st.session_state.pop(TO_REMOVE, None) == row.id:
        _removal_dialog(row)


@st.dialog("Remove this video from the library?")
def _removal_dialog(row: VideoRow) -> None:
    """What will be deleted and what is kept. Nothing is deleted before the user confirms."""
    if st.session_state.get(IS_ANSWERED):
        st.rerun()
    now = settings()
    st.text(printable(row.title))
    st.markdown(
        f"This deletes {format_count(row.kept, 'frame')} ({format_bytes(image_bytes(now, row.id))}) and "
        f"{format_count(row.described, 'description')}, including your corrections."
        if row.kept
        else "No frames have been extracted yet. Only the library entry is deleted."
    )
    with reading() as connection:
        owed_usd = open_usd_of_video(connection, row.id)
    if owed_usd:
        st.warning(
            markdown_text(
                f"Requests to Claude for up to {format_usd(owed_usd)} are in progress. Batches are cancelled. What "
                "Claude has processed by then is charged and stays in your costs."
            )
        )
    is_copy = uploads.is_upload(now, row.path)
    st.markdown("Your video file is kept." if not is_copy else "The video file is an uploaded copy.")
    st.text(printable(row.path))
    if is_copy and _bytes(row.path):
        st.checkbox(f"Also delete the uploaded copy ({format_bytes(_bytes(row.path))})", key="remove-copy")
    if problem := st.session_state.pop(REMOVE_FAILED, None):
        st.error(markdown_text(problem))
    with st.container(horizontal=True):
        st.button("Remove video", type="primary", on_click=_remove, args=(row,))
        st.button("Cancel", on_click=_close)


def draw_removed() -> None:
    """The message about a removed video, shown once."""
    if message := st.session_state.pop(REMOVED, None):
        st.success(markdown_text(message))


def image_bytes(now: Settings, video_id: int) -> int:
    """The size of a video's frames on disk, in bytes."""
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
        st.session_state[REMOVE_FAILED] = f"The video was not removed: {outcome.error}"
        return
    if st.session_state.get("remove-copy"):
        with reading() as connection:
            videos = queries.videos(connection)
            registered = {path for video in videos for path in (video.path, *video.locations)}
        uploads.discard(now, row.path, registered)
    st.session_state[REMOVED] = f"Removed: {row.title}."
    st.session_state[IS_ANSWERED] = True
    st.query_params.clear()


def _close() -> None:
    st.session_state[IS_ANSWERED] = True


def draw_video(video_id: int, *, is_live: bool) -> None:
    """Draw a video with its actions."""
    with reading() as connection:
        try:
            row = queries.video(connection, video_id)
        except queries.NoSuchVideoError:
            st.title("Library")
            st.warning("This video is no longer in the library.")
            return
        poster = gallery.poster(connection, [video_id]).get(video_id)
        failures = queries.failures(connection, [video_id]) if row.failed or has_failed(row) else []
    st.title(markdown_text(row.title) or "Untitled")
    relinks = st.query_params.get("do") == "relink"
    if not relinks:
        _draw_notice()
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if poster is not None:
            st.image(image_url(poster, LARGE_EDGE), alt=f"Frame of {printable(row.title)}", width="stretch")
        else:
            st.caption(
                "No image yet. The running worker extracts the first frames soon."
                if is_live
                else "No image yet. Frames are extracted while the worker runs. Start it on the Overview page."
            )
        st.page_link(
            FRAMES_PAGE,
            label="Show frames",
            icon=":material/grid_view:",
            query_params={"video": str(row.id)},
        )
    with right:
        live(run_every=REFRESH if is_live else None)(_progress)(video_id)
        for reason, count in failures:
            st.text(printable(f"{format_count(count, 'frame')}: {reason}"))
        is_there = _present_path(row) is not None
        if not is_there:
            st.error("The video file was not found. Connect its drive, or locate the file.")
        _actions(row, is_there=is_there)
        draw_last_scan(settings(), row.id)
        _edit(row)
    if relinks:
        _relink(row)
    _facts(row)
    _draw_removal(row)
    quick_pass.draw_dialog(settings())


def _progress(video_id: int) -> None:
    with reading() as connection:
        try:
            row = queries.video(connection, video_id)
        except queries.NoSuchVideoError:
            st.rerun()
    st.progress(covered_share(row), progress(row))
    st.caption(
        f"{figures(row)} · {row.described:,} described, representing {format_count(row.covered, 'source frame')}"
    )
    st.text(printable("\n".join(problems(row))))


def _actions(row: VideoRow, *, is_there: bool) -> None:
    is_done = row.enrichment_status == "enriched" or has_failed(row)
    with st.container(horizontal=True):
        st.button(
            "Describe first",
            on_click=_describe_first,
            args=(row.id,),
            disabled=is_done,
            help="Puts this video ahead of the others",
        )
        st.button(
            "Quick scan",
            on_click=quick_pass.request_dialog,
            args=([(row.id, row.title)],),
            disabled=not is_there and not row.kept,
            help="Describes its key frames within minutes. You see the cost before anything is sent.",
        )
        if row.failed or has_failed(row):
            st.button("Retry failed", on_click=_retry, args=(row.id,))
        st.button(
            "Locate file…",
            type="primary" if not is_there else "secondary",
            on_click=_open_relink,
            help="For a video that was moved or renamed",
        )
        st.button("Remove", icon=":material/delete:", on_click=ask_to_remove, args=(row.id,))


def _edit(row: VideoRow) -> None:
    with st.form(f"edit-{row.id}"):
        st.text_input("Title", row.title, key=f"title-{row.id}", max_chars=TITLE_CHARACTERS)
        st.text_area(
            "Context",
            row.context,
            key=f"about-{row.id}",
            max_chars=CONTEXT_CHARACTERS,
            help="Sent to the model with every frame that is described from now on.",
        )
        st.form_submit_button("Save", on_click=_save, args=(row.id,))


def _relink(row: VideoRow) -> None:
    with st.container(border=True):
        st.subheader("Locate the video file")
        st.caption("Select the same video in its new folder. A different video is rejected.")
        _draw_notice()
        browse(f"relink-{row.id}", lambda path: _relinked(row.id, path), start=nearest_folder(row.path))
        st.button("Cancel", on_click=_close_relink)


def _facts(row: VideoRow) -> None:
    path = _present_path(row)
    facts = {"File": path or row.path}
    if others := [other for other in row.locations if other != path and os.path.isfile(other)]:  # noqa: PTH113
        facts["Also at"] = ", ".join(others)
    facts |= {
        "Size": "file not found" if path is None else format_bytes(_bytes(path)),
        "Length": format_timestamp(row.duration).split(".")[0] if row.duration else "unknown",
        "Format": f"{row.width}×{row.height}, {row.codec}" + (f", {row.fps:.4g} fps" if row.fps else ""),
        "Sampling": sampling_label(row.sampling),
        "Added": _local_time(row.added_at),
    }
    if row.recorded_at:
        facts["Recorded"] = _local_time(row.recorded_at)
    if row.camera:
        facts["Camera"] = row.camera
    if row.recording and row.chapter:
        facts["Recording"] = f"chapter {row.chapter} of {Path(row.recording).name}"
    with st.expander("File details"):
        for name, value in facts.items():
            st.text(printable(f"{name}: {value}"))


def _present_path(row: VideoRow) -> str | None:
    """The first location of a video where a file is."""
    paths = (*row.locations, row.path)
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113  # pathlib's raises errors


def _local_time(moment: datetime) -> str:
    with suppress(OverflowError, OSError):  # dates that older versions stored: year 1 or 9999
        moment = moment.astimezone()
    here = moment
    return f"{here.day} {here:%B %Y, %H:%M}"


def _draw_notice() -> None:
    """The result of the last action, shown once."""
    notice = st.session_state.pop(NOTICE, None)
    if notice is not None:
        is_good, text = notice
        (st.success if is_good else st.error)(markdown_text(text))


def _notify(text: str, *, is_good: bool = True) -> None:
    st.session_state[NOTICE] = (is_good, text)


@reports_storage_errors
def _save(video_id: int) -> None:
    title = " ".join(printable(st.session_state[f"title-{video_id}"]).split())
    context = printable(st.session_state[f"about-{video_id}"]).strip()
    if not title:
        _notify("Enter a title.", is_good=False)
        return
    with writing() as connection:
        editing.rename_video(connection, video_id, title)
        editing.set_context(connection, video_id, context)
    _notify("Saved.")


@reports_storage_errors
def _describe_first(video_id: int) -> None:
    with writing() as connection:
        editing.prioritize(connection, video_id, PriorityRange())
    _notify("Moved to the front of the queue.")


@reports_storage_errors
def _retry(video_id: int) -> None:
    with writing() as connection:
        count = store.retry(connection, video_id=video_id)
    _notify(f"{format_count(count, 'frame')} queued for retry." if count else "Nothing to retry.")


def _open_relink() -> None:
    st.query_params["do"] = "relink"


def _close_relink() -> None:
    st.query_params.pop("do", None)


def _relinked(video_id: int, path: str) -> None:
    outcome = run_command(settings(), "relink", str(video_id), "--", path)
    if outcome.is_good:
        _close_relink()
        _notify(f"File located: {path}")
    else:
        _notify(outcome.error, is_good=False)
