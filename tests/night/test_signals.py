"""SIGTERM, Ctrl-C and SIGKILL to the worker, its supervisor and their shell, in every state of a worker."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from enrich.control import control
from enrich.settings import Settings
from tests.control.background import Background
from tests.control.conftest import FRAMES, clip
from tests.night.night import Night, Worker, assert_complete
from tests.standin import StandIn, Trick
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

__all__ = ["clip"]

SEED = 20261122
EARLY_ROUNDS = 8
LOST_SECONDS = 8.0  # longer than a worker takes to shut down
STATES = ["running", "waiting", "paused"]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])

pytestmark = pytest.mark.slow


@pytest.fixture
def video_file(workspace: Workspace, standin: StandIn, clip: Path) -> None:
    """A video that takes some seconds to describe."""
    standin.behave(delay=0.15)
    workspace.add(clip)


def bring_into(state: str, workspace: Workspace, standin: StandIn, settings: Settings, background: Background) -> None:
    """Bring the running worker into a state."""
    background.until_described(3)
    if state == "waiting":
        standin.stop()
    elif state == "paused":
        assert control.pause(settings).is_done
    background.until_state(state)
    assert workspace.described() < FRAMES


def assert_nothing_lost(night: Night, standin: StandIn) -> None:
    """The worker has shut down cleanly, and the next one does the rest."""
    assert night.workspace.states_of_runs()[-1] == "stopped"
    assert_settled(night.workspace)
    assert night.workspace.value("SELECT coalesce(sum(attempts + crashes), 0) FROM tasks") == 0
    standin.behave(delay=0)
    standin.stop()  # unless it is stopped already
    standin.start()
    night.finish()
    assert_complete(night.workspace)
    assert_truthful(night.workspace)


@SIGNALS
@pytest.mark.parametrize("state", STATES)
def test_worker_shuts_down_cleanly_on_a_signal(
    number: signal.Signals,
    state: str,
    night: Night,
    video_file: None,
    standin: StandIn,
    settings: Settings,
    background: Background,
) -> None:
    worker = night.begin()
    bring_into(state, night.workspace, standin, settings, background)
    worker.send_signal(number)
    assert worker.wait(15) == 0, night.log()
    assert_nothing_lost(night, standin)


@SIGNALS
@pytest.mark.parametrize("state", STATES)
def test_supervisor_shuts_its_worker_down_cleanly_on_a_signal(
    number: signal.Signals,
    state: str,
    night: Night,
    video_file: None,
    standin: StandIn,
    settings: Settings,
    background: Background,
) -> None:
    control.start(settings)
    bring_into(state, night.workspace, standin, settings, background)
    supervisor, worker = background.supervisor(), background.worker()
    supervisor.send_signal(number)
    psutil.wait_procs([supervisor], 20)
    assert not worker.is_running()
    assert_nothing_lost(night, standin)


@pytest.mark.parametrize("state", STATES)
def test_supervisor_does_not_restart_a_terminated_worker(
    state: str, night: Night, video_file: None, standin: StandIn, settings: Settings, background: Background
) -> None:
    control.start(settings)
    bring_into(state, night.workspace, standin, settings, background)
    supervisor = background.supervisor()
    background.worker().terminate()
    psutil.wait_procs([supervisor], 20)
    assert not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE
    assert len(night.workspace.states_of_runs()) == 1
    assert_nothing_lost(night, standin)


@SIGNALS
def test_second_signal_kills_at_once_and_counts_no_attempt(
    number: signal.Signals, night: Night, video_file: None, standin: StandIn
) -> None:
    """The requests in flight hang, and the user does not wait for their grace time."""
    worker = night.begin()
    night.until(lambda: night.workspace.described() >= 3, "some are described", worker)
    standin.play(Trick.HANG)
    asked = len(standin.chats)
    night.until(lambda: len(standin.chats) >= asked + 2, "calls hang", worker)
    worker.send_signal(number)
    night.until_state("stopping", worker)
    began = time.monotonic()
    worker.send_signal(number)
    assert worker.wait(15) == -number, night.log()
    assert time.monotonic() - began < 3
    standin.calm()
    standin.behave(delay=0)
    night.finish()
    assert night.workspace.states_of_runs() == ["crashed", "stopped"]
    assert_complete(night.workspace)
    assert_truthful(night.workspace)


def ends_within(worker: Worker, seconds: float) -> bool:
    try:
        return worker.wait(seconds) is not None
    except subprocess.TimeoutExpired:
        return False


def test_signal_during_start_up_leaves_nothing_stuck(night: Night, video_file: None, standin: StandIn) -> None:
    """Python may lose a Ctrl-C during imports (inside the callback of a weak reference); then a second one follows."""
    rng = random.Random(SEED)
    for round_ in range(EARLY_ROUNDS):
        worker = night.begin()
        time.sleep(rng.uniform(0.05, 1.2))
        worker.send_signal(signal.SIGINT if round_ % 2 else signal.SIGTERM)
        if round_ % 2 and not ends_within(worker, LOST_SECONDS):
            worker.send_signal(signal.SIGINT)
        night.until(lambda worker=worker: worker.poll() is not None, f"it ends, round {round_}")
    assert night.workspace.attempts() == 0
    standin.behave(delay=0)
    night.finish()
    assert_complete(night.workspace)
    assert_truthful(night.workspace)


def test_worker_outlives_the_shell_that_started_it(
    night: Night, video_file: None, standin: StandIn, settings: Settings, background: Background
) -> None:
    """As when a terminal closes: SIGHUP to the whole process group, then SIGKILL."""
    command = "from enrich.cli import main; main(['start'])"
    shell = subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1"; sleep 60', sys.executable, command],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    background.until(lambda: night.workspace.states_of_runs() == ["running"], "it runs")
    for number in (signal.SIGHUP, signal.SIGKILL):
        try:
            os.killpg(shell.pid, number)
        except ProcessLookupError:
            assert number is signal.SIGKILL, "SIGHUP was enough"
    shell.wait()
    assert background.worker().is_running()
    assert background.supervisor().is_running()
    background.until_described(FRAMES)
    assert control.start(settings).was_running
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert_nothing_lost(night, standin)
