"""Adding videos: choosing them, which frames to keep, an estimate, and the progress and result of the add jobs.

Estimates and additions are jobs: they continue when the tab is closed, and every tab shows them. A tab itself holds
only the selection that has not been added yet.
"""

from pathlib import Path
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs.jobs import Job, delete_job, jobs, start_job, stop_job_in_background
from enrich.settings import Settings
from enrich.wording import format_bytes, format_count, format_duration, markdown_text, printable
from pages.parts.library import browser
from pages.parts.library.browser import browse
from pages.parts.library.sampling import choose_sampling
from pages.parts.library.upload import draw_upload
from pages.parts.session import live, settings
from pages.parts.web import uploads

REFRESH = "1s"
MAX_PROBLEMS = 8  # that are listed
OUTCOMES = {"added": "added", "known": "already in the library", "moved": "moved, path updated"}
ESTIMATE, ADD = "estimate", "add"  # kinds of jobs
SOURCES = ("Folders", "Path", "Upload")
KNOWN_UPLOADS = "known-uploads"  # session state: paths of the uploads that existed when the page was drawn
CONTEXT_CHARACTERS = 2000


def draw_add_jobs(registered: frozenset[str]) -> None:
    """The progress of running add jobs, and the results of finished ones until they are dismissed."""
    now = settings()
    for job in jobs(now, ADD):
        if job.is_running:
            _progress(job.id)
            st.button(
                "Stop adding",
                key=f"stop-{job.id}",
                on_click=stop_job_in_background,
                args=(now, job.id),
                type="tertiary",
            )
            continue
        _discard_failed_uploads(now, job, registered)
        with st.container(border=True):
            _draw_result(job)
            st.button("Dismiss", key=f"dismiss-{job.id}", on_click=_dismiss, args=(now, job.id), type="tertiary")


@live(run_every=REFRESH)
def _progress(job_id: str) -> None:
    job = next((job for job in jobs(settings(), ADD) if job.id == job_id), None)
    if job is None or not job.is_running:
        st.rerun()
    done = _done(job)
    total = int(job.lines[0].get("total") or 0) if job.lines else 0
    share = min(1.0, len(done) / total) if total else 0.0
    name = f": {markdown_text(Path(str(done[-1].get('path'))).name, 60)}" if done else ""
    st.progress(share, f"Adding videos: {len(done):,} of {total:,} files{name}")
    if job.stop_error:
        st.error(markdown_text(f"Stop failed: {job.stop_error}"))


def _draw_result(job: Job) -> None:
    done = _done(job)
    counts = {outcome: sum(line.get("outcome") == outcome for line in done) for outcome in (*OUTCOMES, "failed")}
    parts = [
        f"{format_count(counts[outcome], 'video')} {text}" for outcome, text in OUTCOMES.items() if counts[outcome]
    ]
    if parts:
        st.success(", ".join(parts) + ".")
    if notes := [f"{line.get('title')}: {line['note']}" for line in done if line.get("note")]:
        st.text(printable("\n".join(notes[:MAX_PROBLEMS])))
        if len(notes) > MAX_PROBLEMS:
            st.caption(f"and {len(notes) - MAX_PROBLEMS:,} more")
    failed = [line for line in done if line.get("outcome") == "failed"]
    if failed:
        st.warning(f"{format_count(len(failed), 'video')} could not be added:")
        st.text(printable("\n".join(str(line.get("error")) for line in failed[:MAX_PROBLEMS])))
        if len(failed) > MAX_PROBLEMS:
            st.caption(f"and {len(failed) - MAX_PROBLEMS:,} more")
    if not parts and not failed:
        st.error("No videos were added:" if job.error else "No videos found.")
        if job.error:
            st.text(printable(job.error))
    elif job.exit_code is None:
        st.warning("Adding was stopped before it finished. Add the same folder again to continue.")
    elif counts["added"]:
        st.caption("They are described while the worker runs. Start it on the Overview page.")


def _dismiss(now: Settings, job_id: str) -> None:
    delete_job(now, job_id)


