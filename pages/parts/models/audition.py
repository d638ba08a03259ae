"""Comparing models: the user's own frames described by up to three models side by side, and a button to choose one.

A comparison (`everyframe audition`) is a job: it continues when the tab is closed, and every tab shows the same one.
Descriptions appear while it runs, the buttons when it has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.jobs import Job
from enrich.settings import Settings, is_same_model
from enrich.wording import format_count, format_duration, format_timestamp, markdown_text, one_line, printable
from pages.parts.gallery import frame_image
from pages.parts.inquiry import inquiries
from pages.parts.models.installed import Model, choose, fixed_by, number
from pages.parts.session import live, settings

KIND = "audition"
FRAMES = 12
MAX_MODELS = 3
REFRESH = "2s"
DAY_SECONDS = 86400
NAME_CHARACTERS = 40
TEXT_CHARACTERS = 1000
ERROR_CHARACTERS = 300
TAGS_CHARACTERS = 200
_MODELS, _FAILED = "audition_models", "audition_failed"  # keys of the session state


@dataclass(frozen=True, slots=True)
class AuditionProgress:
    """Results so far: takes (one model's description of one frame) by frame and model; verdicts by model."""

    models: tuple[str, ...]
    takes: dict[int, dict[str, dict[str, Any]]]
    verdicts: dict[str, dict[str, Any]]


def audition_progress(job: Job) -> AuditionProgress:
    """The results that a job has printed so far."""
    models = tuple(word for before, word in zip(job.words, job.words[1:], strict=False) if before == "--model")
    takes: dict[int, dict[str, dict[str, Any]]] = {}
    verdicts = {}
    for line in job.lines:
        if "frame_id" in line:
            takes.setdefault(int(line["frame_id"]), {})[str(line["model"])] = line
        elif "seconds_per_frame" in line:
            verdicts[str(line["model"])] = line
    return AuditionProgress(models, dict(sorted(takes.items())), verdicts)


def draw_comparison(found: Settings, models: Sequence[Model], *, has_frames: bool) -> None:
    """A form to start a comparison, and the last comparison."""
    job = next(iter(jobs.jobs(found, KIND)), None)
    is_running = job is not None and job.is_running
    names = [model.name for model in models if model.sees and (found.allow_cloud or not model.is_cloud)]
    st.markdown(
        f"Let up to {MAX_MODELS} models describe the same {FRAMES} frames of your own videos, and compare quality and "
        "speed. Existing descriptions are not changed."
    )
    if not has_frames:
        st.info("There are no frames yet. Add videos and press Start on the Overview page first.")
    elif names:
        with st.form("audition", border=False):
            st.multiselect(
                "Models",
                names,
                default=_first(names, found.model),
                max_selections=MAX_MODELS,
                key=_MODELS,
                format_func=printable,
                placeholder=f"Choose up to {MAX_MODELS}",
            )
            st.form_submit_button("Compare", disabled=is_running, on_click=_begin)
    with st.container():
        if failed := st.session_state.pop(_FAILED, None):
            st.error(markdown_text(failed))
        if job is not None and is_running:
            st.button("Stop comparing", on_click=jobs.stop_job_in_background, args=[found, job.id])
            live(run_every=REFRESH)(_live)(job.id)
    with st.container():
        if job is not None and not is_running:
            _draw_result(found, job)


def _draw_result(found: Settings, job: Job) -> None:
    result = audition_progress(job)
    if job.error and not any(verdict.get("error") for verdict in result.verdicts.values()):
        st.warning(f"The comparison did not finish: {markdown_text(one_line(job.error, ERROR_CHARACTERS))}")
    if not result.takes and not result.verdicts:
        return
    st.caption(f"Comparison of {job.started_at.astimezone():%d %B, %H:%M}")
    for name, column in zip(result.models, st.columns(len(result.models), border=True), strict=True):
        with column:
            _draw_verdict(found, name, result.verdicts.get(name))
    _draw_takes(result)


def _draw_verdict(found: Settings, name: str, verdict: dict[str, Any] | None) -> None:
    st.markdown(f"**{markdown_text(name, NAME_CHARACTERS)}**")
    if verdict is None or verdict["seconds_per_frame"] is None:
        st.markdown("Not timed")
    else:
        st.markdown(f"{number(verdict['seconds_per_frame'])} s per frame")
        whole = format_duration(verdict["days_for_library"] * DAY_SECONDS)
        st.markdown(f"{whole} for this library ({format_count(verdict['library_frames'], 'frame')})")
    if verdict is not None and verdict.get("error"):
        st.caption(markdown_text(one_line(verdict["error"], ERROR_CHARACTERS)))
    is_chosen = is_same_model(name, found.model)
    st.button(
        "In use" if is_chosen else "Use this model",
        key=f"audition-choose-{name}",
        type="secondary" if is_chosen else "primary",
        disabled=is_chosen or fixed_by() is not None,
        on_click=choose,
        args=[name],
    )


def _draw_takes(result: AuditionProgress) -> None:
    """One row per frame: its image, then each model's description."""
    for frame_id, takes in result.takes.items():
        timestamp = next(iter(takes.values()))["timestamp"]
        columns = st.columns([1, *[1] * len(result.models)])
        with columns[0]:
            frame_image(frame_id, f"Frame at {format_timestamp(timestamp)}, described by the models")
        for name, column in zip(result.models, columns[1:], strict=True):
            with column:
                _draw_take(name, takes.get(name))


def _draw_take(name: str, take: dict[str, Any] | None) -> None:
    if take is None:
        st.caption(f"{markdown_text(name, NAME_CHARACTERS)} · …")
        return
    seconds = "" if take["seconds"] is None else f" · {number(take['seconds'])} s"
    flagged = " · *flagged*" if take["warnings"] else ""
    st.caption(f"{markdown_text(name, NAME_CHARACTERS)}{seconds}{flagged}")
    st.text(printable(one_line(take["text"] or f"No description: {take['error']}", TEXT_CHARACTERS)))
    if take["tags"]:
        st.caption(markdown_text(", ".join(map(str, take["tags"])), TAGS_CHARACTERS))


def _live(job_id: str) -> None:
    job = next((job for job in jobs.jobs(settings(), KIND) if job.id == job_id), None)
    if job is None or not job.is_running:
        inquiries().forget()
        st.rerun()
    result = audition_progress(job)
    done, total = sum(map(len, result.takes.values())), FRAMES * len(result.models)
    st.progress(min(1.0, done / total), f"{done} of {total} descriptions")
    if job.stop_error:
        st.error(markdown_text(f"Stop failed: {job.stop_error}"))
    _draw_takes(result)


def _first(names: Sequence[str], model: str) -> list[str]:
    """The models preselected in the form: the one in use if installed, then others."""
    return sorted(names, key=lambda name: not is_same_model(name, model))[:MAX_MODELS]


def _begin() -> None:
    names = st.session_state[_MODELS]
    if not names:
        st.session_state[_FAILED] = "Choose at least one model."
        return
    words = [word for name in names for word in ("--model", name)]
    try:
        jobs.start_job(settings(), KIND, "audition", "--frames", str(FRAMES), *words)
    except EveryFrameError as error:
        st.session_state[_FAILED] = str(error)
