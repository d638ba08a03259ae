"""Adding films: where they come from, how they are looked at, what that will take, and then the adding itself.

Estimates and additions are jobs of the command line: every tab sees them, and they go on without one. What a tab holds
by itself is only what somebody has chosen and not added yet.

What the adding that was begun has come to: its progress while it runs, then its sum, in every tab.
"""

from pathlib import Path
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs.jobs import Job, forget_job, jobs, start_job, stop_job
from enrich.settings import Settings
from enrich.wording import counted, size, span
from pages.parts.library import browser
from pages.parts.library.browser import browse
from pages.parts.library.sampling import choose
from pages.parts.library.upload import upload_face
from pages.parts.plain import plain, shown
from pages.parts.session import settings
from pages.parts.web import uploads

REFRESH = "1s"
SHOWN_PROBLEMS = 8
SAID = {"added": "added", "known": "in the library already", "moved": "found again at a new place"}
ESTIMATE, ADD = "estimate", "add"  # kinds of jobs
SOURCES = ("Folders", "Path", "Upload")
SEEN = "uploads-seen"  # paths of uploads that were there when the page was drawn
LONGEST_CONTEXT = 2000


def additions(registered: frozenset[str]) -> None:
    """Draw the jobs that add films, until somebody puts their sums away."""
    now = settings()
    for job in jobs(now, ADD):
        if job.is_running:
            _watch(job.id)
            st.button("Stop adding", key=f"stop-{job.id}", on_click=_stop, args=(now, job.id), type="tertiary")
            continue
        _clear(now, job, registered)
        with st.container(border=True):
            _say(job)
            st.button("Put this away", key=f"away-{job.id}", on_click=_forget, args=(now, job.id), type="tertiary")


@st.fragment(run_every=REFRESH)
def _watch(job_id: str) -> None:
    job = next((job for job in jobs(settings(), ADD) if job.id == job_id), None)
    if job is None or not job.is_running:
        st.rerun()
    done = _done(job)
    total = int(job.lines[0].get("total") or 0) if job.lines else 0
    share = min(1.0, len(done) / total) if total else 0.0
    name = f": {plain(Path(str(done[-1].get('path'))).name, 60)}" if done else ""
    st.progress(share, f"Adding films, {len(done):,} of {total:,} files looked at{name}")


def _say(job: Job) -> None:
    done = _done(job)
    counts = {outcome: sum(line.get("outcome") == outcome for line in done) for outcome in (*SAID, "failed")}
    parts = [f"{counted(counts[outcome], 'film')} {words}" for outcome, words in SAID.items() if counts[outcome]]
    if parts:
        st.success(", ".join(parts) + ".")
    bad = [line for line in done if line.get("outcome") == "failed"]
    if bad:
        st.warning(f"{counted(len(bad), 'film')} could not be added:")
        st.text(shown("\n".join(str(line.get("error")) for line in bad[:SHOWN_PROBLEMS])))
        if len(bad) > SHOWN_PROBLEMS:
            st.caption(f"and {len(bad) - SHOWN_PROBLEMS:,} more")
    if not parts and not bad:
        st.error("No film was added:" if job.error else "There was no film in it.")
        if job.error:
            st.text(shown(job.error))
    elif job.exit_code is None:
        st.warning("It was stopped before the end. Add the same folder again to go on.")
    elif counts["added"]:
        st.caption("They are described as soon as the worker runs: start it on the Overview page.")


def _stop(now: Settings, job_id: str) -> None:
    try:
        stop_job(now, job_id)
    except EveryFrameError as error:
        st.toast(plain(error))


def _forget(now: Settings, job_id: str) -> None:
    forget_job(now, job_id)


def _clear(now: Settings, job: Job, registered: frozenset[str]) -> None:
    """Delete uploads that turned out to be no films; the reason is said beside."""
    for line in _done(job):
        if line.get("outcome") == "failed":
            uploads.discard(now, str(line.get("path")), registered)


