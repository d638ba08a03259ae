"""What a command of the command line has answered lately: asked in the background, so that no page waits for it.

All tabs share the answers. A command is asked anew only while somebody looks, and never twice at once.
"""

import threading
import time
from dataclasses import dataclass, replace

import streamlit as st

from enrich.jobs.command import CommandResult, run_command
from enrich.settings import Settings

LIMIT_SECONDS = 120.0
LOOK_EVERY = "0.5s"


@dataclass(frozen=True, slots=True)
class InquiryResult:
    """The last answer, None before the first; whether the question is being asked anew; how old the answer is."""

    outcome: CommandResult | None
    is_asking: bool
    age_seconds: float


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer, the settings it was given for (None: it counts no more), and when, by the monotonic clock."""

    outcome: CommandResult
    settings: Settings | None
    at: float

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.at


class Inquiries:
    """Remembers the last answer to each question. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[object, _Known] = {}
        self._asking: dict[object, threading.Thread] = {}
        self._changes = 0

    def ask(
        self, settings: Settings, *words: str, fresh_seconds: float, patience_seconds: float = 0.0
    ) -> InquiryResult:
        """What `everyframe WORDS` answered; it is asked anew if that is longer ago than `fresh_seconds`.

        Where there is no answer yet, it is waited for, but no longer than `patience_seconds`.
        """
        question = (settings.home, settings.url, settings.ollama_hosts, words)
        with self._lock:
            known = self._answers.get(question)
            is_good = known is not None and known.settings == settings and known.age_seconds <= fresh_seconds
            if not is_good and question not in self._asking:
                thread = threading.Thread(target=self._ask, args=[question, settings, words], daemon=True)
                self._asking[question] = thread
                thread.start()
            asking = self._asking.get(question)
        if known is None and asking is not None:
            asking.join(patience_seconds)
        with self._lock:
            known = self._answers.get(question)
            is_asking = question in self._asking
        return (
            InquiryResult(None, is_asking, 0.0)
            if known is None
            else InquiryResult(known.outcome, is_asking, known.age_seconds)
        )

    def is_asking(self, settings: Settings, *words: str) -> bool:
        """Whether a question is being asked."""
        with self._lock:
            return (settings.home, settings.url, settings.ollama_hosts, words) in self._asking

    def forget(self) -> None:
        """Something was changed: ask anew, and show what was known until there is an answer."""
        with self._lock:
            self._changes += 1
            self._answers = {question: replace(known, settings=None) for question, known in self._answers.items()}

    def _ask(self, question: object, settings: Settings, words: tuple[str, ...]) -> None:
        changes = self._changes
        outcome = run_command(settings, *words, seconds=LIMIT_SECONDS)
        with self._lock:
            is_true = changes == self._changes  # what was changed meanwhile may not be in the answer
            self._answers[question] = _Known(outcome, settings if is_true else None, time.monotonic())
            self._asking.pop(question, None)


@st.cache_resource
def inquiries() -> Inquiries:
    """The one memory of answers of the dashboard."""
    return Inquiries()


def follow(settings: Settings, *words: str) -> None:
    """Draw the page anew as soon as a question that is being asked has its answer."""
    st.fragment(_follow, run_every=LOOK_EVERY)(settings, words)


def _follow(settings: Settings, words: tuple[str, ...]) -> None:
    """Read only."""
    if not inquiries().is_asking(settings, *words):
        st.rerun()
