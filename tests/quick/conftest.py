"""A library whose film is kept and not described, an account at a stand-in for Claude, and batches that hurry."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.cli import run
from enrich.quick import batches
from tests.cli.conftest import NOBODY, live_in, living_in
from tests.cli.terminal import Terminal, run_here
from tests.clips import numbered_picture, picture_clip
from tests.standin_claude import KEY, ClaudeStandIn

PICTURES = 30  # each unlike all others: three requests


def different(number: int) -> int:
    """The number of a picture that is unlike those before it."""
    return (number + 1) * 40503 % 65536  # Knuth's multiplicative hash


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a picture a second; only to be read."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return picture_clip(path, (numbered_picture(different(number)) for number in range(PICTURES)), fps=1)


@pytest.fixture(scope="session")
def prepared(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of that film; to be copied."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    with living_in(home):
        assert run(["add", str(film), "--sampling", "exact"]) == 0
        assert run(["extract"]) == 0
    return home


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_pauses: None) -> Path:
    """Where the test's library will be."""
    live_in(monkeypatch, tmp_path / "home", NOBODY)
    monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", str(PICTURES))
    monkeypatch.setattr(batches, "SOON_SECONDS", 0.1)
    monkeypatch.setattr(batches, "SETTLE_SECONDS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def home(prepared: Path, empty_home: Path) -> Path:
    """A library of the test's own."""
    shutil.copytree(prepared, empty_home)
    return empty_home


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    """An account at a stand-in."""
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Terminal]:
    """The command, run in this process."""
    return lambda *arguments: run_here(capsys, *arguments)
