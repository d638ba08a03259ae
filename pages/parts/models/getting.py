"""Downloading models: suggested ones, or any by name. Downloads are jobs, which every tab shows."""

from collections.abc import Iterable, Sequence

import streamlit as st

from enrich.jobs import jobs
from enrich.jobs.jobs import Job
from enrich.model_names import is_same_model
from enrich.settings import SUGGESTED_GB, Settings
from enrich.wording import format_bytes, one_line
from pages.parts.inquiry import inquiries
from pages.parts.models.installed import Model
from pages.parts.plain import plain
from pages.parts.readiness import ERROR_CHARACTERS, KIND, PULL_FAILED, REFRESH, pull, pull_progress
from pages.parts.session import live, settings

MODELS_SITE = "https://ollama.com/search?c=vision"
_NAME = "download_name"
NAME_CHARACTERS = 60


def draw_downloads(found: Settings, models: Sequence[Model]) -> None:
    """Running downloads, suggestions, and a field for any other name."""
    running = [job for job in jobs.jobs(found, KIND) if job.is_running]
    if running:
        live(run_every=REFRESH)(_progress)(tuple(job.id for job in running))
        for job in running:
            st.button(
                f"Cancel {plain(_name(job), NAME_CHARACTERS)}",
                key=f"cancel-{job.id}",
                type="tertiary",
                on_click=jobs.stop_job_in_background,
                args=[found, job.id],
            )
    _draw_failure(jobs.jobs(found, KIND), models)
    names = [*(model.name for model in models), *(_name(job) for job in running)]
    offered = [
        (name, size_gb) for name, size_gb in SUGGESTED_GB if not any(is_same_model(name, other) for other in names)
    ]
    if offered:
        st.caption("Vision models. Larger ones describe better but slower. Pick one smaller than your GPU memory.")
        with st.container(horizontal=True, key="suggested"):
            for name, size_gb in offered:
                label = f"{plain(name)} · {format_bytes(size_gb * 1e9)}"
                st.button(label, key=f"get-{name}", icon=":material/download:", on_click=pull, args=[name])
    with st.form("get", border=False):
        st.text_input("Other model (Ollama name)", key=_NAME, placeholder="llava:13b", max_chars=200)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button("Download", on_click=_pull_named)
            st.link_button("Browse vision models on ollama.com", MODELS_SITE, type="tertiary")


def _pull_named() -> None:
    if name := st.session_state[_NAME].strip():
        pull(name)


def _draw_failure(found: Iterable[Job], models: Sequence[Model]) -> None:
    """The error of the last download, unless the model has been installed since."""
    if error := st.session_state.get(PULL_FAILED):
        st.error(plain(one_line(error, ERROR_CHARACTERS)))
    last = next(iter(found), None)
    if last is not None and last.has_failed and not any(is_same_model(model.name, _name(last)) for model in models):
        name = plain(_name(last), NAME_CHARACTERS)
        st.error(f"Download of {name} failed: {plain(one_line(last.error, ERROR_CHARACTERS))}")


def _progress(shown: tuple[str, ...]) -> None:
    by_id = {job.id: job for job in jobs.jobs(settings(), KIND)}
    if not all(job_id in by_id and by_id[job_id].is_running for job_id in shown):
        inquiries().forget()
        st.rerun()
    for job_id in shown:
        job = by_id[job_id]
        share, text = pull_progress(job)
        st.progress(share, f"{plain(_name(job), NAME_CHARACTERS)}: {plain(text)}")
        if job.stop_error:
            st.error(plain(f"Cancel failed: {job.stop_error}"))


def _name(job: Job) -> str:
    return job.words[-1]
