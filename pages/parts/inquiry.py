"""The latest results of commands such as `everyframe models`, run in the background so that no page waits for them.

All tabs share the results. A command runs again only while a page asks for it, and never twice at the same time.
"""

import threading
import time
from dataclasses import dataclass, replace

import streamlit as st

from enrich.jobs.command import NOT_RUN, CommandResult, run_command
from enrich.settings import Settings
from pages.parts.session import live

LIMIT_SECONDS = 120.0
REFRESH = "0.5s"


@dataclass(frozen=True, slots=True)
class InquiryResult:
    """A command's last result (None before the first), whether it is running now, and the age of the result."""

    outcome: CommandResult | None
    is_asking: bool
    age_seconds: float


@dataclass(frozen=True, slots=True)
class _CachedResult:
    """A result, the settings it was made with (None once outdated), and when, by the monotonic clock."""

    outcome: CommandResult
    settings: Settings | None
    at: float

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.at


class Inquiries:
    """Runs commands in threads and caches their last results. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: dict[object, _CachedResult] = {}
        self._running: dict[object, threading.Thread] = {}
        self._changes = 0

    def ask(
        self, settings: Settings, *words: str, fresh_seconds: float, patience_seconds: float = 0.0
    ) -> InquiryResult:
        """The last result of `everyframe WORDS`; runs it again in the background if that is older than `fresh_seconds`.

        Without any result yet, waits for the first one, at most `patience_seconds`.
        """
        key = (settings.home, settings.url, settings.ollama_hosts, words)
        with self._lock:
            cached = self._results.get(key)
            is_fresh = cached is not None and cached.settings == settings and cached.age_seconds <= fresh_seconds
            if not is_fresh and key not in self._running:
                thread = threading.Thread(
                    target=self._run, args=[key, settings, words], name=f"everyframe-inquiry-{words[0]}", daemon=True
                )
                self._running[key] = thread
                thread.start()
            running = self._running.get(key)
        if cached is None and running is not None:
            running.join(patience_seconds)
        with self._lock:
            cached = self._results.get(key)
            is_asking = key in self._running
        return (
            InquiryResult(None, is_asking, 0.0)
            if cached is None
            else InquiryResult(cached.outcome, is_asking, cached.age_seconds)
        )

    def is_asking(self, settings: Settings, *words: str) -> bool:
        """Whether a command is running."""
        with self._lock:
            return (settings.home, settings.url, settings.ollama_hosts, words) in self._running

    def forget(self) -> None:
        """Mark all results as outdated after a change; they are returned until there are new ones."""
        with self._lock:
            self._changes += 1
            self._results = {key: replace(cached, settings=None) for key, cached in self._results.items()}

    def _run(self, key: object, settings: Settings, words: tuple[str, ...]) -> None:
        changes = self._changes
        try:
            outcome = run_command(settings, *words, seconds=LIMIT_SECONDS)
        except Exception as error:  # noqa: BLE001  # else it would seem to run for ever, in every tab
            reason = f"{type(error).__name__}: {error}"
            outcome = CommandResult(NOT_RUN, None, f"cannot run the command ({reason}): reload the page to try again")
        with self._lock:
            is_current = changes == self._changes  # else the result may not include a change made meanwhile
            self._results[key] = _CachedResult(outcome, settings if is_current else None, time.monotonic())
            self._running.pop(key, None)


@st.cache_resource
def inquiries() -> Inquiries:
    """The dashboard's one cache of command results."""
    return Inquiries()


def follow(settings: Settings, *words: str) -> None:
    """Rerun the page as soon as a running command has its result."""
    live(run_every=REFRESH)(_follow)(settings, words)


def _follow(settings: Settings, words: tuple[str, ...]) -> None:
    if not inquiries().is_asking(settings, *words):
        st.rerun()
