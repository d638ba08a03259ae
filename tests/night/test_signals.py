"""SIGTERM, Ctrl-C and SIGKILL to worker, supervisor and the shell they came from, in every state a worker can be in."""

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
from tests.night.night import Night, Worker, assert_in_order
from tests.standin import StandIn, Trick
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

__all__ = ["clip"]

SEED = 20261122
EARLY_ROUNDS = 8
LOST_SECONDS = 8.0  # longer than a worker takes to end
STATES = ["running", "waiting", "paused"]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])

pytestmark = pytest.mark.slow


@pytest.fixture
def film(workspace: Workspace, standin: StandIn, clip: Path) -> None:
    """A film that takes some seconds to describe."""
    standin.behave(delay=0.15)
    workspace.add(clip)


def bring_into(state: str, workspace: Workspace, standin: StandIn, settings: Settings, background: Background) -> None:
    """Bring the worker that works into a state."""
    background.until_described(3)
    if state == "waiting":
        standin.stop()
    elif state == "paused":
        assert control.pause(settings).is_done
    background.until_state(state)
    assert workspace.described() < FRAMES


def assert_nothing_lost(night: Night, standin: StandIn) -> None:
    """The worker has ended in good order, and the next one does the rest."""
    assert night.workspace.states_of_runs()[-1] == "stopped"
    assert_settled(night.workspace)
    assert night.workspace.value("SELECT coalesce(sum(attempts + crashes), 0) FROM tasks") == 0
    standin.behave(delay=0)
    standin.stop()  # if it is not already
    standin.start()
    night.finish()
    assert_in_order(night.workspace)
    assert_truthful(night.workspace)


@SIGNALS
@pytest.mark.parametrize("state", STATES)
def test_a_worker_that_is_told_to_end_does_so_in_good_order(
    number: signal.Signals,
    state: str,
    night: Night,
    film: None,
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
def test_a_supervisor_that_is_told_to_end_ends_its_worker_in_good_order(
    number: signal.Signals,
    state: str,
    night: Night,
    film: None,
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
def test_a_supervisor_does_not_start_a_worker_again_that_was_told_to_end(
    state: str, night: Night, film: None, standin: StandIn, settings: Settings, background: Background
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
def test_a_second_signal_ends_it_at_once_and_nothing_is_counted(
    number: signal.Signals, night: Night, film: None, standin: StandIn
) -> None:
    """The calls in flight hang, and somebody will not wait the seconds they are given."""
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
    assert_in_order(night.workspace)
    assert_truthful(night.workspace)


def ends_within(worker: Worker, seconds: float) -> bool:
    try:
        return worker.wait(seconds) is not None
    except subprocess.TimeoutExpired:
        return False


def test_a_signal_while_it_starts_leaves_nothing_stuck(night: Night, film: None, standin: StandIn) -> None:
    """Python may lose a Ctrl-C while it imports (one that comes in a weak reference's callback): then a second."""
    chance = random.Random(SEED)
    for round_ in range(EARLY_ROUNDS):
        worker = night.begin()
        time.sleep(chance.uniform(0.05, 1.2))
        worker.send_signal(signal.SIGINT if round_ % 2 else signal.SIGTERM)
        if round_ % 2 and not ends_within(worker, LOST_SECONDS):
            worker.send_signal(signal.SIGINT)
        night.until(lambda worker=worker: worker.poll() is not None, f"it ends, round {round_}")
    assert night.workspace.attempts() == 0
    standin.behave(delay=0)
    night.finish()
    assert_in_order(night.workspace)
    assert_truthful(night.workspace)


def test_a_worker_outlives_the_shell_it_was_started_from_and_all_that_hangs_on_it(
    night: Night, film: None, standin: StandIn, settings: Settings, background: Background
) -> None:
    """As when a terminal is closed: a hang-up to the whole group, and then not even that."""
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
            assert number is signal.SIGKILL, "the hang-up was enough"
    shell.wait()
    assert background.worker().is_running()
    assert background.supervisor().is_running()
    background.until_described(FRAMES)
    assert control.start(settings).was_running
    stopped = control.stop(settings)
    assert stopped is not None
    assert not stopped.was_killed
    assert_nothing_lost(night, standin)
