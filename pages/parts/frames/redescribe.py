"""Re-describe a frame on request: a background job whose state is shown beside the frame, in every tab."""

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from db.gallery import CallRow
from db.queries import FrameRow, VideoRow
from enrich.errors import EveryFrameError
from enrich.jobs.jobs import Job, jobs, start_job
from pages.parts.inquiry import follow, inquiries
from pages.parts.models.installed import models_in
from pages.parts.plain import plain, shown
from pages.parts.session import live, settings

KIND = "describe"
REFRESH = "2s"
SHOW_RESULT_FOR = timedelta(minutes=30)
FRESH_SECONDS = 60.0  # of the list of models
PATIENCE_SECONDS = 0.7  # usually enough for Ollama to respond, so that the form is complete when it appears
INSTRUCTION_CHARACTERS = 500


def draw_redescribe_panel(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    """Draw the form that starts a job, and the state of the latest job for this frame."""
    panel = st.expander("Re-describe this frame", key="redescribe", on_change="rerun")
    with panel:
        if is_open(panel):
            _draw_form(video, frame, calls)
    job = latest_job(frame.id)
    if job is not None and (job.is_running or datetime.now(UTC) - job.started_at < SHOW_RESULT_FOR):
        _draw_live_state(frame.id, is_live=job.is_running)


def is_open(panel: Any) -> bool:
    """Whether the panel is open; the installed models are listed only then."""
    return bool(panel.open)


def latest_job(frame_id: int) -> Job | None:
    """The latest job for a frame, None if there was none."""
    return next((job for job in jobs(settings(), KIND) if _option(job, "--id") == str(frame_id)), None)


def _draw_form(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    used = [call.model for call in calls if call.describer == "ollama"]
    answer = inquiries().ask(settings(), "models", fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS)
    outcome = answer.outcome
    if outcome is None:
        follow(settings(), "models")
    installed = models_in(outcome.data or []) if outcome is not None and outcome.is_good else []
    models = list(dict.fromkeys([settings().model, *used, *(model.name for model in installed if model.sees)]))
    st.selectbox("Model", models, key="redescribe-model", accept_new_options=True, help="A model installed in Ollama.")
    st.text_input(
        "Extra instructions (optional)",
        key="redescribe-instructions",
        max_chars=INSTRUCTION_CHARACTERS,
        placeholder="Count the guests at the table",
        help="Added to the usual prompt.",
    )
    st.button("Re-describe", key="redescribe-start", on_click=_start, args=(video.id, frame.id))
    st.caption("Replaces the model's current description. Your own corrections are kept.")


def _draw_live_state(frame_id: int, *, is_live: bool) -> None:
    """Draw the state of the latest job, refreshed while it runs; the whole page is redrawn when it ends."""

    @live(run_every=REFRESH if is_live else None)
    def state() -> None:
        job = latest_job(frame_id)
        if job is None:
            return
        if is_live and not job.is_running:
            st.rerun()
        _draw_state(job)

    state()


def _draw_state(job: Job) -> None:
    model = plain(_option(job, "--model") or settings().model)
    if job.is_running:
        st.info(f"{model} is describing this frame. You can keep working.")
    elif job.exit_code == 0 and job.lines:
        seconds = job.lines[-1].get("seconds")
        duration = f" in {float(seconds):.1f} s" if isinstance(seconds, int | float) else ""
        st.success(f"{model} re-described this frame{duration}.")
    else:
        st.error(f"{model} could not describe this frame:")
        st.text(shown(job.error or "no reason was given"))


def _start(video_id: int, frame_id: int) -> None:
    words = ["describe", str(video_id), "--id", str(frame_id)]
    if model := str(st.session_state.get("redescribe-model") or "").strip():
        words.append(f"--model={model}")
    if instructions := str(st.session_state.get("redescribe-instructions") or "").strip():
        words.append(f"--ask={instructions}")
    try:
        start_job(settings(), KIND, *words)
    except EveryFrameError as error:
        st.toast(plain(error))


def _option(job: Job, name: str) -> str | None:
    """The value of an option of the job's command, as `--name value` or `--name=value`."""
    for word, following in zip(job.words, [*job.words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
