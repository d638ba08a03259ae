"""The clock jumps an hour forward and back while a worker runs, and between two workers; the computer sleeps."""

import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import psutil
import pytest
from sqlalchemy import text

from db import runs
from db.engine import writing
from enrich.control import control
from enrich.process import is_process_alive, this_process
from enrich.worker import heartbeat, host_runner, leases, result_writer, worker
from enrich.worker.leases import sweep_abandoned
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip
from tests.night.night import PATIENCE_SECONDS, Night, assert_complete
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_truthful

HOUR = timedelta(hours=1)
FRAMES = 120
ONE_CLAIM = 8  # frames claimed together


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Sets the wall clock of this process by an offset; the monotonic clock continues, as on a real system."""
    distance = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + distance

    def set_to(new: timedelta) -> None:
        nonlocal distance
        distance = new

    for name, module in list(sys.modules.items()):
        if name.startswith(("enrich.", "db.")) and vars(module).get("datetime") is datetime:
            monkeypatch.setattr(module, "datetime", Clock)
    return set_to


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed, and expired ones released, many times during a test."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.05)


@pytest.mark.slow
async def test_leases_survive_clock_jumps_during_a_run(
    workspace: Workspace, standin: StandIn, tmp_path: Path, set_clock: Callable[[timedelta], None]
) -> None:
    standin.behave(delay=0.05)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=FRAMES))
    async with Running(workspace, RunOptions()) as running:
        for step, distance in enumerate([HOUR, timedelta(), -HOUR, HOUR, -HOUR]):
            await until(lambda step=step: workspace.described() >= 15 * (step + 1), "some are described")
            set_clock(distance)
        assert (await running.end()).is_good
    assert_complete(workspace)
    assert_truthful(workspace)
    calls = [number for number in standin.described if number is not None]
    assert set(calls) == set(range(FRAMES))
    assert len(calls) - FRAMES <= ONE_CLAIM, (
        "a task claimed at the moment of a jump may be released and described twice"
    )


async def test_pending_retry_runs_although_the_clock_was_set_back(
    workspace: Workspace,
    standin: StandIn,
    tmp_path: Path,
    set_clock: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock is set back while a frame waits for its retry."""
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0.5)
    standin.behave(delay=0.02)
    standin.play(Trick.HTML, frames={3}, times=1)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=20))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.attempts() == 1, "a frame has failed once")
        set_clock(-HOUR)
        await until(lambda: workspace.described() == 20, "it is retried", seconds=5)
        assert (await running.end()).is_good
    assert_truthful(workspace)


@pytest.mark.slow
async def test_tasks_of_a_killed_worker_are_reclaimed_under_an_earlier_clock(
    night: Night, standin: StandIn, tmp_path: Path, set_clock: Callable[[timedelta], None]
) -> None:
    workspace = night.workspace
    standin.behave(delay=0.1)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=40))
    killed = night.begin()
    night.until(lambda: workspace.described() >= 5, "some are described", killed)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") > 0
    standin.behave(delay=0)
    set_clock(-HOUR)
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() == 40, "all are described", seconds=5)
        assert (await running.end()).is_good
    assert_complete(workspace)
    assert_truthful(workspace)


SLEEP = "UPDATE tasks SET lease_until = '2020-01-01 00:00:00.000000' WHERE status = 'doing'"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
@pytest.mark.parametrize("other", ["run", "sweep"])
def test_worker_keeps_its_work_after_the_computer_slept(
    night: Night, standin: StandIn, tmp_path: Path, other: str
) -> None:
    """Every lease has expired when two processes wake up, and the other one is first.

    The sleep is a SIGSTOP and leases that have expired in the database: nobody waits for 90 seconds.
    """
    workspace = night.workspace
    standin.behave(delay=0.2)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=40))
    worker = night.begin()
    night.until(lambda: workspace.described() >= 3, "some are described", worker)
    try:
        with writing(workspace.library.engine) as connection:  # so that it does not sleep with the database locked
            worker.send_signal(signal.SIGSTOP)
            night.until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, "it sleeps")
            connection.execute(text(SLEEP))
        held = "SELECT id, lease_token FROM tasks WHERE status = 'doing' ORDER BY id"
        before = workspace.ask(held)
        assert before
        if other == "run":
            second = night.begin()
            assert second.wait(PATIENCE_SECONDS) == 1, "it is refused"
        else:
            with writing(workspace.library.engine) as connection:
                assert sweep_abandoned(connection, now=datetime.now(UTC)) == 0
        assert workspace.ask(held) == before
    finally:
        worker.send_signal(signal.SIGCONT)
    night.finish(worker)
    assert_complete(workspace)
    assert_truthful(workspace)
    assert sorted(number for number in standin.described if number is not None) == list(range(40))


@pytest.fixture
def set_system_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Makes /proc report another boot time, as it does after the system clock was set."""
    if not Path("/proc/stat").exists():
        pytest.skip("there is no /proc")

    def set_to(distance: timedelta) -> None:
        other = tmp_path / f"proc-{distance.total_seconds():.0f}"
        other.mkdir()
        for entry in Path("/proc").iterdir():
            if entry.name != "stat":
                (other / entry.name).symlink_to(entry)
        lines = Path("/proc/stat").read_text().splitlines()
        [booted] = [int(line.split()[1]) for line in lines if line.startswith("btime ")]
        moved = f"btime {booted + round(distance.total_seconds())}"
        (other / "stat").write_text("\n".join(moved if line.startswith("btime ") else line for line in lines) + "\n")
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(other))

    return set_to


@pytest.mark.parametrize("distance", [HOUR, -HOUR], ids=["on", "back"])
def test_living_worker_is_recognized_after_the_system_clock_was_set(
    workspace: Workspace, distance: timedelta, set_system_clock: Callable[[timedelta], None]
) -> None:
    """Otherwise a second worker would start."""
    me = this_process()
    with writing(workspace.library.engine) as connection:
        runs.begin(connection, me, options={}, is_alive=lambda _: False, now=datetime.now(UTC))
    assert is_process_alive(me)
    set_system_clock(distance)
    assert control.running_worker(workspace.library.engine) is not None
