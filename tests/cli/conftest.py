"""An environment of its own, a stand-in for Ollama, clips, and a library that is enriched once and copied."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enrich.cli import run
from enrich.worker import host_runner, writer
from tests.cli.terminal import Terminal, run_here
from tests.clips import numbered_clip, numbered_picture, picture_clip, run_ffmpeg
from tests.standin import StandIn
from tests.standin_claude import KEY, ClaudeStandIn

NOBODY = "http://127.0.0.1:9"  # where no Ollama answers
FRAMES = 12  # of the clip `party`, all kept
SPARSE_FRAMES = 30  # of the clip `numbers`, every fifth kept
# Of the clip `moments`: each is followed by a picture that looks much the same, and whose number is one more.
MOMENTS = (10560, 63574, 34290, 4826, 58, 19080, 61636, 48910, 41862, 2868, 35742, 64072)


def quiet_environment(home: Path, **more: str) -> dict[str, str]:
    """Settings for tests: a library in `home`, small pictures, no limits of this machine."""
    values = {"EVERYFRAME_HOME": str(home), "EVERYFRAME_STORED_EDGE": "320", "EVERYFRAME_DISK_RESERVE_MB": "0"}
    return values | {"EVERYFRAME_CONNECT_SECONDS": "2", "COLUMNS": "100"} | more


def live_in(patch: pytest.MonkeyPatch, home: Path, ollama: str) -> None:
    """Commands in this process work on the library in `home`."""
    for name, value in quiet_environment(home, OLLAMA_HOST=ollama).items():
        patch.setenv(name, value)


@contextmanager
def living_in(home: Path, ollama: str = NOBODY) -> Iterator[pytest.MonkeyPatch]:
    """The same for a while, for fixtures of more than one test; signals that commands take over are given back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        live_in(patch, home, ollama)
        yield patch
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def environment_variables(tmp_path: Path) -> dict[str, str]:
    """A library of the test's own, and no Ollama."""
    return quiet_environment(tmp_path / "home", OLLAMA_HOST=NOBODY)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds for people takes hundredths of a second in this process."""
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.3)
    monkeypatch.setattr(writer, "RETRY_PAUSE_SECONDS", 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in that is found where Ollama is looked for."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Terminal]:
    """`cli("list", "--json")`: the command run in this process."""
    return lambda *arguments: run_here(capsys, *arguments)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two films; only to be read."""
    folder = tmp_path_factory.mktemp("films")
    numbered_clip(folder / "numbers.mp4", frames=SPARSE_FRAMES)
    numbered_clip(folder / "party.mp4", frames=FRAMES, first=100)
    return folder


@pytest.fixture(scope="session")
def party(clips: Path) -> Path:
    """A film of 12 frames whose pictures show the numbers 100 to 111."""
    return clips / "party.mp4"


@pytest.fixture(scope="session")
def numbers(clips: Path) -> Path:
    """A film of 30 frames whose pictures show the numbers 0 to 29."""
    return clips / "numbers.mp4"


@pytest.fixture(scope="session")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes some seconds to decode."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=30", "-c:v", "mpeg4", "-q:v", "9", path)
    return path


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 24 frames that shows twelve moments, two frames each."""
    pictures = (numbered_picture(number + n) for number in MOMENTS for n in (0, 1))
    return picture_clip(tmp_path_factory.mktemp("moments") / "moments.mp4", pictures)


@pytest.fixture(scope="session")
def enriched_home(tmp_path_factory: pytest.TempPathFactory, numbers: Path, party: Path) -> Path:
    """A library with `numbers` (1, six frames kept) and `party` (2, all kept), both described; to be copied."""
    home = tmp_path_factory.mktemp("enriched") / "home"
    enrich(home, (numbers, "every=0.2s"), (party, "exact"))
    return home


@pytest.fixture
def library(enriched_home: Path, home: Path) -> Path:
    """An enriched library of the test's own: numbers is 1, party is 2."""
    shutil.copytree(enriched_home, home)
    return home


@pytest.fixture(scope="session")
def moments_home(tmp_path_factory: pytest.TempPathFactory, moments: Path) -> Path:
    """A library with `moments`, all of it kept and described; to be copied."""
    home = tmp_path_factory.mktemp("moments") / "home"
    enrich(home, (moments, "exact"))
    return home


@pytest.fixture
def film(moments_home: Path, home: Path) -> Path:
    """A library of the test's own that holds `moments` alone, described."""
    shutil.copytree(moments_home, home)
    return home


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    """An account at a stand-in for Claude, and five key frames a film."""
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", "5")
        yield server


def enrich(home: Path, *films: tuple[Path, str]) -> None:
    """Make a library of films, each with its sampling, described."""
    with StandIn(parallel=2) as server, living_in(home, server.address):
        for path, sampling in films:
            assert run(["add", str(path), "--sampling", sampling]) == 0
        assert run(["enrich"]) == 0
