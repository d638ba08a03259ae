"""A worker in the background with an end: kept also after a crash, shown, and by itself. Real processes."""

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enrich.cli.status_lines import lines
from enrich.control import control
from enrich.control.status import status
from enrich.process import find
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled

NIGHT_SECONDS = 25.0


def test_after_a_crash_the_end_is_the_same_and_then_all_of_it_ends_by_itself(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=1.5, parallel=1)
    workspace.add(clip)
    until, by = datetime.now(UTC) + timedelta(seconds=NIGHT_SECONDS), time.monotonic() + NIGHT_SECONDS
    started = control.start(settings, until=until)
    supervisor = started.run.supervisor
    background.until_described(2)
    found = status(settings)
    assert found.until == until
    assert any(line.startswith("Until") and "then it ends by itself" in line for line in lines(found))

    background.worker().send_signal(signal.SIGKILL)

    background.until(lambda: workspace.states_of_runs() == ["crashed", "running"], "it is started again")
    assert status(settings).until == until
    background.until_state("finished")
    assert 0 <= (datetime.now(UTC) - until).total_seconds() < 8
    background.until(lambda: supervisor is not None and find(supervisor) is None, "the supervisor has ended")
    assert max(chat.at for chat in standin.chats) <= by + 0.5
    assert workspace.states_of_runs() == ["crashed", "finished"]
    assert workspace.tasks().keys() == {"todo", "done"}
    assert "the last one ended with its time at" in lines(status(settings))[0]
    assert_settled(workspace)


def test_a_worker_that_runs_keeps_the_end_it_has(
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


def test_the_command_says_until_when_and_refuses_to_promise_another_end(
    workspace: Workspace, standin: StandIn, background: Background, capsys: pytest.CaptureFixture[str]
) -> None:
    from enrich.cli import run

    assert run(["start", "--within", "8h"]) == 0
    assert "It ends by " in capsys.readouterr().out
    assert run(["start"]) == 0
    assert "A worker is running already" in capsys.readouterr().out
    assert run(["start", "--by", "07:00"]) == 1
    assert "a worker is running already and ends by " in capsys.readouterr().err
    assert run(["status", "--json"]) == 0
    assert '"until": "20' in capsys.readouterr().out
    assert run(["stop"]) == 0
