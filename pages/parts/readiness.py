"""Whether Ollama answers and has the model: asked in the background, so that no page waits for it.

What is known may be some seconds old. Until there is an answer, nothing is said to be missing.

Getting a model: a job in the background, whose progress every tab shows.
"""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.jobs.jobs import Job
from enrich.settings import Settings
from enrich.wording import first_line, size
from pages.parts.inquiry import inquiries
from pages.parts.plain import plain
from pages.parts.session import settings

QUESTION = "models"
GOOD_SECONDS = 60.0  # for which a good answer counts
BAD_SECONDS = 8.0  # a missing one may be mended at any moment
KIND = "pull"
EVERY = "1s"
LONGEST_STATUS = 60  # characters
TROUBLE = "trouble with the pull"


@dataclass(frozen=True, slots=True)
class MissingRequirement:
    """What is missing: a sentence, and the model to be pulled, if that would mend it. `is_away`: Ollama itself."""

    sentence: str
    model: str | None
    is_away: bool = False


def missing_requirement(settings: Settings, *, is_doubtful: bool = False) -> MissingRequirement | None:
    """What is missing as far as is known; asks anew if that is long ago, or soon where it is doubtful. Never waits."""
    if settings.describer != "ollama":
        return None
    outcome = inquiries().ask(settings, QUESTION, fresh_seconds=GOOD_SECONDS).outcome
    found = None if outcome is None else requirement_in(outcome, settings)
    if found is not None or is_doubtful:
        inquiries().ask(settings, QUESTION, fresh_seconds=BAD_SECONDS)
    return found


def requirement_in(outcome: CommandResult, settings: Settings) -> MissingRequirement | None:
    """What is missing, by what `everyframe models` came to."""
    if not outcome.is_good:
        return MissingRequirement(outcome.error, None, is_away=True)
    wanted = settings.model if ":" in settings.model else f"{settings.model}:latest"
    rows: list[dict[str, Any]] = [row for row in outcome.data or [] if isinstance(row, dict)]
    ours = {row["host"]: row for row in rows if str(row["name"]).lower() == wanted.lower()}
    without = [host for host in settings.ollama_hosts if host not in ours]
    if without and outcome.error:  # not all of them answer
        return MissingRequirement(outcome.error, None, is_away=True)
    if without:
        where = "" if len(settings.ollama_hosts) == 1 else f" at {', '.join(without)}"
        return MissingRequirement(f"The model {settings.model} is not installed{where}.", settings.model)
    if any(row["is_cloud"] for row in ours.values()) and not settings.allow_cloud:
        return MissingRequirement(
            f"{settings.model} would send your pictures to a cloud, which is refused: choose another.", None
        )
    if not all(row["sees"] for row in ours.values()):
        return MissingRequirement(f"{settings.model} cannot see pictures: choose another model.", None)
    return None


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