def _discard_failed_uploads(now: Settings, job: Job, registered: frozenset[str]) -> None:
    """Delete uploads that are not videos; the result shows why they failed."""
    for line in _done(job):
        if line.get("outcome") == "failed":
            uploads.discard(now, str(line.get("path")), registered)


def _done(job: Job) -> list[dict[str, Any]]:
    return [line for line in job.lines if "outcome" in line]


def draw_add_form(registered: frozenset[str]) -> None:
    """The selection, its options, the estimate, and the button that adds; `registered`: paths in the library."""
    now = settings()
    named = st.query_params.get("from", "").capitalize()
    st.session_state.setdefault("source", named if named in SOURCES else SOURCES[0])
    source = st.segmented_control("Add from", SOURCES, key="source", required=True, on_change=_set_address)
    with st.container(border=True):
        match source:
            case "Path":
                _draw_path_form()
            case "Upload":
                st.session_state[KNOWN_UPLOADS] = [upload.path for upload in uploads.waiting(now, registered)]
                draw_upload(uploads.free_bytes(now), on_done=_select_uploads)
            case _:
                browse("add", browser.toggle, marked=browser.paths(), on_folder=browser.select)
    _draw_uploads(now, registered)
    st.subheader("Selected")
    entries = browser.selected()
    if not entries:
        st.text("Nothing selected yet. Choose videos or a folder above.")
        return
    for entry in entries:
        _draw_selected(entry)
    sampling = choose_sampling(now.likeness)
    st.text_area(
        "Context",
        key="context",
        max_chars=CONTEXT_CHARACTERS,
        placeholder="Wedding of Ana and Tom in a garden, June 2019",
        help="Sent to the model with every frame: who, where and when, which an image alone does not show.",
    )
    words = [f"--sampling={sampling}"]
    paths = [entry.path for entry in entries]
    estimate_words = (ESTIMATE, *words, "--", *paths)
    estimate = _draw_estimate(now, estimate_words)
    if estimate is None:
        return
    if any(entry.title for entry in entries):
        words += [f"--title={entry.title}" for entry in entries]
    if context := str(st.session_state.get("context", "")).strip():
        words.append(f"--context={context}")
    with st.container(horizontal=True):
        if count := _videos(estimate):
            st.button(
                f"Add {format_count(count, 'video')} to the library",
                type="primary",
                key="add",
                on_click=_start,
                args=(ADD, (ADD, "--lines", *words, "--", *paths)),
            )
        st.button("Refresh estimate", type="tertiary", key="again", on_click=_start, args=(ESTIMATE, estimate_words))


def _set_address() -> None:
    st.query_params.from_dict({"do": "add", "from": str(st.session_state["source"]).lower()})


def _draw_path_form() -> None:
    with st.form("path-form", border=False, clear_on_submit=False):
        st.text_input("Path to a video or folder", key="path", placeholder="/media/camera/DCIM")
        st.form_submit_button("Select", on_click=_select_path)
    if problem := st.session_state.get("path-problem"):
        st.error(markdown_text(problem))


def _select_path() -> None:
    st.session_state["path-problem"] = ""
    try:
        browser.select(browser.path_from(st.session_state["path"]))
    except browser.NoSuchPathError as error:
        st.session_state["path-problem"] = str(error)
    else:
        st.session_state["path"] = ""


def _select_uploads() -> None:
    """Select the uploads that have finished since the page was drawn."""
    for upload in uploads.waiting(settings(), st.session_state.get(KNOWN_UPLOADS, [])):
        browser.select(upload.path, title=upload.title)


def _draw_uploads(now: Settings, registered: frozenset[str]) -> None:
    """Uploads that have not been added to the library, from any tab or user."""
    waiting = [upload for upload in uploads.waiting(now, registered) if upload.path not in browser.paths()]
    if not waiting:
        return
    st.subheader("Uploaded, not added yet")
    for upload in waiting:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{markdown_text(upload.title, 80)} · {format_bytes(upload.size_bytes)}", width="content")
            st.button(
                "Select",
                key=f"inbox-{upload.path}",
                on_click=browser.select,
                args=(upload.path,),
                kwargs={"title": upload.title},
                help=f"Select {markdown_text(upload.title, 80)}",
            )
            st.button(
                "Delete",
                key=f"delete-{upload.path}",
                on_click=uploads.discard,
                args=(now, upload.path, registered),
                type="tertiary",
                help=f"Delete the uploaded copy of {markdown_text(upload.title, 80)}",
            )


