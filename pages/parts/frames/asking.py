"""Asking a model anew about one frame: a job in the background, its state beside the frame, in every tab."""

from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from db.gallery import CallRow
from db.queries import FrameRow, VideoRow
from enrich.errors import EveryFrameError
from enrich.jobs.command import run_command
from enrich.jobs.jobs import Job, jobs, start_job
from pages.parts.plain import plain, shown
from pages.parts.session import settings

KIND = "describe"
REFRESH = "2s"
NEWS = timedelta(minutes=30)  # how a request went is told for so long
MODELS_SECONDS = 60  # for so long the list of installed models is taken as true
LIST_SECONDS = 20.0  # the limit of the command that lists them
LONGEST_REQUEST = 500


def ask_part(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    """Choose a model, add a request, ask; and how the asking goes."""
    panel = st.expander("Ask for a new description", key="ask", on_change="rerun")
    with panel:
        if is_open(panel):
            _choices(video, frame, calls)
    last = last_job(frame.id)
    if last is not None and (last.is_running or datetime.now(UTC) - last.started_at < NEWS):
        _state(frame.id, is_live=last.is_running)


def is_open(panel: Any) -> bool:
    """Whether the panel is open: what takes a while is only looked up then."""
    return bool(panel.open)


def last_job(frame_id: int) -> Job | None:
    """The newest request about a frame, None if there was none."""
    wanted = str(frame_id)
    return next((job for job in jobs(settings(), KIND) if _frame_of(job) == wanted), None)


def _choices(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    asked = [call.model for call in calls if call.describer == "ollama"]
    models = list(dict.fromkeys([settings().model, *asked, *installed_models(settings().ollama_hosts)]))
    st.selectbox("Model", models, key="ask-model", accept_new_options=True, help="One that is installed in Ollama.")
    st.text_input(
        "What it should look at",
        key="ask-request",
        max_chars=LONGEST_REQUEST,
        placeholder="Count the guests at the table",
        help="It is asked as usual, and this besides. May stay empty.",
    )
    st.button("Ask", key="ask-now", on_click=_ask, args=(video.id, frame.id))
    st.caption("The new text takes the place of the model's old one. What you wrote yourself stays.")


@st.cache_data(ttl=MODELS_SECONDS, show_spinner="Looking which models are installed")
def installed_models(hosts: tuple[str, ...]) -> list[str]:
    """The installed models that see; none if Ollama does not answer."""
    del hosts  # what is installed is theirs
    outcome = run_command(settings(), "models", seconds=LIST_SECONDS)
    listed = outcome.data if isinstance(outcome.data, list) else (outcome.data or {}).get("models", [])
    return [str(model["name"]) for model in listed if model.get("sees")]


def _state(frame_id: int, *, is_live: bool) -> None:
    """How the newest request goes: drawn anew by itself while it runs, and the whole page once it has ended."""

    @st.fragment(run_every=REFRESH if is_live else None)
    def state() -> None:
        job = last_job(frame_id)
        if job is None:
            return
        if is_live and not job.is_running:
            st.rerun()
        _say(job)

    state()


def _say(job: Job) -> None:
    model = plain(_word_after(job, "--model") or settings().model)
    if job.is_running:
        st.info(f"{model} is looking at this frame. You may go on meanwhile.")
    elif job.exit_code == 0 and job.lines:
        seconds = job.lines[-1].get("seconds")
        took = f" in {float(seconds):.1f} s" if isinstance(seconds, int | float) else ""
        st.success(f"{model} has described this frame anew{took}.")
    else:
        st.error(f"{model} could not describe this frame:")
        st.text(shown(job.error or "no reason was given"))


def _ask(video_id: int, frame_id: int) -> None:
    words = ["describe", str(video_id), "--id", str(frame_id)]
    if model := str(st.session_state.get("ask-model") or "").strip():
        words.append(f"--model={model}")
    if request := str(st.session_state.get("ask-request") or "").strip():
        words.append(f"--ask={request}")
    try:
        start_job(settings(), KIND, *words)
    except EveryFrameError as error:
        st.toast(plain(error))


def _frame_of(job: Job) -> str | None:
    return _word_after(job, "--id")


def _word_after(job: Job, name: str) -> str | None:
    """The value of an option in a job's words, however it was written."""
    for word, following in zip(job.words, [*job.words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
