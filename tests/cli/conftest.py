"""A clean environment, a stand-in for Ollama, clips, and an enriched library that is built once and copied."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enrich.cli import run
from enrich.worker import host_runner, result_writer
from tests.cli.terminal import Terminal, run_here
from tests.clips import image_clip, numbered_clip, numbered_image, run_ffmpeg
from tests.standin import StandIn
from tests.standin_claude import KEY, ClaudeStandIn

NO_OLLAMA = "http://127.0.0.1:9"  # nothing listens here
FRAMES = 12  # of the clip `party`, all kept
SPARSE_FRAMES = 30  # of the clip `numbers`, every fifth kept
# Of the clip `moments`: each is followed by a frame that looks almost the same, with the next number.
MOMENTS = (10560, 63574, 34290, 4826, 58, 19080, 61636, 48910, 41862, 2868, 35742, 64072)


def quiet_environment(home: Path, **more: str) -> dict[str, str]:
    """Settings for tests: a library in `home`, small images, no disk reserve."""
    values = {"EVERYFRAME_HOME": str(home), "EVERYFRAME_STORED_EDGE": "320", "EVERYFRAME_DISK_RESERVE_MB": "0"}
    return values | {"EVERYFRAME_CONNECT_SECONDS": "2", "COLUMNS": "100"} | more


def live_in(patch: pytest.MonkeyPatch, home: Path, ollama: str) -> None:
    """Make commands in this process use the library in `home`."""
    for name, value in quiet_environment(home, OLLAMA_HOST=ollama).items():
        patch.setenv(name, value)


@contextmanager
def living_in(home: Path, ollama: str = NO_OLLAMA) -> Iterator[pytest.MonkeyPatch]:
    """Like `live_in`, for session fixtures. Restores the environment and the signal handlers afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        live_in(patch, home, ollama)
        yield patch
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def environment_variables(tmp_path: Path) -> dict[str, str]:
    """A separate library for each test, and no Ollama server."""
    return quiet_environment(tmp_path / "home", OLLAMA_HOST=NO_OLLAMA)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the backoff and retry pauses."""
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.3)
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in server at the configured Ollama address."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Terminal]:
    """`cli("list", "--json")` runs the command in this process."""
    return lambda *arguments: run_here(capsys, *arguments)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos. Do not modify it."""
    folder = tmp_path_factory.mktemp("videos")
    numbered_clip(folder / "numbers.mp4", frames=SPARSE_FRAMES)
    numbered_clip(folder / "party.mp4", frames=FRAMES, first=100)
    return folder


@pytest.fixture(scope="session")
def party(clips: Path) -> Path:
    """A video of 12 frames that show the numbers 100 to 111."""
    return clips / "party.mp4"


@pytest.fixture(scope="session")
def numbers(clips: Path) -> Path:
    """A video of 30 frames that show the numbers 0 to 29."""
    return clips / "numbers.mp4"


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes some seconds to decode."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=30", "-c:v", "mpeg4", "-q:v", "9", path)
    return path


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 24 frames that shows twelve moments, two frames each."""
    images = (numbered_image(number + n) for number in MOMENTS for n in (0, 1))
    return image_clip(tmp_path_factory.mktemp("moments") / "moments.mp4", images)


@pytest.fixture(scope="session")
def enriched_home(tmp_path_factory: pytest.TempPathFactory, numbers: Path, party: Path) -> Path:
    """A library with `numbers` (1, six frames kept) and `party` (2, all kept), both described. Copy before use."""
    home = tmp_path_factory.mktemp("enriched") / "home"
    enrich(home, (numbers, "every=0.2s"), (party, "exact"))
    return home


@pytest.fixture
def library(enriched_home: Path, home: Path) -> Path:
    """A copy of the enriched library: numbers is 1, party is 2."""
    shutil.copytree(enriched_home, home)
    return home


@pytest.fixture(scope="session")
def moments_home(tmp_path_factory: pytest.TempPathFactory, moments: Path) -> Path:
    """A library with `moments`, every frame kept and described. Copy before use."""
    home = tmp_path_factory.mktemp("moments") / "home"
    enrich(home, (moments, "exact"))
    return home


@pytest.fixture
def video(moments_home: Path, home: Path) -> Path:
    """A copy of the library with `moments` only, described."""
    shutil.copytree(moments_home, home)
    return home


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    """A stand-in for Claude with an account, and five key frames per video."""
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", "5")
        yield server


def enrich(home: Path, *videos: tuple[Path, str]) -> None:
    """Create a library with these videos, each with its sampling, and describe them."""
    with StandIn(parallel=2) as server, living_in(home, server.address):
        for path, sampling in videos:
            assert run(["add", str(path), "--sampling", sampling]) == 0
        assert run(["enrich"]) == 0