def _draw_selected(entry: browser.SelectedPath) -> None:
    about = "folder and subfolders" if entry.is_folder else format_bytes(entry.size_bytes or 0)
    name = entry.title or entry.path
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{markdown_text(name)} · {about}", width="content")
        st.button(
            "Remove from selection",
            key=f"deselect-{entry.path}",
            on_click=browser.deselect,
            args=(entry.path,),
            type="tertiary",
            help=f"Remove {markdown_text(name, 80)} from the selection",
        )


def _draw_estimate(now: Settings, words: tuple[str, ...]) -> Job | None:
    """The estimate for the selection: a button, a note while it runs, or the result. None until there is a result."""
    job = _job(now, words)
    if job is None:
        st.button("Estimate time and space", type="primary", key="estimate", on_click=_start, args=(ESTIMATE, words))
        st.caption("Estimates frames, time and disk space. Nothing is added yet.")
        return None
    if job.is_running:
        _wait_for_estimate(words)
        return None
    _draw_figures(now, job)
    return job


@live(run_every=REFRESH)
def _wait_for_estimate(words: tuple[str, ...]) -> None:
    job = _job(settings(), words)
    if job is None or not job.is_running:
        st.rerun()
    st.info("Reading the videos. A folder with hundreds takes a minute or two.")


def _draw_figures(now: Settings, job: Job) -> None:
    data = job.lines[-1] if job.lines else {}
    count = int(data.get("videos") or 0)
    if count:
        kept, source = int(data.get("kept_frames") or 0), int(data.get("source_frames") or 0)
        rough = "" if data.get("is_learnt") else " (rough estimate)"
        seconds, disk = data.get("seconds"), float(data.get("disk_bytes") or 0)
        model = markdown_text(data.get("model") or now.model, 60)
        columns = st.columns(4)
        columns[0].metric("Videos", f"{count:,}")
        columns[1].metric(
            "Frames to describe", f"about {kept:,}", help=f"Of {format_count(source, 'source frame')}{rough}"
        )
        columns[2].metric(
            "Time", format_duration(seconds), help=f"To describe them with {model}, as timed on this computer"
        )
        columns[3].metric("Disk space", f"about {format_bytes(disk)}", help="For the frames. Videos are not copied")
        if seconds is None:
            st.caption(f"{model} has not been timed on this computer yet. The time shows after its first few frames.")
        free = uploads.free_bytes(now)
        if disk > free:
            st.warning(f"Only {format_bytes(free)} of disk space is available. Free some space or keep fewer frames.")
    _draw_problems(job.error)
    if not count and not job.error:
        st.warning("No videos found.")


def _draw_problems(error: str) -> None:
    """The files that cannot be added: the estimate's error output, one line per file."""
    lines = [line for line in error.splitlines() if line.strip()]
    if not lines:
        return
    st.warning(f"{format_count(len(lines), 'file')} cannot be added:")
    st.text(printable("\n".join(lines[:MAX_PROBLEMS])))
    if len(lines) > MAX_PROBLEMS:
        st.caption(f"and {len(lines) - MAX_PROBLEMS:,} more")


def _job(now: Settings, words: tuple[str, ...]) -> Job | None:
    """The newest job with exactly these words."""
    return next((job for job in jobs(now, words[0]) if job.words == words), None)


def _videos(job: Job) -> int:
    return int(job.lines[-1].get("videos") or 0) if job.lines else 0


def _start(kind: str, words: tuple[str, ...]) -> None:
    try:
        start_job(settings(), kind, *words)
    except EveryFrameError as error:
        st.toast(markdown_text(error))
        return
    if kind == ADD:
        for job in jobs(settings(), ADD):  # earlier results have been seen
            delete_job(settings(), job.id)
        browser.deselect_all()
        st.session_state["context"] = ""
        st.query_params.clear()  # back to the library, which shows the progress
