"""Which process is which, and which lives."""

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
from enrich.process import CREATE_TIME_TOLERANCE_SECONDS, SILENT_SECONDS, identity_of, is_alive, this_process

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
    """It may be stopped with Ctrl-Z, or the machine slept: it is there, and would go on."""
    assert is_alive(run(identity(psutil.Process(child.pid)), silent=SILENT_SECONDS * 10))


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
    assert is_alive(run(elsewhere, silent=SILENT_SECONDS - 10))
    assert not is_alive(run(elsewhere, silent=SILENT_SECONDS + 10))


def test_inaccessible_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> float:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "create_time", denied)
    assert is_alive(run(ProcessIdentity(socket.gethostname(), os.getpid(), 0.0)))


@pytest.mark.parametrize("hours", [-1, 1])
def test_identity_survives_a_clock_change(
    hours: int, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system reckons with its clock, as Linux does; there the boot's time is read from /proc/stat."""
    if sys.platform != "linux":
        pytest.skip("only Linux reckons a process's beginning from the clock")
    known = identity(psutil.Process(child.pid))
    boot, began = psutil.boot_time(), psutil.Process(child.pid).create_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + hours * 3600)
    assert abs(psutil.Process(child.pid).create_time() - began) > 3000, "or this test shows nothing"
    assert is_alive(run(known))


def test_process_from_before_the_last_boot_is_another(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the same number is given out at about the same time."""
    if sys.platform != "linux":
        pytest.skip("elsewhere a process's beginning is a moment, and no two boots share one")
    known = identity(psutil.Process(child.pid))
    monkeypatch.setattr("enrich.process._boot_number", lambda: 7)
    assert not is_alive(run(known))
