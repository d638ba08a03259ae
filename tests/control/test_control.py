"""Start, pause, resume and stop, with real processes, a real database and a stand-in for Ollama."""

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from db import runs
from db.engine import writing
from enrich.control import control
from enrich.errors import ControlError
from enrich.process import identity_of
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

STARTER = """
import sys
from enrich.control.control import start
from enrich.settings import load_settings
print("ready", flush=True)
sys.stdin.readline()
started = start(load_settings())
print(started.run.id, started.run.process.pid, started.was_running)
"""


def test_start_pause_resume_and_stop(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip)

    started = control.start(settings)

    assert not started.was_running
    assert background.supervisor().ppid() == psutil.Process().pid
    assert background.worker().ppid() == background.supervisor().pid
    background.until_described(3)
    assert standin.loaded == {"llava:13b"}

    result = control.pause(settings)

    assert result.is_done
    assert result.run.state == "paused"
    assert standin.loaded == set(), "the model is unloaded"
    described = workspace.described()
    assert described < 30
    assert workspace.value("SELECT count(*) FROM tasks WHERE status = 'doing'") == 0, "no task is claimed"
    last_heartbeat = background.run().heartbeat_at
    background.until(lambda: background.run().heartbeat_at > last_heartbeat, "there is a heartbeat")
    assert workspace.described() == described

    assert control.resume(settings).run.state == "running"
    background.until_described(30)
    stopped = control.stop(settings)

    assert stopped is not None
    assert not stopped.was_killed
    assert stopped.run.state == "stopped"
    assert_settled(workspace)
    assert_truthful(workspace)
    assert sorted(number for number in standin.described if number is not None) == list(range(30)), "each exactly once"
    assert control.stop(settings) is None


def test_second_start_returns_the_running_worker(settings: Settings, background: Background) -> None:
    first = control.start(settings)

    second = control.start(settings)

    assert second.was_running
    assert second.run.process == first.run.process
    control.stop(settings)


def test_stop_while_paused(settings: Settings, workspace: Workspace, background: Background) -> None:
    control.start(settings)
    control.pause(settings)
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert workspace.states_of_runs() == ["stopped"]


def test_stop_while_ollama_is_down(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    workspace.add(clip)
    standin.stop()
    control.start(settings)
    background.until_state("waiting")
    assert "is not responding" in str(background.run().reason)
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert_settled(workspace)


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_two_concurrent_starts_yield_one_worker(
    times: int, settings: Settings, workspace: Workspace, background: Background
) -> None:
    for _ in range(times):
        starters = [
            subprocess.Popen([sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for starter in starters:  # both have finished their imports
            assert starter.stdout is not None
            assert starter.stdout.readline() == "ready\n"
        outputs = []
        for starter in starters:
            assert starter.stdin is not None
            starter.stdin.write("go\n")
            starter.stdin.flush()
        for starter in starters:
            out, _ = starter.communicate(timeout=60)
            assert starter.returncode == 0
            outputs.append(out.split())
        assert outputs[0][:2] == outputs[1][:2], "both name the same worker"
        assert [words[2] for words in outputs].count(
            "False"
        ) <= 1  # on a busy machine both may find the same running worker
        assert control.stop(settings) is not None
    assert workspace.states_of_runs() == ["stopped"] * times, "there was no other run"


def test_start_failure_has_its_reason(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "many")
    with pytest.raises(ControlError, match=r"did not start: .*EVERYFRAME_CONCURRENCY"):
        control.start(settings)


def test_pause_without_a_worker_is_an_error(settings: Settings) -> None:
    with pytest.raises(ControlError, match="no worker is running"):
        control.pause(settings)
    with pytest.raises(ControlError, match="no worker is running"):
        control.resume(settings)


@pytest.mark.slow
def test_hung_worker_is_killed_and_not_restarted(
    settings: Settings, workspace: Workspace, background: Background
) -> None:
    first_heartbeat = control.start(settings).run.heartbeat_at
    background.until(lambda: background.run().heartbeat_at > first_heartbeat, "there is a heartbeat")
    worker = background.worker()
    worker.suspend()  # it reads no requests and ignores SIGTERM

    stopped = control.stop(settings, grace_seconds=600)  # which a suspended worker does not use

    assert stopped is not None
    assert stopped.was_killed
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert workspace.states_of_runs() == ["stopped"]
    assert_settled(workspace)


def test_reused_process_id_is_not_killed(
    settings: Settings, workspace: Workspace, idle_process: psutil.Process
) -> None:
    """After a power loss, another process may have the id of the dead worker."""
    other = replace(identity_of(idle_process), created_at=identity_of(idle_process).created_at - 3600)
    with writing(workspace.library.engine) as connection:
        runs.begin(connection, other, supervisor=other, options={}, is_alive=lambda _: False, now=datetime.now(UTC))

    assert control.stop(settings) is None
    assert idle_process.is_running()
    assert idle_process.status() != psutil.STATUS_ZOMBIE


def test_zombie_is_not_a_running_worker(settings: Settings, workspace: Workspace) -> None:
    process = psutil.Popen([sys.executable, "-c", ""])
    known = identity_of(psutil.Process(process.pid))
    with writing(workspace.library.engine) as connection:
        runs.begin(connection, known, options={}, is_alive=lambda _: False, now=datetime.now(UTC))
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)

    assert control.running_worker(workspace.library.engine) is None
    assert control.stop(settings) is None
    process.wait()
