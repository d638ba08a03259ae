"""Process identity and liveness."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from db.models import RunState
from db.runs import LiveRun, ProcessIdentity
from enrich.process import CREATE_TIME_TOLERANCE_SECONDS, REMOTE_DEAD_SECONDS, identity_of, is_alive, this_process

NOW = datetime.now(UTC)


def run(process: ProcessIdentity, *, silent: float = 0) -> LiveRun:
    return LiveRun(1, process, NOW, datetime.now(UTC) - timedelta(seconds=silent), RunState.RUNNING)


def identity(process: psutil.Process, *, older: float = 0) -> ProcessIdentity:
    known = identity_of(process)
    return ProcessIdentity(known.hostname, known.pid, known.created_at - older)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_current_process_is_alive() -> None:
    assert this_process().pid == os.getpid()
    assert is_alive(run(this_process()))


def test_local_process_is_alive_without_heartbeat(child: subprocess.Popen[bytes]) -> None:
    """It may be suspended with Ctrl-Z, or the machine was asleep; it can continue."""
    assert is_alive(run(identity(psutil.Process(child.pid)), silent=REMOTE_DEAD_SECONDS * 10))


def test_zombie_is_dead(child: subprocess.Popen[bytes]) -> None:
    process = psutil.Process(child.pid)
    known = identity(process)
    child.kill()
    while process.status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()
    assert not is_alive(run(known))


def test_missing_process_is_dead(child: subprocess.Popen[bytes]) -> None:
    known = identity(psutil.Process(child.pid))
    child.kill()
    child.wait()
    assert not is_alive(run(known))


def test_reused_process_id_is_another_process(child: subprocess.Popen[bytes]) -> None:
    known = identity(psutil.Process(child.pid), older=CREATE_TIME_TOLERANCE_SECONDS + 1)
    assert not is_alive(run(known))


def test_remote_process_is_judged_by_its_heartbeat() -> None:
    elsewhere = ProcessIdentity("another-machine", os.getpid(), 0.0)
    assert is_alive(run(elsewhere, silent=REMOTE_DEAD_SECONDS - 10))
    assert not is_alive(run(elsewhere, silent=REMOTE_DEAD_SECONDS + 10))


def test_inaccessible_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> float:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "create_time", denied)
    assert is_alive(run(ProcessIdentity(socket.gethostname(), os.getpid(), 0.0)))


@pytest.mark.parametrize("hours", [-1, 1])
def test_identity_survives_a_clock_change(
    hours: int, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Linux, create times are derived from the clock, and the boot time is read from /proc/stat."""
    if sys.platform != "linux":
        pytest.skip("create times depend on the clock on Linux only")
    known = identity(psutil.Process(child.pid))
    boot, created_at = psutil.boot_time(), psutil.Process(child.pid).create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + hours * 3600)
    assert abs(psutil.Process(child.pid).create_time() - created_at) > 3000, "otherwise the test proves nothing"
    assert is_alive(run(known))


def test_process_from_before_the_last_boot_is_another(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every boot, the same process ids are handed out at about the same times."""
    if sys.platform != "linux":
        pytest.skip("create times are absolute elsewhere, so no two boots share one")
    known = identity(psutil.Process(child.pid))
    monkeypatch.setattr("enrich.process._boot_number", lambda: 7)
    assert not is_alive(run(known))
