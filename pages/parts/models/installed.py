"""The models on the Ollama servers: what is known of each, choosing one, removing one, and downloading others.

The list comes from `everyframe models`. A choice is saved in the settings file; a removal is confirmed in a dialog.
Downloads are jobs, which every tab shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.command import run_command
from enrich.jobs.jobs import Job
from enrich.settings import SUGGESTED_GB, Settings, is_same_model, source_variable
from enrich.settings_file import set_setting
from enrich.wording import format_bytes, markdown_text, one_line
from pages.parts.inquiry import inquiries
from pages.parts.readiness import ERROR_CHARACTERS, KIND, PULL_FAILED, REFRESH, pull, pull_progress
from pages.parts.session import live, settings

NAME_CHARACTERS = 60
REMOVE_SECONDS = 60.0
_CHOSEN, _CHOICE_FAILED = "model_chosen", "model_choice_failed"  # keys of the session state
_TO_REMOVE, _REMOVED, _REMOVAL_FAILED = "model_to_remove", "model_removed", "model_removal_failed"


@dataclass(frozen=True, slots=True)
class Model:
    """An installed model; `seconds` per frame on this computer, None before its first requests."""

    name: str
    size_bytes: int
    parameter_size: str
    sees: bool
    is_cloud: bool
    is_loaded: bool
    fits_gpu: bool | None
    seconds: float | None
    hosts: tuple[str, ...]


def draw_installed(settings: Settings, models: Sequence[Model]) -> None:
    """One row per vision model; text-only ones are only listed."""
    fixed = fixed_by()
    if fixed is not None:
        st.info(
            f"The model is set to {markdown_text(settings.model)} by the environment variable {markdown_text(fixed)}."
        )
    for model in (model for model in models if model.sees):
        _row(settings, model, is_fixed=fixed is not None)
    if text_only := [markdown_text(model.name, NAME_CHARACTERS) for model in models if not model.sees]:
        st.caption(f"Also installed, but text-only: {', '.join(text_only)}")


def _row(settings: Settings, model: Model, *, is_fixed: bool) -> None:
    is_chosen = is_same_model(model.name, settings.model)
    is_refused = model.is_cloud and not settings.allow_cloud
    with st.container(border=True, key=f"model-{model.name}"):
        details, buttons = st.columns([3, 1], vertical_alignment="center")
        with details:
            st.markdown(f"**{markdown_text(model.name, NAME_CHARACTERS)}**{' · selected' if is_chosen else ''}")
            st.caption(" · ".join(markdown_text(part) for part in (model_size(model), memory(model), speed(model))))
            if len(settings.ollama_hosts) > 1:
                st.caption(f"On {markdown_text(', '.join(model.hosts))}")
            if model.is_cloud:
                refused = " Your settings do not allow that." if is_refused else ""
                st.warning(f"Runs in the cloud: your images would leave this computer.{refused}")
        with buttons, st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Remove", key=f"remove-{model.name}", type="tertiary", on_click=ask_to_remove, args=[model])
            st.button(
                "Selected" if is_chosen else "Use this model",
                key=f"choose-{model.name}",
                disabled=is_chosen or is_refused or is_fixed,
                on_click=choose,
                args=[model.name],
            )


def choose(name: str) -> None:
    """Describe with this model from the next start of the worker. For callbacks."""
    st.session_state.pop(_CHOSEN, None)
    try:
        set_setting("model", name)
    except EveryFrameError as error:
        st.session_state[_CHOICE_FAILED] = str(error)
    else:
        st.session_state[_CHOSEN] = name
        inquiries().forget()


def draw_choice() -> None:
    """The result of the last choice, shown once."""
    if failed := st.session_state.pop(_CHOICE_FAILED, None):
        st.error(f"The model was not changed: {markdown_text(failed)}")
    if name := st.session_state.pop(_CHOSEN, None):
        st.success(
            f"{markdown_text(name)} is used from the next start of the worker. "
            "If the worker is running, stop and start it on the Overview page."
        )


def fixed_by() -> str | None:
    """The environment variable that sets the model, None if it can be chosen here."""
    return source_variable("model")


def ask_to_remove(model: Model) -> None:
    """Open the dialog that confirms a removal. For callbacks."""
    st.session_state[_TO_REMOVE] = model
    st.session_state.pop(_REMOVAL_FAILED, None)


def draw_removal() -> None:
    """The dialog while it is open, and once, what was removed."""
    if name := st.session_state.pop(_REMOVED, None):
        st.success(f"Removed: {markdown_text(name)}.")
    model = st.session_state.get(_TO_REMOVE)
    if isinstance(model, Model):
        st.dialog("Remove this model?", on_dismiss=_close)(_draw)(model)


def _draw(model: Model) -> None:
    if _TO_REMOVE not in st.session_state:
        st.rerun()
    hosts = markdown_text(" and ".join(model.hosts))
    st.markdown(f"**{markdown_text(model.name)}** will be deleted from {hosts} ({format_bytes(model.size_bytes)}).")
    if is_same_model(model.name, settings().model):
        st.warning("This model is selected: without it, no more frames are described.")
    st.markdown("Existing descriptions are kept. You can download the model again later.")
    if failed := st.session_state.get(_REMOVAL_FAILED):
        st.error(f"The model was not removed: {markdown_text(failed)}")
    with st.container(horizontal=True):
        st.button("Remove model", type="primary", on_click=_remove, args=[model])
        st.button("Cancel", on_click=_close)


def _remove(model: Model) -> None:
    outcome = run_command(settings(), "models", "remove", model.name, "--yes", seconds=REMOVE_SECONDS)
    inquiries().forget()
    if outcome.is_good:
        st.session_state[_REMOVED] = model.name
        _close()
    else:
        st.session_state[_REMOVAL_FAILED] = outcome.error


def _close() -> None:
    st.session_state.pop(_TO_REMOVE, None)


def models_in(rows: Sequence[dict[str, Any]]) -> list[Model]:
    """The models in the output of `everyframe models`; one that is on several servers is one model."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(str(row["name"]), []).append(row)
    return [_model(name, same) for name, same in by_name.items()]


