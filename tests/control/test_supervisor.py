"""The supervisor: what it does after a crash, and what its own end means. Real processes, killed for real."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from enrich.control import control
from enrich.control.supervisor import exit_in_words
from enrich.settings import Settings
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

CRASHES = pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=["SIGSEGV", "SIGKILL"])


@CRASHES
def test_a_worker_that_crashes_is_started_again_and_the_work_is_finished(
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

    background.until(lambda: len(workspace.states_of_runs()) == 2, "it is started again")
    background.until_described(30)
    assert control.stop(settings) is not None
    assert workspace.states_of_runs() == ["crashed", "stopped"]
    assert number.name in workspace.value("SELECT error FROM runs WHERE id = 1")
    assert workspace.tasks() == {"done": 30}
    assert_settled(workspace)
    assert_truthful(workspace)


def test_without_its_supervisor_a_worker_goes_on_and_is_found_and_stopped(
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


def test_what_starts_the_supervisor_may_be_killed(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """As a dashboard is, or a terminal with all that hangs on it."""
    workspace.add(clip)
    code = "from enrich.cli import main; import time; \ntry: main(['start'])\nfinally: time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, start_new_session=True) as starter:
        background.until(lambda: workspace.states_of_runs() == ["running"], "it runs")
        psutil.Process(starter.pid).kill()
    background.supervisor().send_signal(signal.SIGHUP)
    background.until_described(30)
    assert background.supervisor().is_running()
    assert control.stop(settings) is not None


def test_sigterm_to_the_supervisor_stops_the_worker_in_good_order(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """As the system does when it is shut down."""
    standin.behave(delay=0.2)
    workspace.add(clip)
    control.start(settings)
    background.until_described(2)
    supervisor = background.supervisor()

    supervisor.terminate()

    background.until_state("stopped")
    supervisor.wait(20)
    assert_settled(workspace)
    assert workspace.value("SELECT coalesce(sum(crashes), 0) FROM tasks") == 0


def test_a_frame_in_hand_at_three_crashes_is_set_aside_alone(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    """The stand-in hangs at frame 7, as a picture would that crashes the worker: then it is killed."""
    workspace.add(clip)
    standin.play("hang", frames={7})
    control.start(settings)
    for crash in (1, 2, 3):
        background.until(
            lambda: any(7 in request.numbers for request in standin.chats), f"frame 7 is asked about, crash {crash}"
        )
        if crash < 3:
            background.until(lambda: workspace.described() >= 1, "others are described")
        standin.forget()
        background.worker().send_signal(signal.SIGSEGV)
        background.until(lambda runs=crash + 1: len(workspace.states_of_runs()) == runs, "it is started again")
    background.until_described(29)
    control.stop(settings)
    assert workspace.tasks() == {"done": 29, "failed": 1}
    [(number, error)] = workspace.ask(
        "SELECT frames.\"index\", tasks.error FROM tasks JOIN frames ON frames.id = frame_id WHERE status = 'failed'"
    )
    assert (number, error) == (7, "the worker crashed 3 times while it was in hand")
    assert workspace.value("SELECT max(crashes) FROM tasks WHERE status = 'done'") <= 2


def test_exits_are_told_in_words() -> None:
    assert exit_in_words(70) == "exit code 70"
    assert exit_in_words(-11) == "ended by SIGSEGV"
    assert exit_in_words(-99) == "ended by signal 99"
