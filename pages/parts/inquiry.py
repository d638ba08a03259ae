"""What a command of the command line has answered lately: asked in the background, so that no page waits for it.

All tabs share the answers. A command is asked anew only while somebody looks, and never twice at once.
"""

import threading
import time
from dataclasses import dataclass

import streamlit as st

from enrich.manage.command import Outcome, run_command
from enrich.settings import Settings

PATIENCE_SECONDS = 0.8  # in which most commands answer: the page comes at once with what they say
LIMIT_SECONDS = 120.0
LOOK_EVERY = "0.5s"


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer, None before the first; whether the question is being asked anew; how old the answer is."""

    outcome: Outcome | None
    is_asking: bool
    age_seconds: float


class Inquiries:
    """Remembers the last answer to each question. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[object, tuple[float, Outcome]] = {}
        self._asking: dict[object, threading.Thread] = {}

    def ask(self, settings: Settings, *words: str, fresh_seconds: float) -> Answer:
        """What `everyframe WORDS` answered; it is asked anew if that is longer ago than `fresh_seconds`.

        Waits a little where there is no answer yet.
        """
        question = (repr(settings), words)
        with self._lock:
            asked_at, outcome = self._answers.get(question, (-float("inf"), None))
            if time.monotonic() - asked_at > fresh_seconds and question not in self._asking:
                thread = threading.Thread(target=self._ask, args=[question, settings, words], daemon=True)
                self._asking[question] = thread
                thread.start()
            thread_now = self._asking.get(question)
        if outcome is None and thread_now is not None:
            thread_now.join(PATIENCE_SECONDS)
        with self._lock:
            asked_at, outcome = self._answers.get(question, (-float("inf"), None))
            return Answer(outcome, question in self._asking, time.monotonic() - asked_at)

    def forget(self) -> None:
        """Something was changed: ask anew, and show what was known until there is an answer."""
        with self._lock:
            self._answers = {question: (-float("inf"), outcome) for question, (_, outcome) in self._answers.items()}

    def _ask(self, question: object, settings: Settings, words: tuple[str, ...]) -> None:
        outcome = run_command(settings, *words, seconds=LIMIT_SECONDS)
        with self._lock:
            self._answers[question] = (time.monotonic(), outcome)
            self._asking.pop(question, None)


@st.cache_resource
def inquiries() -> Inquiries:
    """The one memory of answers of the dashboard."""
    return Inquiries()


def follow(settings: Settings, *words: str) -> None:
    """Draw the page anew as soon as a question that is being asked has its answer."""
    st.fragment(_follow, run_every=LOOK_EVERY)(settings, words)


def _follow(settings: Settings, words: tuple[str, ...]) -> None:
    if not inquiries().ask(settings, *words, fresh_seconds=float("inf")).is_asking:
        st.rerun()
