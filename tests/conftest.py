"""A stand-in for Ollama, a library, and clips that are made once."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import enumerate as running_threads
from typing import Any

import pytest

from enrich.worker import decoder, host_health, host_runner, prefetch, worker, writer
from tests.clips import numbered_clip
from tests.standin import StandIn
from tests.worker.workspace import Workspace, open_workspace


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests has a say."""
    for name in list(os.environ):
        if name.startswith("EVERYFRAME_") and not name.startswith("EVERYFRAME_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds for people takes hundredths of a second here."""
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(host_runner, "HEALTH_CHECK_POLL_SECONDS", 0.02)
    monkeypatch.setattr(host_health, "FEWEST_FRAMES", 10_000)  # where a test counts calls, there is no canary
    monkeypatch.setattr(writer, "RETRY_PAUSE_SECONDS", 0)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(decoder, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(prefetch, "POLL_SECONDS", 0.05)


@pytest.fixture
def expected_errors() -> list[str]:
    """Beginnings of ERROR records that the test expects."""
    return []


@pytest.fixture(autouse=True)
def nothing_unexpected(caplog: pytest.LogCaptureFixture, expected_errors: list[str]) -> Iterator[None]:
    """No ERROR record but those expected, and no thread that is left over."""
    caplog.set_level(logging.INFO, logger="enrich")
    yield
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert [error for error in errors if not error.startswith(tuple(expected_errors) or "\0")] == []
    left = [thread for thread in running_threads() if thread.name.startswith("everyframe-")]
    for thread in left:
        thread.join(5)  # it may be on its last line
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn(parallel=8) as server:
        yield server


@pytest.fixture
def make_workspace(tmp_path: Path, standin: StandIn) -> Iterator[Callable[..., Workspace]]:
    """Opens a library that asks the stand-in; keywords are settings."""
    opened: list[Workspace] = []

    def make(name: str = "home", **given: Any) -> Workspace:
        opened.append(open_workspace(tmp_path / name, **({"ollama_hosts": standin.address} | given)))
        return opened[-1]

    yield make
    for workspace in opened:
        workspace.library.engine.dispose()


@pytest.fixture
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A numbered clip, made once for each set of arguments; only to be read."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def make(frames: int = 30, **how: Any) -> Path:
        key = f"{frames}-{sorted(how.items())}"
        if key not in made:
            made[key] = numbered_clip(folder / f"clip-{len(made)}.mp4", frames=frames, **how)
        return made[key]

    return make
