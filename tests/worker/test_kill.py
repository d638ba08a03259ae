"""A worker is killed with SIGKILL at any moment and restarted: the outcome is that of an undisturbed run.

Real processes, a real database, and a stand-in for Ollama in its own process. This cannot show a power cut: the
operating system survives, and with it everything that was written but not synced.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import simplejpeg

from tests.clips import numbered_clip
from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
CLIPS, CLIP_FRAMES = 3, 75
FRAMES_IN_ALL = CLIPS * CLIP_FRAMES
SEED = 20261122
FOREGROUND = (sys.executable, "-c", "from enrich.cli import main; main()", "enrich")
BACKGROUND = (sys.executable, "-m", "enrich")


STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def kill_leftover_workers() -> Iterator[None]:
    """A failing test leaves no worker behind."""
    yield
    for process in STARTED:
        process.kill()
        process.wait()
    STARTED.clear()


@dataclass(frozen=True)
class LibraryFolder:
    """A library in a folder, and the environment of the processes that use it."""

    home: Path
    address: str

    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {
            "EVERYFRAME_HOME": str(self.home),
            "EVERYFRAME_OLLAMA_HOSTS": self.address,
            "EVERYFRAME_CONCURRENCY": "4",
            "EVERYFRAME_DISK_RESERVE_MB": "0",
            "EVERYFRAME_STORED_EDGE": "640",
        }

    def add(self, *clips: Path) -> None:
        command = (sys.executable, "-c", "from enrich.cli import main; main()", "add", "--sampling", "exact")
        subprocess.run(
            [*command, *map(str, clips)],
            cwd=ROOT,
            env=self.environment(),
            check=True,
            capture_output=True,
        )

    def start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with (self.home / "log.txt").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment(), stdout=log, stderr=log)
        STARTED.append(process)
        return process

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.home / "library.db", timeout=10)) as database:
            return database.execute(sql).fetchall()

    def count(self, sql: str) -> int:
        [(count,)] = self.rows(sql)
        return int(str(count))

    def log(self) -> str:
        return (self.home / "log.txt").read_text()

    def is_done(self) -> bool:
        return self.rows("SELECT DISTINCT enrichment_status FROM videos") == [("enriched",)]

    def outcome(self) -> list[tuple[object, ...]]:
        """All frames with their descriptions, independent of ids."""
        return self.rows(
            "SELECT fingerprint, frames.'index', timestamp, stands_for, local_description "
            "FROM frames JOIN videos ON videos.id = video_id ORDER BY 1, 2"
        )

    def images(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in (self.home / "frames").rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = (sys.executable, "-m", "tests.standin", "--delay", "0.02", "--parallel", "4")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [
        numbered_clip(folder / f"{number}.mp4", frames=CLIP_FRAMES, size=(1280, 720), first=1000 * number, bframes=2)
        for number in range(CLIPS)
    ]


@dataclass(frozen=True)
class Undisturbed:
    """The outcome of a run without a kill."""

    outcome: list[tuple[object, ...]]
    images: dict[str, bytes]
    start_seconds: float  # from the start of the process to the start of its run


@pytest.fixture(scope="module")
def undisturbed(address: str, clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    library = LibraryFolder(tmp_path_factory.mktemp("undisturbed"), address)
    library.add(*clips)
    start = time.monotonic()
    process = library.start(FOREGROUND)
    wait_until(lambda: library.count("SELECT count(*) FROM runs") == 1, "it runs", process, details=library.log)
    seconds = time.monotonic() - start
    assert process.wait(PATIENCE_SECONDS) == 0, library.log()
    outcome = library.outcome()
    assert len(outcome) == FRAMES_IN_ALL
    return Undisturbed(outcome, library.images(), seconds)


@dataclass(frozen=True)
class KillPoint:
    """When a worker is killed: some time after it has made some more progress."""

    progress: str  # SQL that counts the progress
    further: int
    further_seconds: float


FRAMES = "SELECT count(*) FROM frames"
EXTRACTING = "SELECT count(*) FROM videos WHERE extraction_status = 'extracting'"
DESCRIBED = "SELECT count(*) FROM frames WHERE local_description IS NOT NULL"


def random_kill_points(start_seconds: float) -> list[KillPoint]:
    """Two kills during the start, three during extraction, five during description."""
    rng = random.Random(SEED)
    starting = [KillPoint(FRAMES, 0, rng.uniform(0.1, 1.0) * start_seconds) for _ in range(2)]
    extracting = [KillPoint(FRAMES, rng.randrange(1, 25), rng.uniform(0, 0.05)) for _ in range(3)]
    describing = [KillPoint(DESCRIBED, rng.randrange(1, 12), rng.uniform(0, 0.05)) for _ in range(5)]
    points = starting + extracting + describing
    assert len(points) == KILLS
    return points


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", [FOREGROUND, BACKGROUND], ids=["everyframe enrich", "python -m enrich"])
def test_ten_random_kills_do_not_change_the_outcome(
    command: tuple[str, ...], address: str, clips: list[Path], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    library = LibraryFolder(tmp_path, address)
    library.add(*clips)
    stages = []
    for point in random_kill_points(undisturbed.start_seconds):
        goal = library.count(point.progress) + point.further
        process = library.start(command)
        wait_until(
            lambda sql=point.progress, goal=goal: library.count(sql) >= goal,
            "it has come this far",
            process,
            details=library.log,
        )
        time.sleep(point.further_seconds)
        assert process.poll() is None, library.log()
        process.kill()
        assert process.wait() == -signal.SIGKILL
        stages.append((library.count(EXTRACTING), library.count(DESCRIBED)))
    last = library.start(command)
    wait_until(lambda: library.is_done() or last.poll() is not None, "everything is described", details=library.log)
    if command == BACKGROUND:
        last.terminate()  # otherwise it would wait for more work
    assert last.wait(PATIENCE_SECONDS) == 0, library.log()
    assert_complete(library)
    assert library.outcome() == undisturbed.outcome
    assert library.images() == undisturbed.images
    # The test proves nothing unless the kills hit every stage.
    extracting, described = zip(*stages, strict=True)
    assert sum(extracting) >= 2, stages
    assert len(set(described)) >= 6, stages
    assert described[-1] < FRAMES_IN_ALL, stages


def assert_complete(library: LibraryFolder) -> None:
    """Nothing is stuck, incomplete or duplicated."""
    assert library.rows("PRAGMA integrity_check") == [("ok",)]
    assert library.rows("PRAGMA foreign_key_check") == []
    assert library.rows("SELECT DISTINCT status FROM tasks") == [("done",)]
    assert library.rows("SELECT count(*) FROM tasks WHERE lease_token IS NOT NULL OR attempts > 0") == [(0,)]
    [(kept, frames)] = library.rows("SELECT count(*), count(DISTINCT frame_id) FROM analyses WHERE is_kept")
    assert kept == frames
    assert library.rows("SELECT count(*) FROM frames") == [(frames,)]
    assert library.rows("SELECT count(*) FROM analyses WHERE NOT is_kept") == [(0,)]
    assert library.rows("SELECT count(*) FROM search_documents") == [(frames,)]
    ends = [state for (state,) in library.rows("SELECT state FROM runs ORDER BY id")]
    assert set(ends[:-1]) <= {"crashed"}
    assert ends[-1] in ("finished", "stopped")
    paths = {str(path) for (path,) in library.rows("SELECT image_path FROM frames")}
    assert {name.removeprefix(f"frames{os.sep}") for name in library.images()} == paths
    for name, jpeg in library.images().items():
        assert simplejpeg.decode_jpeg(jpeg).shape == (360, 640, 3), name


def test_kill_repeats_only_the_requests_in_flight(address: str, clips: list[Path], tmp_path: Path) -> None:
    """Counted at the server: only the requests that were in flight are repeated."""
    library = LibraryFolder(tmp_path, address)
    library.add(clips[1])
    httpx.post(f"{address}/standin/forget", json={})
    process = library.start(FOREGROUND)
    wait_until(lambda: library.count(DESCRIBED) > 20, "it describes", process, details=library.log)
    process.kill()
    process.wait()
    assert library.start(FOREGROUND).wait(PATIENCE_SECONDS) == 0
    history = httpx.get(f"{address}/standin/history").json()
    calls = [number for request in history if request["path"] == "/api/chat" for number in request["numbers"]]
    calls = [number for number in calls if number is not None]  # a probe image has none
    assert set(calls) == set(range(1000, 1000 + CLIP_FRAMES))
    assert len(calls) - CLIP_FRAMES <= 8  # four requests in flight, and as many replies that were not saved yet