def _done(job: Job) -> list[dict[str, Any]]:
    return [line for line in job.lines if "outcome" in line]


def add_part(registered: frozenset[str]) -> None:
    """Draw it all; `registered`: the paths of the library's videos."""
    now = settings()
    said = st.query_params.get("from", "").capitalize()
    st.session_state.setdefault("source", said if said in SOURCES else SOURCES[0])
    source = st.segmented_control("Where the films are", SOURCES, key="source", required=True, on_change=_go)
    with st.container(border=True):
        match source:
            case "Path":
                _path()
            case "Upload":
                st.session_state[SEEN] = [upload.path for upload in uploads.waiting(now, registered)]
                upload_face(uploads.free_bytes(now), on_done=_choose_uploads)
            case _:
                browse("add", browser.toggle, marked=browser.paths(), on_folder=browser.choose)
    _inbox(now, registered)
    st.subheader("Chosen")
    entries = browser.chosen()
    if not entries:
        st.text("Nothing yet. Choose films or a folder above.")
        return
    for entry in entries:
        _entry(entry)
    sampling = choose(now.likeness)
    st.text_area(
        "What the films are about",
        key="context",
        max_chars=LONGEST_CONTEXT,
        placeholder="Wedding of Ana and Tom in a garden, June 2019",
        help="The model reads it with every picture. Who, where, when: what a picture alone cannot say.",
    )
    words = [f"--sampling={sampling.text}"]
    paths = [entry.path for entry in entries]
    asked = (ESTIMATE, *words, "--", *paths)
    estimate = _estimate(now, asked)
    if estimate is None:
        return
    if any(entry.title for entry in entries):
        words += [f"--title={entry.title}" for entry in entries]
    if context := str(st.session_state.get("context", "")).strip():
        words.append(f"--context={context}")
    with st.container(horizontal=True):
        if count := _videos(estimate):
            st.button(
                f"Add {counted(count, 'film')} to the library",
                type="primary",
                key="add",
                on_click=_begin,
                args=(ADD, (ADD, "--lines", *words, "--", *paths)),
            )
        st.button("Look again", type="tertiary", key="again", on_click=_begin, args=(ESTIMATE, asked))


def _go() -> None:
    st.query_params.from_dict({"do": "add", "from": str(st.session_state["source"]).lower()})


def _path() -> None:
    with st.form("path-form", border=False, clear_on_submit=False):
        st.text_input("Path of a film or a folder", key="path", placeholder="/media/camera/DCIM")
        st.form_submit_button("Choose", on_click=_choose_path)
    if problem := st.session_state.get("path-problem"):
        st.error(plain(problem))


def _choose_path() -> None:
    st.session_state["path-problem"] = ""
    try:
        browser.choose(browser.path_from(st.session_state["path"]))
    except browser.NoSuchPathError as error:
        st.session_state["path-problem"] = str(error)
    else:
        st.session_state["path"] = ""


def _choose_uploads() -> None:
    """Choose what has come since the page was drawn."""
    for upload in uploads.waiting(settings(), st.session_state.get(SEEN, [])):
        browser.choose(upload.path, title=upload.title)


def _inbox(now: Settings, registered: frozenset[str]) -> None:
    """Uploads that are not in the library, whoever uploaded them."""
    waiting = [upload for upload in uploads.waiting(now, registered) if upload.path not in browser.paths()]
    if not waiting:
        return
    st.subheader("Uploaded, not in the library")
    for upload in waiting:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{plain(upload.title, 80)} · {size(upload.size_bytes)}", width="content")
            st.button(
                "Choose",
                key=f"inbox-{upload.path}",
                on_click=browser.choose,
                args=(upload.path,),
                kwargs={"title": upload.title},
                help=f"Choose {plain(upload.title, 80)}",
            )
            st.button(
                "Delete",
                key=f"delete-{upload.path}",
                on_click=uploads.discard,
                args=(now, upload.path, registered),
                type="tertiary",
                help=f"Delete the uploaded copy of {plain(upload.title, 80)}",
            )


