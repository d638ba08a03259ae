"""Whether Ollama responds and has the model, and downloading a missing model.

The check runs in the background, so no page waits for it, and its result may be some seconds old. Until there is one,
nothing counts as missing. A download is a job, whose progress every tab shows.
"""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.jobs.jobs import Job
from enrich.settings import Settings, is_same_model
from enrich.wording import format_bytes, markdown_text, one_line
from pages.parts.inquiry import inquiries
from pages.parts.session import live, settings

COMMAND = "models"
GOOD_SECONDS = 60.0  # how long a good result is used
BAD_SECONDS = 8.0  # shorter, because the user may fix the problem at any moment
KIND = "pull"
REFRESH = "1s"
STATUS_CHARACTERS = 60
ERROR_CHARACTERS = 300
PULL_FAILED = "pull failed"


@dataclass(frozen=True, slots=True)
class MissingRequirement:
    """What is missing, in a sentence. `model`: download this to fix it. `is_away`: Ollama itself does not respond."""

    sentence: str
    model: str | None
    is_away: bool = False


def missing_requirement(settings: Settings, *, is_uncertain: bool = False) -> MissingRequirement | None:
    """What is missing as far as is known; checks again, more often if `is_uncertain`. Never waits."""
    if settings.describer != "ollama":
        return None
    outcome = inquiries().ask(settings, COMMAND, fresh_seconds=GOOD_SECONDS).outcome
    found = None if outcome is None else requirement_in(outcome, settings)
    if found is not None or is_uncertain:
        inquiries().ask(settings, COMMAND, fresh_seconds=BAD_SECONDS)
    return found


def is_ready(settings: Settings) -> bool:
    """Whether every host was found to have the model. False while the first check is running. Never waits."""
    if settings.describer != "ollama":
        return True
    outcome = inquiries().ask(settings, COMMAND, fresh_seconds=GOOD_SECONDS).outcome
    return outcome is not None and requirement_in(outcome, settings) is None


def requirement_in(outcome: CommandResult, settings: Settings) -> MissingRequirement | None:
    """What is missing according to the result of `everyframe models`."""
    if not outcome.is_good:
        return MissingRequirement(outcome.error, None, is_away=True)
    rows: list[dict[str, Any]] = [row for row in outcome.data or [] if isinstance(row, dict)]
    ours = {row["host"]: row for row in rows if is_same_model(str(row["name"]), settings.model)}
    without = [host for host in settings.ollama_hosts if host not in ours]
    if without and outcome.error:  # not all of them respond
        return MissingRequirement(outcome.error, None, is_away=True)
    if without:
        where = "" if len(settings.ollama_hosts) == 1 else f" on {', '.join(without)}"
        return MissingRequirement(f"The model {settings.model} is not installed{where}.", settings.model)
    if any(row["is_cloud"] for row in ours.values()) and not settings.allow_cloud:
        return MissingRequirement(
            f"{settings.model} runs in the cloud and would receive your images, which your settings do not allow. "
            "Choose another model.",
            None,
        )
    if not all(row["sees"] for row in ours.values()):
        return MissingRequirement(f"{settings.model} is not a vision model. Choose another model.", None)
    return None


def last_pull(found: Settings, model: str) -> Job | None:
    """The last download of a model, None if there was none."""
    return next((job for job in jobs.jobs(found, KIND) if is_same_model(job.words[-1], model)), None)


def draw_pull(found: Settings, model: str) -> None:
    """A button that downloads a model; during the download, its progress and a cancel button."""
    job = last_pull(found, model)
    if job is not None and job.is_running:
        live(run_every=REFRESH)(_progress)(model)
        # Ollama keeps the part it has, and the next download continues from there.
        st.button(
            "Cancel",
            key="pull-cancel",
            icon=":material/close:",
            on_click=jobs.stop_job_in_background,
            args=[found, job.id],
        )
        return
    failed = job.error if job is not None and job.has_failed else ""
    if error := st.session_state.get(PULL_FAILED) or failed:
        st.error(markdown_text(f"Download failed: {one_line(error, ERROR_CHARACTERS)}"))
    st.button(
        f"Download {markdown_text(model)}",
        key="pull",
        type="primary",
        icon=":material/download:",
        on_click=pull,
        args=[model],
        help="Models are several GB in size. The download continues when you close this page",
    )


def pull(model: str) -> None:
    """Start downloading a model. For callbacks."""
    st.session_state.pop(PULL_FAILED, None)
    try:
        jobs.start_job(settings(), KIND, "models", "pull", model)
    except EveryFrameError as error:
        st.session_state[PULL_FAILED] = str(error)


def pull_progress(job: Job) -> tuple[float, str]:
    """The progress of a download, 0 to 1, and a text: all layers on all servers together, as far as they are known."""
    layers: dict[tuple[str, str], tuple[int, int]] = {}
    for line in job.lines:
        if line.get("total"):
            layers[str(line["host"]), str(line["status"])] = int(line.get("completed") or 0), int(line["total"])
    completed, total = (sum(numbers) for numbers in zip(*layers.values(), strict=True)) if layers else (0, 0)
    if total:
        return min(1.0, completed / total), f"{format_bytes(completed)} of {format_bytes(total)}"
    status = job.lines[-1].get("status") if job.lines else None
    return 0.0, one_line(str(status or "Starting download"), STATUS_CHARACTERS)


def _progress(model: str) -> None:
    job = last_pull(settings(), model)
    if job is None or not job.is_running:
        inquiries().forget()
        st.rerun()
    share, text = pull_progress(job)
    st.progress(share, markdown_text(text))
    if job.stop_error:
        st.error(markdown_text(f"Cancel failed: {job.stop_error}"))
