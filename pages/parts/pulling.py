"""Getting a model: a job in the background, whose progress every tab shows."""

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.jobs import Job
from enrich.settings import Settings
from enrich.wording import first_line, size
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain
from pages.parts.session import settings

KIND = "pull"
EVERY = "1s"
LONGEST_STATUS = 60  # characters
TROUBLE = "trouble with the pull"


def last_pull(found: Settings, model: str) -> Job | None:
    """The last time that a model was to be got, None if that was never."""
    return next((job for job in jobs.jobs(found, KIND) if job.words[-1:] == (model,)), None)


def draw_pull(found: Settings, model: str) -> None:
    """A button that gets a model; while it is being got, how far that is, and a button that ends it."""
    job = last_pull(found, model)
    if job is not None and job.is_running:
        st.fragment(_progress, run_every=EVERY)(model)
        st.button("Cancel", key="pull-cancel", icon=":material/close:", on_click=cancel, args=[job.id])
        return
    failed = job.error if job is not None and job.exit_code != 0 else ""
    if sentence := st.session_state.get(TROUBLE) or failed:
        st.error(plain(f"The model could not be got: {first_line(sentence, 300)}"))
    st.button(
        f"Get {plain(model)}",
        key="pull",
        type="primary",
        icon=":material/download:",
        on_click=pull,
        args=[model],
        help="It goes on when this page is closed. Models have some gigabytes",
    )


def pull(model: str) -> None:
    """Begin to get a model."""
    st.session_state.pop(TROUBLE, None)
    try:
        jobs.start_job(settings(), KIND, "models", "pull", model)
    except EveryFrameError as error:
        st.session_state[TROUBLE] = str(error)


def cancel(job_id: str) -> None:
    """End a pull. What is downloaded stays with Ollama, and the next one goes on from there."""
    try:
        jobs.stop_job(settings(), job_id)
    except EveryFrameError as error:
        st.session_state[TROUBLE] = str(error)


def _progress(model: str) -> None:
    job = last_pull(settings(), model)
    if job is None or not job.is_running:
        inquiries().forget()
        st.rerun()
    line = job.lines[-1] if job.lines else {}
    total, completed = line.get("total") or 0, line.get("completed") or 0
    text = plain(line.get("status") or "Beginning", LONGEST_STATUS)
    if total:
        text = f"{text}: {size(completed)} of {size(total)}"
    st.progress(min(1.0, completed / total) if total else 0.0, text=text)
