"""The host name changes while a worker runs, as on a laptop that joins another network; or two machines share one."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db import runs
from db.engine import writing
from db.models import RunState
from db.runs import ProcessIdentity
from enrich.control import control
from enrich.control.status import WorkerHealth, status
from enrich.control.supervisor import Supervisor
from enrich.jobs.jobs import jobs, start_job, stop_job
from enrich.process import REMOTE_DEAD_SECONDS, find_process, is_alive, is_local, this_process
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful


def rename_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "another-name")


@pytest.mark.slow
def test_worker_is_found_under_another_host_name(
    settings: Settings,
    workspace: Workspace,
    standin: StandIn,
    clip: Path,
    background: Background,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip)
    started = control.start(settings)
    background.until_described(2)
    rename_host(monkeypatch)

    found = status(settings)
    assert (found.health, found.is_supervised) == (WorkerHealth.WELL, True)
    assert found.worker is not None
    assert found.worker.pid == started.run.process.pid
    again = control.start(settings)
    assert (again.was_running, again.run.id) == (True, started.run.id)
    assert control.pause(settings).is_done
    assert control.resume(settings).is_done
    background.until_described(30)
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert workspace.states_of_runs() == ["stopped"]
    assert_truthful(workspace)
    assert_settled(workspace)


def test_supervisor_knows_its_worker_under_another_name(settings: Settings, workspace: Workspace) -> None:
    supervisor = Supervisor(settings)
    renamed = replace(this_process(), hostname="another-name")
    with writing(workspace.library.engine) as connection:
        runs.begin(connection, renamed, supervisor=renamed, options={}, is_alive=lambda _: False, now=datetime.now(UTC))
    assert supervisor._our_run() is not None


def run_of(process: ProcessIdentity, *, silent_seconds: float) -> runs.LiveRun:
    at = datetime.now(UTC) - timedelta(seconds=silent_seconds)
    return runs.LiveRun(1, process, at, at, RunState.RUNNING)


def test_machine_with_the_same_host_name_is_another() -> None:
    """Its process ids mean nothing here."""
    other = replace(this_process(), pid=2**22 + 1, machine_id="another machine")
    assert not is_local(other)
    assert find_process(replace(other, pid=this_process().pid)) is None
    assert is_alive(run_of(other, silent_seconds=REMOTE_DEAD_SECONDS - 30))
    assert not is_alive(run_of(other, silent_seconds=REMOTE_DEAD_SECONDS + 1))


def test_run_without_machine_id_is_judged_by_host_name() -> None:
    """It began before schema 0002."""
    old = replace(this_process(), machine_id=None)
    assert is_local(old)
    assert not is_local(replace(old, hostname="another-name"))


@pytest.mark.slow
def test_second_machine_with_the_same_host_name_starts_no_worker(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background, tmp_path: Path
) -> None:
    """The other machine is a process with another home folder, so with another stored id."""
    standin.behave(delay=0.1)
    workspace.add(clip)
    control.start(settings)
    background.until_described(2)
    elsewhere = os.environ | {"HOME": str(tmp_path / "elsewhere"), "USERPROFILE": str(tmp_path / "elsewhere")}
    command = [sys.executable, "-c", "from enrich.cli import main; main()", "enrich"]
    refused = subprocess.run(command, env=elsewhere, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "a worker is already running on this library" in refused.stderr
    assert len(workspace.states_of_runs()) == 1


def test_identity_survives_as_text() -> None:
    for process in (this_process(), ProcessIdentity("my host", 7, 1.5), ProcessIdentity("here", 7, 2e14, "id")):
        assert ProcessIdentity.parse(str(process)) == process
    for text in ("", "here", "here one 1.5 -"):
        assert ProcessIdentity.parse(text) is None


def test_run_keeps_the_machine_of_worker_and_supervisor(workspace: Workspace) -> None:
    with writing(workspace.library.engine) as connection:
        run_id, _ = runs.begin(
            connection,
            this_process(),
            supervisor=replace(this_process(), pid=1),
            options={},
            is_alive=lambda _: False,
            now=datetime.now(UTC),
        )
        found = runs.run(connection, run_id)
    assert found.process == this_process()
    assert found.supervisor == replace(this_process(), pid=1)


def test_job_is_found_under_another_host_name(
    settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start_job(settings, "status", "status", "--watch", prints_json=False)
    rename_host(monkeypatch)
    assert [one.is_running for one in jobs(settings)] == [True]
    assert stop_job(settings, job.id)