def _entry(entry: browser.SelectedPath) -> None:
    about = "folder, with all in it" if entry.is_folder else size(entry.size_bytes or 0)
    name = entry.title or entry.path
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{plain(name)} · {about}", width="content")
        st.button(
            "Put back",
            key=f"drop-{entry.path}",
            on_click=browser.drop,
            args=(entry.path,),
            type="tertiary",
            help=f"Do not add {plain(name, 80)}",
        )


def _estimate(now: Settings, words: tuple[str, ...]) -> Job | None:
    """What the chosen films will take: to be asked for, being worked out, or said. None until it is said."""
    job = _job(now, words)
    if job is None:
        st.button("See what it takes", type="primary", key="see", on_click=_begin, args=(ESTIMATE, words))
        st.caption("Says how many pictures, how much time and how much disk. Nothing is added yet.")
        return None
    if job.is_running:
        _watch_estimate(words)
        return None
    _say_estimate(now, job)
    return job


@st.fragment(run_every=REFRESH)
def _watch_estimate(words: tuple[str, ...]) -> None:
    job = _job(settings(), words)
    if job is None or not job.is_running:
        st.rerun()
    st.info("Looking into the films. A folder of hundreds takes a minute or two.")


def _say_estimate(now: Settings, job: Job) -> None:
    said = job.lines[-1] if job.lines else {}
    count = int(said.get("videos") or 0)
    if count:
        kept, source = int(said.get("kept_frames") or 0), int(said.get("source_frames") or 0)
        guess = "" if said.get("is_learnt") else ", a first guess"
        seconds, disk = said.get("seconds"), float(said.get("disk_bytes") or 0)
        model = plain(said.get("model") or now.model, 60)
        columns = st.columns(4)
        columns[0].metric("Films", f"{count:,}")
        columns[1].metric("Pictures to describe", f"about {kept:,}", help=f"Of {counted(source, 'frame')}{guess}.")
        columns[2].metric("Time", span(seconds), help=f"For describing them with {model}, measured on this machine.")
        columns[3].metric("Disk", f"about {size(disk)}", help="For the pictures. The films stay where they are.")
        if seconds is None:
            st.caption(f"How long {model} takes on this machine is known after its first few pictures.")
        free = uploads.free_bytes(now)
        if disk > free:
            st.warning(f"Only {size(free)} are free beside the reserve: free some space or choose fewer frames.")
    _say_problems("cannot be used", job.error)
    if not count and not job.error:
        st.warning("There is no film in it.")


def _say_problems(what: str, error: str) -> None:
    """Errors of the command line, one a line."""
    lines = [line for line in error.splitlines() if line.strip()]
    if not lines:
        return
    st.warning(f"{counted(len(lines), 'film')} {what}:")
    st.text(shown("\n".join(lines[:SHOWN_PROBLEMS])))
    if len(lines) > SHOWN_PROBLEMS:
        st.caption(f"and {len(lines) - SHOWN_PROBLEMS:,} more")


def _job(now: Settings, words: tuple[str, ...]) -> Job | None:
    """The newest job of exactly these words."""
    return next((job for job in jobs(now, words[0]) if job.words == words), None)


def _videos(job: Job) -> int:
    return int(job.lines[-1].get("videos") or 0) if job.lines else 0


def _begin(kind: str, words: tuple[str, ...]) -> None:
    try:
        start_job(settings(), kind, *words)
    except EveryFrameError as error:
        st.toast(plain(error))
        return
    if kind == ADD:
        for job in jobs(settings(), ADD):  # their sums have been seen
            forget_job(settings(), job.id)
        browser.drop_all()
        st.session_state["context"] = ""
        st.query_params.clear()  # back to the library, where it is seen
