"""Background workers with a deadline: it survives a crash, is shown, and ends the run. Real processes."""

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enrich.cli.status_lines import lines
from enrich.control import control
from enrich.control.status import status
from enrich.process import find_process
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled

RUN_SECONDS = 25.0


@pytest.mark.slow
def test_deadline_survives_a_crash(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=1.5, parallel=1)
    workspace.add(clip)
    until, by = datetime.now(UTC) + timedelta(seconds=RUN_SECONDS), time.monotonic() + RUN_SECONDS
    started = control.start(settings, until=until)
    supervisor = started.run.supervisor
    background.until_described(2)
    found = status(settings)
    assert found.until == until
    assert any(line.startswith("Time limit stops at ") for line in lines(found))

    background.worker().send_signal(signal.SIGKILL)

    background.until(lambda: workspace.states_of_runs() == ["crashed", "running"], "the worker is restarted")
    assert status(settings).until == until
    background.until_state("finished")
    assert 0 <= (datetime.now(UTC) - until).total_seconds() < 8
    background.until(lambda: supervisor is not None and find_process(supervisor) is None, "the supervisor has ended")
    assert max(chat.at for chat in standin.chats) <= by + 0.5
    assert workspace.states_of_runs() == ["crashed", "finished"]
    assert workspace.tasks().keys() == {"todo", "done"}
    assert "last run reached its time limit at" in lines(status(settings))[0]
    assert_settled(workspace)


def test_running_worker_keeps_its_deadline(
    settings: Settings, workspace: Workspace, standin: StandIn, background: Background
) -> None:
    until = datetime.now(UTC) + timedelta(hours=8)
    assert not control.start(settings, until=until).was_running
    second = control.start(settings, until=until + timedelta(hours=1))
    assert second.was_running
    assert status(settings).until == until
    control.stop(settings)
    assert not control.start(settings).was_running
    assert status(settings).until is None
    control.stop(settings)


def test_start_refuses_to_change_the_deadline(
    workspace: Workspace, standin: StandIn, background: Background, capsys: pytest.CaptureFixture[str]
) -> None:
    from enrich.cli import run

    assert run(["start", "--within", "8h"]) == 0
    assert "It stops at " in capsys.readouterr().out
    assert run(["start"]) == 0
    assert "The worker is already running" in capsys.readouterr().out
    assert run(["start", "--by", "07:00"]) == 1
    assert "a worker is already running and stops at " in capsys.readouterr().err
    assert run(["status", "--json"]) == 0
    assert '"until": "20' in capsys.readouterr().out
    assert run(["stop"]) == 0
