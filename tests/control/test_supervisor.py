"""The supervisor after a crash of the worker, and when it is killed itself. Real processes."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from db import runs
from db.engine import writing
from enrich.control import control
from enrich.control.supervisor import Supervisor, exit_in_words
from enrich.process import this_process
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

CRASHES = pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=["SIGSEGV", "SIGKILL"])


@CRASHES
def test_crashed_worker_is_restarted_and_finishes(
    number: signal.Signals,
    settings: Settings,
    workspace: Workspace,
    standin: StandIn,
    clip: Path,
    background: Background,
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip)
    control.start(settings)
    background.until_described(3)

    background.worker().send_signal(number)

    background.until(lambda: len(workspace.states_of_runs()) == 2, "the worker is restarted")
    background.until_described(30)
    assert control.stop(settings) is not None
    assert workspace.states_of_runs() == ["crashed", "stopped"]
    assert number.name in workspace.value("SELECT error FROM runs WHERE id = 1")
    assert workspace.tasks() == {"done": 30}
    assert_settled(workspace)
    assert_truthful(workspace)


@pytest.mark.slow
def test_stop_reaches_a_worker_that_is_being_started(
    settings: Settings, workspace: Workspace, background: Background
) -> None:
    control.start(settings)
    supervisor, first = background.supervisor(), background.worker()
    first.kill()
    background.until(lambda: any(child != first for child in supervisor.children()), "the next worker is being started")
    assert not control.running_worker(workspace.library.engine), "it has not registered its run"

    stopped = control.stop(settings)

    assert stopped is not None
    assert not stopped.was_killed
    assert workspace.states_of_runs() == ["crashed", "stopped"]
    assert not supervisor.is_running()


def test_worker_without_supervisor_can_be_stopped(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip)
    control.start(settings)
    supervisor = background.supervisor()
    supervisor.kill()

    background.until_described(30)

    assert control.start(settings).was_running
    assert control.pause(settings).is_done
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert workspace.states_of_runs() == ["stopped"]


def test_supervisor_outlives_its_parent(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """As happens when the dashboard or the terminal is closed."""
    workspace.add(clip)
    code = "from enrich.cli import main; import time; \ntry: main(['start'])\nfinally: time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, start_new_session=True) as starter:
        background.until(lambda: workspace.states_of_runs() == ["running"], "the worker is running")
        psutil.Process(starter.pid).kill()
    background.supervisor().send_signal(signal.SIGHUP)
    background.until_described(30)
    assert background.supervisor().is_running()
    assert control.stop(settings) is not None


def test_sigterm_to_the_supervisor_stops_the_worker(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """As happens at a system shutdown."""
    standin.behave(delay=0.2)
    workspace.add(clip)
    control.start(settings)
    background.until_described(2)
    supervisor = background.supervisor()

    supervisor.terminate()

    background.until_state("stopped")
    supervisor.wait(60)
    assert_settled(workspace)
    assert workspace.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0


@pytest.mark.slow
def test_frame_in_flight_at_three_crashes_fails_alone(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """Simulates an image that crashes the worker: the stand-in hangs at frame 7, and the test kills the worker."""
    workspace.add(clip)
    standin.play("hang", frames={7})
    control.start(settings)
    for crash in (1, 2, 3):
        background.until(
            lambda: any(7 in request.numbers for request in standin.chats), f"frame 7 is requested, crash {crash}"
        )
        if crash < 3:
            background.until(lambda: workspace.described() >= 1, "others are described")
        standin.forget()
        background.worker().send_signal(signal.SIGSEGV)
        background.until(lambda runs=crash + 1: len(workspace.states_of_runs()) == runs, "the worker is restarted")
    background.until_described(29)
    control.stop(settings)
    assert workspace.tasks() == {"done": 29, "failed": 1}
    [(number, error)] = workspace.ask(
        "SELECT frames.\"index\", tasks.error FROM tasks JOIN frames ON frames.id = frame_id WHERE status = 'failed'"
    )
    assert (number, error) == (7, "the worker crashed 3 times while working on it")
    assert workspace.value("SELECT max(crashes) FROM tasks WHERE status = 'done'") <= 2


@pytest.mark.expected_errors("the worker crashed")
def test_log_says_what_the_database_refused(
    settings: Settings, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(settings)
    with writing(workspace.library.engine) as connection:
        runs.begin(
            connection,
            this_process(),
            supervisor=this_process(),
            options={},
            is_alive=lambda _: False,
            now=datetime.now(UTC),
        )
        refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'no update'); END"
        connection.exec_driver_sql(refuse)

    assert supervisor._record_crash(-11)

    assert "refused a statement (no update)" in caplog.text
    with writing(workspace.library.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE runs RENAME TO gone")
    assert supervisor._our_run() is None
    assert "refused a statement (no such table: runs)" in caplog.text
    assert "locked" not in caplog.text
    supervisor._engine.dispose()


def test_exit_codes_in_words() -> None:
    assert exit_in_words(70) == "exit code 70"
    assert exit_in_words(-11) == "killed by SIGSEGV"
    assert exit_in_words(-99) == "killed by signal 99"
