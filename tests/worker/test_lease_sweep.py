"""Only claims of dead processes are swept: an expired lease alone proves nothing, since the machine may have slept."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from db import queue, runs
from db.engine import writing
from db.models import TaskKind
from db.runs import ProcessIdentity
from enrich.process import REMOTE_DEAD_SECONDS, identity_of, this_process
from enrich.quick.frames import ensure_frames
from enrich.worker.leases import sweep_abandoned
from enrich.worker.run_options import RunOptions
from tests.waiting import wait_until
from tests.worker.workspace import Workspace

HOURS_AGO = datetime.now(UTC) - timedelta(hours=2)
ELSEWHERE = ProcessIdentity(this_process().hostname, 1, 1.0, "another machine")


@pytest.fixture
def library(workspace: Workspace, clip: Callable[..., Path]) -> Workspace:
    """A library with one video."""
    workspace.add(clip())
    return workspace


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def claim(
    workspace: Workspace, process: ProcessIdentity, *, run_id: int | None = None, at: datetime = HOURS_AGO
) -> queue.ClaimedTask:
    with writing(workspace.library.engine) as connection:
        wanted = queue.TaskFilter(TaskKind.EXTRACT)
        [task] = queue.claim(connection, wanted, run_id=run_id, host=str(process), limit=1, now=at)
    return task


def begin_run(workspace: Workspace, process: ProcessIdentity, *, silent_seconds: float = 0) -> int:
    at = datetime.now(UTC) - timedelta(seconds=silent_seconds)
    with writing(workspace.library.engine) as connection:
        return runs.begin(connection, process, options={}, is_alive=lambda _: False, now=at)[0]


def sweep(workspace: Workspace, own_run: int | None = None) -> int:
    with writing(workspace.library.engine) as connection:
        return sweep_abandoned(connection, now=datetime.now(UTC), own_run=own_run)


def test_expired_lease_of_a_living_worker_is_kept(library: Workspace) -> None:
    """It slept, and renews its leases before long."""
    run_id = begin_run(library, this_process(), silent_seconds=7200)
    task = claim(library, this_process(), run_id=run_id)
    assert sweep(library) == 0
    with writing(library.library.engine) as connection:
        assert queue.renew(connection, [task], now=datetime.now(UTC)) == 1


def test_lease_of_a_dead_worker_is_swept_at_once(library: Workspace) -> None:
    dead = replace(this_process(), created_at=this_process().created_at - 3600)
    claim(library, dead, run_id=begin_run(library, dead), at=datetime.now(UTC))
    assert sweep(library) == 1


def test_lease_of_an_ended_run_is_swept(library: Workspace) -> None:
    run_id = begin_run(library, this_process())
    claim(library, this_process(), run_id=run_id, at=datetime.now(UTC))
    library.change("UPDATE runs SET state = 'crashed'")
    assert sweep(library) == 1


def test_worker_on_another_machine_is_judged_by_its_heartbeat(library: Workspace) -> None:
    """Also if both machines have the same host name."""
    claim(library, ELSEWHERE, run_id=begin_run(library, ELSEWHERE, silent_seconds=REMOTE_DEAD_SECONDS - 60))
    assert sweep(library) == 0
    silent = datetime.now(UTC) - timedelta(seconds=REMOTE_DEAD_SECONDS + 1)
    library.change("UPDATE runs SET heartbeat_at = :at", at=f"{silent:%Y-%m-%d %H:%M:%S.%f}")
    assert sweep(library) == 1


def test_expired_lease_of_a_living_command_is_kept(library: Workspace, child: subprocess.Popen[bytes]) -> None:
    claim(library, identity_of(psutil.Process(child.pid)))
    assert sweep(library) == 0
    child.kill()
    child.wait()
    assert sweep(library) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_suspended_command_keeps_its_lease_until_it_expires(library: Workspace, child: subprocess.Popen[bytes]) -> None:
    """It was suspended with Ctrl-Z, and may never continue."""
    process = psutil.Process(child.pid)
    claim(library, identity_of(process), at=datetime.now(UTC))
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it is suspended")
    assert sweep(library) == 0
    library.change("UPDATE tasks SET lease_until = '2020-01-01 00:00:00.000000' WHERE status = 'doing'")
    assert sweep(library) == 1


@pytest.mark.parametrize("host", ["here", str(ELSEWHERE)])
def test_lease_of_an_unknown_command_counts_by_its_time(library: Workspace, host: str) -> None:
    claim(library, this_process(), at=datetime.now(UTC))
    library.change("UPDATE tasks SET host = :host", host=host)
    assert sweep(library) == 0
    library.change("UPDATE tasks SET lease_until = '2020-01-01 00:00:00.000000' WHERE status = 'doing'")
    assert sweep(library) == 1


async def test_new_run_leaves_the_task_of_a_living_command(library: Workspace, child: subprocess.Popen[bytes]) -> None:
    task = claim(library, identity_of(psutil.Process(child.pid)))
    assert task.video_id == 1
    await library.enrich(RunOptions(until_idle=False, within_seconds=0.5))
    assert library.value("SELECT status FROM tasks WHERE id = :id", id=task.id) == "doing"


def test_quick_pass_takes_over_the_task_of_a_killed_one(library: Workspace, child: subprocess.Popen[bytes]) -> None:
    """Without a worker, nothing else would sweep."""
    killed = identity_of(psutil.Process(child.pid))
    library.change("UPDATE tasks SET status = 'done' WHERE kind = 'skim'")
    claim(library, killed, at=datetime.now(UTC))
    child.kill()
    child.wait()
    assert ensure_frames(library.library, 1, wanted=3, stop=threading.Event()).kept > 0
