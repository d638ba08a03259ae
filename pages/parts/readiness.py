"""Whether Ollama answers and has the model: asked in the background, so that no page waits for it.

What is known may be some seconds old. Until there is an answer, nothing is said to be missing.
"""

from dataclasses import dataclass
from typing import Any

from enrich.jobs.command import Outcome
from enrich.settings import Settings
from pages.parts.inquiry import inquiries

QUESTION = "models"
GOOD_SECONDS = 60.0  # for which a good answer counts
BAD_SECONDS = 8.0  # a missing one may be mended at any moment


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing: a sentence, and the model to be pulled, if that would mend it. `is_away`: Ollama itself."""

    sentence: str
    model: str | None
    is_away: bool = False


def lack(settings: Settings, *, is_doubtful: bool = False) -> Lack | None:
    """What is missing as far as is known; asks anew if that is long ago, or soon where it is doubtful. Never waits."""
    if settings.describer != "ollama":
        return None
    outcome = inquiries().ask(settings, QUESTION, fresh_seconds=GOOD_SECONDS).outcome
    found = None if outcome is None else lack_in(outcome, settings)
    if found is not None or is_doubtful:
        inquiries().ask(settings, QUESTION, fresh_seconds=BAD_SECONDS)
    return found


def lack_in(outcome: Outcome, settings: Settings) -> Lack | None:
    """What is missing, by what `everyframe models` came to."""
    if not outcome.is_good:
        return Lack(outcome.error, None, is_away=True)
    wanted = settings.model if ":" in settings.model else f"{settings.model}:latest"
    rows: list[dict[str, Any]] = [row for row in outcome.data or [] if isinstance(row, dict)]
    ours = {row["host"]: row for row in rows if str(row["name"]).lower() == wanted.lower()}
    without = [host for host in settings.ollama_hosts if host not in ours]
    if without and outcome.error:  # not all of them answer
        return Lack(outcome.error, None, is_away=True)
    if without:
        where = "" if len(settings.ollama_hosts) == 1 else f" at {', '.join(without)}"
        return Lack(f"The model {settings.model} is not installed{where}.", settings.model)
    if any(row["is_cloud"] for row in ours.values()) and not settings.allow_cloud:
        return Lack(f"{settings.model} would send your pictures to a cloud, which is refused: choose another.", None)
    if not all(row["sees"] for row in ours.values()):
        return Lack(f"{settings.model} cannot see pictures: choose another model.", None)
    return None
