"""What the adding that was begun has come to: its progress while it runs, then its sum, in every tab."""

from pathlib import Path
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs.jobs import Job, forget_job, jobs, stop_job
from enrich.settings import Settings
from enrich.wording import counted
from pages.parts.library import inbox
from pages.parts.library.adding import ADD
from pages.parts.plain import plain, shown
from pages.parts.session import settings

REFRESH = "1s"
SHOWN_PROBLEMS = 8
SAID = {"added": "added", "known": "in the library already", "moved": "found again at a new place"}


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
            inbox.discard(now, str(line.get("path")), registered)


def _done(job: Job) -> list[dict[str, Any]]:
    return [line for line in job.lines if "outcome" in line]
