"""The real Ollama is stopped during a run and started again."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enrich.control import control
from enrich.settings import Settings, load_settings
from tests.clips import numbered_clip
from tests.control.background import Background
from tests.real.server import MODEL, START_SECONDS, _free_port, _run, _script
from tests.worker.workspace import Workspace, assert_settled, open_workspace

FRAMES = 24
AWAY_SECONDS = 4

pytestmark = [pytest.mark.slow, pytest.mark.real_ollama, pytest.mark.timeout(START_SECONDS)]


@dataclass
class OwnServer:
    """A private Ollama server on a free port."""

    script: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> str | None:
        """Start the server; return an error message if that fails."""
        done = _run(self.script, "start", str(self.port), timeout=START_SECONDS)
        return None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-200:]

    def stop(self) -> None:
        _run(self.script, "stop", str(self.port), timeout=60)


@pytest.fixture
def server() -> Iterator[OwnServer]:
    own = OwnServer(_script(), _free_port())
    trouble = own.start()
    if trouble is not None:
        pytest.skip(f"ollama-server does not start: {trouble}")
    yield own
    own.stop()


@pytest.fixture
def workspace(
    server: OwnServer, monkeypatch: pytest.MonkeyPatch, environment: None, short_pauses: None
) -> Iterator[Workspace]:
    """A library whose workers use that server."""
    given = {"OLLAMA_HOSTS": server.address, "MODEL": MODEL, "NUM_PREDICT": "32", "OLLAMA_OPTIONS": '{"num_thread": 1}'}
    for name, value in given.items():
        monkeypatch.setenv(f"EVERYFRAME_{name}", value)
    opened = open_workspace(load_settings().home)
    yield opened
    opened.library.engine.dispose()


@pytest.fixture
def settings(workspace: Workspace) -> Settings:
    return load_settings()


def test_run_waits_for_a_stopped_ollama_and_resumes(
    server: OwnServer, settings: Settings, workspace: Workspace, background: Background, tmp_path: Path
) -> None:
    """The replies of the tiny model are noise. Some may be empty, which is the only reason for a frame to fail."""
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=FRAMES))
    control.start(settings)
    background.until_described(4)

    server.stop()
    background.until_state("waiting")
    assert "is not responding" in str(background.run().reason)
    described = workspace.described()
    time.sleep(AWAY_SECONDS)
    assert workspace.described() == described
    assert workspace.video().extraction_status == "extracted", "decoding continues"
    assert server.start() is None
    background.until_state("running")
    background.until_described(described + 4)
    left = "SELECT count(*) FROM tasks WHERE status IN ('todo', 'doing')"
    background.until(lambda: workspace.value(left) == 0, "all is done")
    stopped = control.stop(settings)

    assert stopped is not None
    assert workspace.states_of_runs() == ["stopped"]
    assert_settled(workspace)
    assert workspace.described() + workspace.video().failed == FRAMES
    assert workspace.described() > FRAMES // 2
    reasons = workspace.ask("SELECT DISTINCT error FROM tasks WHERE status = 'failed'")
    assert reasons in ([], [("the model's reply was empty",)])
    assert workspace.ask("SELECT frame_id FROM analyses WHERE is_kept GROUP BY frame_id HAVING count(*) > 1") == []