def memory(model: Model) -> str:
    """Whether the model is loaded, and whether it fits the GPU."""
    if not model.is_loaded:
        return "not loaded"
    return {
        True: "loaded, fits in GPU memory",
        False: "loaded, larger than GPU memory (slow)",
        None: "loaded, runs on the CPU (no GPU)",
    }[model.fits_gpu]


def speed(model: Model) -> str:
    """The time per frame on this computer."""
    return "not timed yet" if model.seconds is None else f"{number(model.seconds)} s per frame"


def number(seconds: float) -> str:
    """Seconds, rounded to about two digits: 12, 2.4, 0.03."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}" if seconds >= 0.1 else f"{seconds:.2f}"  # noqa: PLR2004


def model_size(model: Model) -> str:
    """Bytes on disk, and parameters if known."""
    return format_bytes(model.size_bytes) + (f", {model.parameter_size} parameters" if model.parameter_size else "")


def _model(name: str, rows: list[dict[str, Any]]) -> Model:
    first = rows[0]
    fits = [row["fits_gpu"] for row in rows if row["loaded"]]
    return Model(
        name=name,
        size_bytes=max(int(row["size_bytes"]) for row in rows),
        parameter_size=str(first["parameter_size"]),
        sees=all(row["sees"] for row in rows),
        is_cloud=any(row["is_cloud"] for row in rows),
        is_loaded=bool(fits),
        fits_gpu=False if False in fits else True if True in fits else None,
        seconds=first["seconds_per_frame"],
        hosts=tuple(str(row["host"]) for row in rows),
    )


MODELS_SITE = "https://ollama.com/search?c=vision"
_NAME = "download_name"


def draw_downloads(found: Settings, models: Sequence[Model]) -> None:
    """Running downloads, suggestions, and a field for any other name."""
    running = [job for job in jobs.jobs(found, KIND) if job.is_running]
    if running:
        live(run_every=REFRESH)(_progress)(tuple(job.id for job in running))
        for job in running:
            st.button(
                f"Cancel {markdown_text(_name(job), NAME_CHARACTERS)}",
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
                label = f"{markdown_text(name)} · {format_bytes(size_gb * 1e9)}"
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
        st.error(markdown_text(one_line(error, ERROR_CHARACTERS)))
    last = next(iter(found), None)
    if last is not None and last.has_failed and not any(is_same_model(model.name, _name(last)) for model in models):
        name = markdown_text(_name(last), NAME_CHARACTERS)
        st.error(f"Download of {name} failed: {markdown_text(one_line(last.error, ERROR_CHARACTERS))}")


def _progress(shown: tuple[str, ...]) -> None:
    by_id = {job.id: job for job in jobs.jobs(settings(), KIND)}
    if not all(job_id in by_id and by_id[job_id].is_running for job_id in shown):
        inquiries().forget()
        st.rerun()
    for job_id in shown:
        job = by_id[job_id]
        share, text = pull_progress(job)
        st.progress(share, f"{markdown_text(_name(job), NAME_CHARACTERS)}: {markdown_text(text)}")
        if job.stop_error:
            st.error(markdown_text(f"Cancel failed: {job.stop_error}"))


def _name(job: Job) -> str:
    return job.words[-1]
