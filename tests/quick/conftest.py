"""A library with an extracted video, a stand-in for Claude, and short batch intervals."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.cli import run
from enrich.quick import batches
from tests.cli.conftest import NO_OLLAMA, live_in, living_in
from tests.cli.terminal import Terminal, run_here
from tests.clips import image_clip, numbered_image
from tests.standin_claude import KEY, ClaudeStandIn

FRAMES = 30  # each unlike all others; three requests


def different(number: int) -> int:
    """A number whose image differs from the previous ones."""
    return (number + 1) * 40503 % 65536  # Knuth's multiplicative hash


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with one image a second. Read-only."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return image_clip(path, (numbered_image(different(number)) for number in range(FRAMES)), fps=1)


@pytest.fixture(scope="session")
def prepared(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with that video, to be copied."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    with living_in(home):
        assert run(["add", str(video), "--sampling", "exact"]) == 0
        assert run(["extract"]) == 0
    return home


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pauses: None) -> Path:
    """The place of the test's library."""
    live_in(monkeypatch, tmp_path / "home", NO_OLLAMA)
    monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", str(FRAMES))
    monkeypatch.setattr(batches, "SHORT_POLL_SECONDS", 0.1)
    monkeypatch.setattr(batches, "SETTLE_SECONDS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def home(prepared: Path, empty_home: Path) -> Path:
    """A copy of the library for one test."""
    shutil.copytree(prepared, empty_home)
    return empty_home


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    """The stand-in for Claude's API, with a key in the environment."""
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Terminal]:
    """Runs the command line in this process."""
    return lambda *arguments: run_here(capsys, *arguments)
