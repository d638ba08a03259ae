"""Starting, pausing, resuming and stopping the worker in the background, from any process.

What is wanted of a worker is written into its row of the runs table, and obeyed by it within a second: no signal, so
that it is the same on every system and from another machine. Only a worker that does not end in time is ended as a
process, by whoever asked, and only on the machine it runs on.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import queue, runs
from db.engine import reading, writing
from db.models import RunState
from db.runs import ProcessIdentity, RunRow
from enrich.control.launch import last_output, launch, python_command, reap
from enrich.errors import ControlError
from enrich.library.library import open_engine
from enrich.process import find, is_alive, lives
from enrich.settings import Settings

START_SECONDS = 60.0  # a machine that is busy takes its time to import what a worker needs
STOP_SECONDS = 20.0  # the worker gives calls in flight 5 of them
REQUEST_SECONDS = 10.0  # after which a wish is left to be obeyed later
WITHDRAW_SECONDS = 10.0  # for a supervisor that came too late to end, and its worker with it
END_SECONDS = 5.0  # between SIGTERM and SIGKILL
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StartResult:
    """The worker that runs now; `was_running`: it did before."""

    run: RunRow
    was_running: bool


@dataclass(frozen=True, slots=True)
class StopResult:
    """The worker that has ended; `was_killed`: it did not by itself."""

    run: RunRow
    was_killed: bool


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The worker that was asked for something; `is_done`: it has obeyed already, else it will."""

    run: RunRow
    is_done: bool


def start(
    settings: Settings, *, describer: str | None = None, model: str | None = None, until: datetime | None = None
) -> StartResult:
    """Have a worker in the background, and return once it has reported itself. If there is one, it is left alone.

    From the moment `until` on it takes up no new work and ends, also if it was started again after a crash.
    Raises ControlError, which says why it could not be started, and LibraryError.
    """
    engine = open_engine(settings)
    try:
        running = running_worker(engine)
        if running is not None:
            return StartResult(running, was_running=True)
        supervisor = launch(settings, supervisor_command(describer, model, until))
        reaper = reap(supervisor)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            has_ended = not reaper.is_alive()
            running = running_worker(engine)
            if running is not None:
                is_ours = _belongs_to(running, supervisor.pid)
                if not is_ours:  # another start was quicker: ours must not take the library should that one end soon
                    supervisor.terminate()
                    reaper.join(WITHDRAW_SECONDS)
                return StartResult(running, was_running=not is_ours)
            if has_ended:
                raise ControlError(f"the worker did not start: {last_output(settings) or 'it said nothing'}")
            time.sleep(LOOK_SECONDS)
        raise ControlError(
            f"the worker has not reported itself within {START_SECONDS:.0f} s; see the logs in {settings.home / 'logs'}"
        )
    finally:
        engine.dispose()


def stop(settings: Settings, *, grace_seconds: float = STOP_SECONDS) -> StopResult | None:
    """Stop the worker, and whoever would start it again; None if there is none.

    It is given so many seconds to finish its calls and end, then it is told to end, then killed. On another machine
    it can only be asked. Raises ControlError if it does not end.
    """
    engine = open_engine(settings)
    try:
        run = _last_run(engine)
        if run is None or not (_is_running(run) or _is_watched(run)):
            return None
        with suppress(OperationalError):  # locked: perhaps by the very worker that hangs
            _request(engine, run, runs.STOP)
        if _wait(lambda: not (_is_running(_run(engine, run.id)) or _is_watched(run)), grace_seconds):
            return StopResult(_run(engine, run.id), was_killed=False)
        processes = [run.supervisor, run.process] if run.supervisor is not None else [run.process]
        if not any(lives(process) for process in processes):
            raise ControlError(f"the worker on {run.process.hostname} has been asked to stop and has not yet")
        for process in processes:  # the supervisor first: it ends its worker, and does not start it again
            _terminate(process)
        _wait(lambda: not any(lives(process) for process in processes), END_SECONDS)
        for process in processes:
            _kill(process)
        if not _wait(lambda: not any(lives(process) for process in processes), END_SECONDS):
            raise ControlError(f"the worker, process {run.process.pid}, could not be ended")
        return StopResult(_close(engine, run.id), was_killed=True)
    finally:
        engine.dispose()


def pause(settings: Settings) -> RequestResult:
    """Have the worker pause, and the model's memory freed; returns once that is done, or after some seconds.

    Raises ControlError if there is no worker.
    """
    return _ask(settings, runs.PAUSE)


def resume(settings: Settings) -> RequestResult:
    """Have a paused worker go on. Raises ControlError if there is no worker."""
    return _ask(settings, runs.RESUME)


def supervisor_command(
    describer: str | None = None, model: str | None = None, until: datetime | None = None
) -> list[str]:
    """What is run to have a worker, and have it started again after a crash; it stays in the foreground."""
    options = [("--describer", describer), ("--model", model), ("--until", until.isoformat() if until else None)]
    words = [word for name, value in options if value is not None for word in (name, value)]
    return python_command("enrich.control.supervisor", *words)


def running_worker(engine: Engine) -> RunRow | None:
    """The run whose worker lives, None if there is none."""
    run = _last_run(engine)
    return run if run is not None and _is_running(run) else None


def _ask(settings: Settings, wish: str) -> RequestResult:
    engine = open_engine(settings)
    try:
        run = running_worker(engine)
        if run is None:
            raise ControlError("no worker is running: start one with `everyframe start`")
        _request(engine, run, wish)
        is_done = _wait(lambda: _run(engine, run.id).requested != wish, REQUEST_SECONDS)
        return RequestResult(_run(engine, run.id), is_done)
    finally:
        engine.dispose()


def _last_run(engine: Engine) -> RunRow | None:
    with reading(engine) as connection:
        return runs.last_run(connection)


def _run(engine: Engine, run_id: int) -> RunRow:
    with reading(engine) as connection:
        return runs.run(connection, run_id)


def _request(engine: Engine, run: RunRow, wish: str) -> None:
    with writing(engine) as connection:
        runs.request(connection, run.id, wish)


def _is_running(run: RunRow) -> bool:
    return not run.has_ended and is_alive(run)


def _is_watched(run: RunRow) -> bool:
    """Whether a supervisor would start the worker again."""
    return run.supervisor is not None and lives(run.supervisor)


def _belongs_to(run: RunRow, pid: int) -> bool:
    """Whether a run is of the supervisor that was launched as process `pid`.

    On Windows that may be a launcher's, whose child the supervisor is.
    """
    if run.supervisor is None:
        return False
    if run.supervisor.pid == pid:
        return True
    try:
        found = find(run.supervisor)
        return found is not None and found.ppid() == pid
    except psutil.Error:
        return False


def _wait(happens: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _terminate(process: ProcessIdentity) -> None:
    try:
        found = find(process)
        if found is not None:
            found.terminate()
    except psutil.Error:
        return  # it has gone, or is not ours to end: the caller looks


def _kill(process: ProcessIdentity) -> None:
    try:
        found = find(process)
        if found is not None:
            found.kill()
    except psutil.Error:
        return


def _close(engine: Engine, run_id: int) -> RunRow:
    """Note the end of a run that could not do so itself; what it had in hand is given back, nothing counted."""
    with writing(engine) as connection:
        queue.release_run(connection, run_id)
        runs.end_from_outside(connection, run_id, RunState.STOPPED, error="it did not stop in time and was killed")
        return runs.run(connection, run_id)
