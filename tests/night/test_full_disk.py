"""A small disk fills up while a worker writes, and has free space again later. A real file system in memory."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.errors import DatabaseFullError
from enrich.control import control
from enrich.control.status import read_status
from enrich.errors import EveryFrameError
from enrich.library import images
from enrich.library.images import IN_FLIGHT_MEGABYTES, MEGABYTE
from enrich.settings import load_settings
from enrich.worker import database_thread, decoder, prefetch, worker
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip
from tests.control.background import Background
from tests.night.night import assert_complete
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_truthful, open_workspace

DISK_MEGABYTES = 130
RESERVE_MEGABYTES = 20
FRAMES = 400

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The mount point of a small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has a tmpfs")
    size = f"size={DISK_MEGABYTES * MEGABYTE}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def make_workspace(disk: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Workspace]]:
    """Opens a library on the small disk; worker processes use it too."""
    opened: list[Workspace] = []
    monkeypatch.setenv("EVERYFRAME_HOME", str(disk / "home"))

    def make(**given: int) -> Workspace:
        opened.append(open_workspace(disk / "home", ollama_hosts=standin.address, **given))
        return opened[-1]

    yield make
    for workspace in opened:
        workspace.library.engine.dispose()


def free_megabytes(disk: Path) -> float:
    return shutil.disk_usage(disk).free / MEGABYTE


def fill(disk: Path, until_free_megabytes: float) -> Path:
    """Fill the disk with one file and return it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while free_megabytes(disk) > until_free_megabytes:
                file.write(bytes(min(MEGABYTE, max(1, int((free_megabytes(disk) - until_free_megabytes) * MEGABYTE)))))
        except OSError:  # no byte is left
            assert until_free_megabytes == 0
    return ballast


async def test_decoding_pauses_above_the_disk_reserve_and_resumes(
    make_workspace: Callable[..., Workspace],
    disk: Path,
    standin: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up during decoding; the frames kept so far are described meanwhile."""
    monkeypatch.setattr(images, "RETRY_SECONDS", 0.2)
    for module in (worker, decoder, prefetch):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    workspace = make_workspace(disk_reserve_mb=RESERVE_MEGABYTES, stored_edge=1280)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=FRAMES, size=(1280, 720)))
    async with Running(workspace, RunOptions(until_idle=False)):
        await until(lambda: (workspace.value('SELECT max("index") FROM frames') or 0) > 20, "it is being decoded")
        ballast = fill(disk, RESERVE_MEGABYTES + IN_FLIGHT_MEGABYTES / 2)
        await until(lambda: workspace.video().error is not None, "it waits")
        assert "are kept in reserve" in (workspace.video().error or "")
        assert workspace.video().extraction_status != "extracted"
        kept = len(workspace.frames())
        assert kept < FRAMES
        await until(lambda: workspace.described() == kept, "the kept frames are described")
        assert free_megabytes(disk) > RESERVE_MEGABYTES
        ballast.unlink()
        await until(lambda: workspace.video().enrichment_status == "enriched", "it resumes", seconds=60)
    assert workspace.video().error is None
    assert_complete(workspace)
    assert_truthful(workspace)
    assert len(workspace.frames()) == FRAMES


def test_completely_full_disk_loses_nothing(
    make_workspace: Callable[..., Workspace], disk: Path, standin: StandIn, tmp_path: Path
) -> None:
    """Nothing can be written: no description, no heartbeat, no log."""
    workspace = make_workspace()
    settings = load_settings()
    background = Background(workspace)
    standin.behave(delay=0.1)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=80))
    try:
        control.start(settings)
        background.until(lambda: workspace.video().extraction_status == "extracted", "it is decoded")
        background.until_described(5)
        ballast = fill(disk, 0)
        background.until(lambda: free_megabytes(disk) == 0, "it is full")
        process = background.worker()
        time.sleep(1)
        described = workspace.described()
        time.sleep(4)
        assert workspace.described() == described, "nothing can be saved"
        assert process.is_running()
        background.until(lambda: "is full: free at least" in reason(workspace), "status says so")
        ballast.unlink()
        background.until_described(80)
        assert control.stop(settings) is not None
    finally:
        background.end()
    assert workspace.states_of_runs() == ["stopped"]
    assert_complete(workspace)
    assert_truthful(workspace)


def reason(workspace: Workspace) -> str:
    """The reason that `status` shows for the worker's state."""
    found = read_status(workspace.library.engine, now=datetime.now(UTC), measures=False)
    return (found.run.reason or "") if found.run is not None else ""


async def test_disk_without_a_free_byte_pauses_extraction_and_describing(
    make_workspace: Callable[..., Workspace],
    disk: Path,
    standin: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In this process, so that an error of any thread is seen."""
    monkeypatch.setattr(images, "RETRY_SECONDS", 0.2)
    workspace = make_workspace()
    standin.behave(delay=0.05)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=80))
    async with Running(workspace) as running:
        await until(lambda: running.worker.status.counts.frames_described > 5, "some are described")
        ballast = fill(disk, 0)
        await until(lambda: running.worker.status.state == "waiting", "it waits")
        assert "is full: free at least" in (running.worker.status.reason or "")
        ballast.unlink()
        await until(lambda: workspace.video().enrichment_status == "enriched", "it continues by itself")
    assert workspace.attempts() == 0
    assert_complete(workspace)
    assert_truthful(workspace)


async def test_stop_without_a_free_byte_ends_the_run_and_loses_nothing_saved(
    make_workspace: Callable[..., Workspace],
    disk: Path,
    standin: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_thread, "STOP_LIMIT_SECONDS", 1.0)
    workspace = make_workspace()
    standin.behave(delay=0.05)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=80))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: running.worker.status.counts.frames_described > 5, "some are described")
        ballast = fill(disk, 0)
        await until(lambda: running.worker.status.state == "waiting", "it waits")
        running.worker.stop()
        assert isinstance(await running.failure(), DatabaseFullError)
    ballast.unlink()
    described = workspace.described()
    assert (await workspace.enrich()).counts.frames_described == 80 - described
    assert workspace.attempts() == 0
    assert_complete(workspace)
    assert_truthful(workspace)


def test_start_without_a_free_byte_says_so(make_workspace: Callable[..., Workspace], disk: Path) -> None:
    workspace = make_workspace()
    ballast = fill(disk, 0)
    with pytest.raises(EveryFrameError, match="is full: free at least 1 MB"):
        control.start(load_settings())
    ballast.unlink()
    assert workspace.states_of_runs() == []
