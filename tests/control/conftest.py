"""A library in a folder of its own, a stand-in for Ollama, and workers in the background that are always ended."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from enrich.settings import Settings, load_settings
from tests.clips import numbered_clip
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, open_workspace

FRAMES = 30


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests has a say; what is launched gets its settings from here."""
    for name in list(os.environ):
        if name.startswith("EVERYFRAME_") and not name.startswith("EVERYFRAME_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERYFRAME_DISK_RESERVE_MB", "0")
    monkeypatch.setenv("EVERYFRAME_STORED_EDGE", "320")
    monkeypatch.setenv("EVERYFRAME_CONNECT_SECONDS", "2")
    monkeypatch.setenv("EVERYFRAME_KEEP_AWAKE", "never")


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in that workers find."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def settings(standin: StandIn) -> Settings:
    return load_settings()


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    """The library, empty."""
    opened = open_workspace(settings.home, ollama_hosts=settings.ollama_hosts)
    yield opened
    opened.library.engine.dispose()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 30 frames, numbered from 0."""
    return numbered_clip(tmp_path_factory.mktemp("films") / "film.mp4", frames=FRAMES)


@pytest.fixture
def background(workspace: Workspace) -> Iterator[Background]:
    """What runs in the background; whatever is left of it is killed, by its id."""
    watched = Background(workspace)
    yield watched
    watched.end()


@pytest.fixture
def idle_process() -> Iterator[psutil.Process]:
    """A process of somebody else's."""
    with psutil.Popen(["sleep", "60"]) as process:
        yield psutil.Process(process.pid)
        process.kill()
