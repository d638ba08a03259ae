"""A separate library, a stand-in for Ollama, and background workers that are always killed at the end."""

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


@pytest.fixture
def environment_variables(tmp_path: Path) -> dict[str, str]:
    """Settings of the workers that tests start as processes."""
    return {
        "EVERYFRAME_HOME": str(tmp_path / "home"),
        "EVERYFRAME_DISK_RESERVE_MB": "0",
        "EVERYFRAME_STORED_EDGE": "320",
        "EVERYFRAME_CONNECT_SECONDS": "2",
        "EVERYFRAME_KEEP_AWAKE": "never",
    }


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in server at the configured Ollama address."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def settings(standin: StandIn) -> Settings:
    return load_settings()


@pytest.fixture
def workspace(settings: Settings, short_pauses: None) -> Iterator[Workspace]:
    """An empty library."""
    opened = open_workspace(settings.home, ollama_hosts=settings.ollama_hosts)
    yield opened
    opened.library.engine.dispose()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 30 frames, numbered from 0."""
    return numbered_clip(tmp_path_factory.mktemp("videos") / "video.mp4", frames=FRAMES)


@pytest.fixture
def background(workspace: Workspace) -> Iterator[Background]:
    """The background processes of the library. The remaining ones are killed at the end."""
    watched = Background(workspace)
    yield watched
    watched.end()


@pytest.fixture
def idle_process() -> Iterator[psutil.Process]:
    """An unrelated process."""
    with psutil.Popen(["sleep", "60"]) as process:
        yield psutil.Process(process.pid)
        process.kill()
