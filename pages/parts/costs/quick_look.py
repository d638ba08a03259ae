"""The quick look: choosing films for it, and how the last one goes, in every tab."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from db.costs import FilmCost
from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.jobs import Job
from enrich.settings import Settings
from enrich.wording import counted, dollars, first_line
from pages.parts.costs.consent import KIND, ask
from pages.parts.plain import plain, shown
from pages.parts.session import settings

EVERY = "2s"
NEWS = timedelta(hours=12)  # how a look went is told for so long
LONGEST_TITLE, LONGEST_STEP = 60, 160
_FILMS, _FAILED = "quick-films", "quick-stop-failed"


def draw_looking(found: Settings, films: Sequence[FilmCost]) -> None:
    """Choose films, ask for a quick look, and see how it goes."""
    titles = {film.video_id: film.title for film in films}
    without = [film.video_id for film in films if not film.quick.frames]
    with st.container(border=True):
        st.markdown("**A quick look** at the key frames of a film: first results in minutes, before the deep pass.")
        with st.form("quick", border=False):
            st.multiselect(
                "Films",
                list(titles),
                default=without[:1],
                key=_FILMS,
                format_func=lambda video_id: shown(first_line(titles.get(video_id, ""), LONGEST_TITLE)),
                placeholder="Choose films",
            )
            st.form_submit_button("See what it costs", on_click=_ask, args=(titles,))
        st.caption("Nothing is sent before you have seen the sum and agreed.")
        draw_last(found)


def draw_last(found: Settings, video_id: int | None = None) -> None:
    """How the last quick look goes or went: of any film, or of one."""
    job = last_job(found, video_id)
    if job is None or not (job.is_running or datetime.now(UTC) - job.started_at < NEWS):
        return
    with st.container():
        if failed := st.session_state.pop(_FAILED, None):
            st.error(plain(failed))
        if job.is_running:
            st.button("Stop the quick look", on_click=_stop, args=(job.id,), key=f"stop-{job.id}")
        st.fragment(_live, run_every=EVERY if job.is_running else None)(job.id, was_running=job.is_running)


def last_job(found: Settings, video_id: int | None = None) -> Job | None:
    """The newest quick look, None if there was none."""
    mine = [job for job in jobs.jobs(found, KIND) if video_id is None or str(video_id) in _ids(job)]
    return mine[0] if mine else None


def _ids(job: Job) -> list[str]:
    return [word for word in job.words[1:] if word.isdecimal()]


def _live(job_id: str, *, was_running: bool) -> None:
    job = next((job for job in jobs.jobs(settings(), KIND) if job.id == job_id), None)
    if job is None or (was_running and not job.is_running):
        st.rerun()
    when = f"{job.started_at.astimezone():%H:%M}"
    end: dict[str, Any] = next((line for line in reversed(job.lines) if line.get("step") == "done"), {})
    paid = f" for {dollars(float(end['usd']))}" if end.get("usd") else ""
    if job.is_running:
        st.progress(*_progress(job))
    elif job.exit_code == 0:
        st.success(plain(f"The quick look of {when} is done{paid}."))
    else:
        came = f"{counted(int(end['answered']), 'picture')} answered{paid}" if end.get("answered") else "No answer came"
        st.error(plain(f"The quick look of {when} did not come to its end. {came}."))
        st.text(shown(job.error or "It was stopped."))


def _progress(job: Job) -> tuple[float, str]:
    """How much is done, and what is being done, in words."""
    line = job.lines[-1] if job.lines else {}
    counts = next((line for line in reversed(job.lines) if line.get("step") == "asking"), None)
    share = 0.0 if counts is None else min(1.0, int(counts["done"]) / max(1, int(counts["pictures"])))
    if line.get("step") == "sent":
        return share, "Sent as a batch. The answers come within a day, mostly within an hour."
    if line.get("text"):
        return share, plain(first_line(str(line["text"]), LONGEST_STEP))
    return share, "Choosing the key frames"


def _ask(titles: dict[int, str]) -> None:
    if chosen := st.session_state[_FILMS]:
        ask([(video_id, titles[video_id]) for video_id in chosen])


def _stop(job_id: str) -> None:
    try:
        jobs.stop_job(settings(), job_id)
    except EveryFrameError as error:
        st.session_state[_FAILED] = str(error)
