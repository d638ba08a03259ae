"""Whether Ollama answers and has the model: asked in the background, so that no page waits for it.

One asker serves all tabs; it asks by the command line, and only while somebody looks. What it knows may be some
seconds old. Until it has an answer, nothing is said to be missing.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import streamlit as st

from enrich.manage.command import Outcome, run_command
from enrich.settings import Settings

GOOD_SECONDS = 60.0  # for which a good answer counts
BAD_SECONDS = 8.0  # a missing one may be mended at any moment
LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing: a sentence, and the model to be pulled, if that would mend it. `is_away`: Ollama itself."""

    sentence: str
    model: str | None
    is_away: bool = False


class Asker:
    """Remembers the last answer for each question. Usable from any thread; never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[object, tuple[float, Lack | None]] = {}
        self._asking: dict[object, threading.Thread] = {}

    def lack(self, settings: Settings, *, is_doubtful: bool = False) -> Lack | None:
        """What is missing as far as is known; asks anew if that is long ago, or soon where it is doubtful."""
        if settings.describer != "ollama":
            return None
        question = (settings.home, settings.ollama_hosts, settings.model, settings.allow_cloud)
        with self._lock:
            asked_at, lack = self._answers.get(question, (-float("inf"), None))
            is_old = time.monotonic() - asked_at > (BAD_SECONDS if lack is not None or is_doubtful else GOOD_SECONDS)
            if is_old and question not in self._asking:
                thread = threading.Thread(target=self._ask, args=[question, settings], daemon=True)
                self._asking[question] = thread
                thread.start()
        return lack

    def forget(self) -> None:
        """Something was changed: ask anew, and say what was known until there is an answer."""
        with self._lock:
            self._answers = {question: (-float("inf"), lack) for question, (_, lack) in self._answers.items()}

    def wait(self) -> None:
        """Until what is being asked is answered."""
        with self._lock:
            threads = list(self._asking.values())
        for thread in threads:
            thread.join()

    def _ask(self, question: object, settings: Settings) -> None:
        lack = lack_in(run_command(settings, "models", seconds=LIMIT_SECONDS), settings)
        with self._lock:
            self._answers[question] = (time.monotonic(), lack)
            self._asking.pop(question, None)


@st.cache_resource
def asker() -> Asker:
    """The one asker of the dashboard."""
    return Asker()


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
