"""Start, pause, resume and stop the background worker, from any process.

Requests are written to the worker's row in the runs table, and the worker acts on them within a second. There are no
signals, so requests work the same on every platform and from another machine. Only a worker that does not stop in time
is terminated as a process, by the caller of `stop`, and only on the machine it runs on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from sqlalchemy import Connection, Engine

from db import queue, runs
from db.engine import reading, write_obstacle, writing
from db.errors import DatabaseLockedError, StorageError
from db.models import RunState
from db.runs import ProcessIdentity, RunRow
from enrich.control.launch import last_output, launch, reap
from enrich.errors import ControlError
from enrich.library.library import open_engine
from enrich.process import find_process, is_alive, is_process_alive, is_same_process, is_suspended, python_command
from enrich.settings import Settings

START_TIMEOUT_SECONDS = 60.0  # a busy machine takes long to import the worker
STOP_SECONDS = 20.0  # the worker gives requests in flight 5 of them
REQUEST_TIMEOUT_SECONDS = 10.0  # then the call returns, and the worker acts on the request later
WITHDRAW_SECONDS = 10.0  # for a supervisor that lost the race to start, and its worker, to end
TERMINATE_SECONDS = 5.0  # between SIGTERM and SIGKILL
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StartResult:
    """The worker that is running; `was_running` if it already ran before the call."""

    run: RunRow
    was_running: bool


@dataclass(frozen=True, slots=True)
class StopResult:
    """The worker that stopped; `was_killed` if it did not stop in time."""

    run: RunRow
    was_killed: bool


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The worker that got a request; `is_done` if it has acted on it, otherwise it will."""

    run: RunRow
    is_done: bool


def start(
    settings: Settings, *, describer: str | None = None, model: str | None = None, until: datetime | None = None
) -> StartResult:
    """Start a worker in the background, and return once it has registered its run. A running worker is left as it is.

    After the time `until` the worker starts no new work and ends, even if it was restarted after a crash. Raises
    ControlError if it could not be started, and LibraryError.
    """
    engine = open_engine(settings)
    try:
        running = running_worker(engine)
        if running is not None:
            return StartResult(running, was_running=True)
        obstacle = write_obstacle(engine)
        if obstacle is not None and not isinstance(obstacle, DatabaseLockedError):  # a lock is short: the worker waits
            raise ControlError(f"the worker did not start: {obstacle}")
        supervisor = launch(settings, supervisor_command(describer, model, until))
        reaper = reap(supervisor)
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < end:
            has_ended = not reaper.is_alive()
            running = running_worker(engine)
            if running is not None:
                is_ours = _belongs_to(running, supervisor.pid)
                if not is_ours:  # another start won: ours must not take over when that worker ends
                    supervisor.terminate()
                    reaper.join(WITHDRAW_SECONDS)
                return StartResult(running, was_running=not is_ours)
            if has_ended:
                raise ControlError(f"the worker did not start: {last_output(settings) or 'it printed no error'}")
            time.sleep(POLL_SECONDS)
        raise ControlError(
            f"the worker did not start within {START_TIMEOUT_SECONDS:.0f} s. See the logs in {settings.home / 'logs'}"
        )
    finally:
        engine.dispose()


def stop(settings: Settings, *, grace_seconds: float = STOP_SECONDS) -> StopResult | None:
    """Stop the worker and its supervisor; None if there is none.

    The worker gets `grace_seconds` to finish its requests, then SIGTERM, then SIGKILL. On another machine it only gets
    the request. If its supervisor is just restarting it after a crash, it stops once it has registered its run. Raises
    ControlError if it does not stop.
    """
    engine = open_engine(settings)
    try:
        last = _last_run(engine)
        if last is None or not _is_active(last):
            return None
        run = last
        try:
            with writing(engine) as connection:  # the supervisor may have started the next worker since
                run = _latest(connection, run)
                runs.request(connection, run.id, runs.STOP)
        except StorageError:  # locked, perhaps by the very worker that hangs, or its disk is full: it must be signalled
            grace_seconds = 0
        if is_suspended(run.process):  # it reads no requests
            grace_seconds = 0
        if _wait(lambda: not _is_active(_reread(engine, run)), grace_seconds):
            return StopResult(_reread(engine, run), was_killed=False)
        run = _reread(engine, run)
        processes = [run.supervisor, run.process] if run.supervisor is not None else [run.process]
        if not any(is_process_alive(process) for process in processes):
            raise ControlError(
                f"the worker on {run.process.hostname} has not stopped yet. It will when it reads the request"
            )
        for process in processes:  # supervisor first: it stops its worker and does not restart it
            _terminate(process)
        if _wait(lambda: not any(is_process_alive(process) for process in processes), TERMINATE_SECONDS):
            return StopResult(_close(engine, run, "terminated"), was_killed=False)
        for process in processes:
            _kill(process)
        if not _wait(lambda: not any(is_process_alive(process) for process in processes), TERMINATE_SECONDS):
            raise ControlError(f"cannot stop the worker (process {run.process.pid}): it does not react to being killed")
        return StopResult(_close(engine, run, "killed"), was_killed=True)
    finally:
        engine.dispose()


def pause(settings: Settings) -> RequestResult:
    """Pause the worker and unload its model. Returns when that is done, or after `REQUEST_TIMEOUT_SECONDS`.

    Raises ControlError if no worker is running.
    """
    return _send(settings, runs.PAUSE)


def resume(settings: Settings) -> RequestResult:
    """Resume a paused worker. Raises ControlError if no worker is running."""
    return _send(settings, runs.RESUME)


def supervisor_command(
    describer: str | None = None, model: str | None = None, until: datetime | None = None
) -> list[str]:
    """The command of the supervisor, which keeps a worker running. It stays in the foreground."""
    options = [("--describer", describer), ("--model", model), ("--until", until.isoformat() if until else None)]
    words = [word for name, value in options if value is not None for word in (name, value)]
    return python_command("enrich.control.supervisor", *words)


def running_worker(engine: Engine) -> RunRow | None:
    """The run whose worker process is alive; None if there is none."""
    run = _last_run(engine)
    return run if run is not None and _is_running(run) else None


def _send(settings: Settings, request: str) -> RequestResult:
    engine = open_engine(settings)
    try:
        run = running_worker(engine)
        if run is None:
            raise ControlError("no worker is running. Start one with `everyframe start`")
        if is_suspended(run.process):  # it may hold the lock of the database
            raise ControlError(_no_response(run, "is suspended"))
        with writing(engine) as connection:
            runs.request(connection, run.id, request)
        run_id = run.id
        is_done = _wait(lambda: _run(engine, run_id).requested != request, REQUEST_TIMEOUT_SECONDS)
        run = _run(engine, run_id)
        silent_seconds = (datetime.now(UTC) - run.heartbeat_at).total_seconds()
        if not is_done and not run.has_ended and silent_seconds >= REQUEST_TIMEOUT_SECONDS:
            raise ControlError(_no_response(run, f"has not responded for {silent_seconds:.0f} s"))
        return RequestResult(run, is_done)
    finally:
        engine.dispose()


def _no_response(run: RunRow, what: str) -> str:
    return (
        f"the worker (process {run.process.pid}) {what}: continue the process, or end it with `everyframe stop` and "
        "start it again with `everyframe start`"
    )


def _last_run(engine: Engine) -> RunRow | None:
    with reading(engine) as connection:
        return runs.last_run(connection)


def _run(engine: Engine, run_id: int) -> RunRow:
    with reading(engine) as connection:
        return runs.run(connection, run_id)


def _reread(engine: Engine, run: RunRow) -> RunRow:
    with reading(engine) as connection:
        return _latest(connection, run)


def _latest(connection: Connection, run: RunRow) -> RunRow:
    """The row of a run as it is now, or that of the next worker of its supervisor."""
    last = runs.last_run(connection)
    if last is None or last.supervisor is None or run.supervisor is None:
        return runs.run(connection, run.id)
    return last if is_same_process(last.supervisor, run.supervisor) else runs.run(connection, run.id)


def _is_active(run: RunRow) -> bool:
    """Whether a worker runs, or will be started again."""
    return _is_running(run) or _is_supervised(run)


def _is_running(run: RunRow) -> bool:
    return not run.has_ended and is_alive(run)


def _is_supervised(run: RunRow) -> bool:
    """Whether a live supervisor would restart the worker."""
    return run.supervisor is not None and is_process_alive(run.supervisor)


def _belongs_to(run: RunRow, pid: int) -> bool:
    """Whether the run belongs to the supervisor that was launched as process `pid`.

    On Windows, `pid` may be a launcher with the supervisor as its child.
    """
    if run.supervisor is None:
        return False
    if run.supervisor.pid == pid:
        return True
    try:
        found = find_process(run.supervisor)
        return found is not None and found.ppid() == pid
    except psutil.Error:
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _terminate(process: ProcessIdentity) -> None:
    try:
        found = find_process(process)
        if found is not None:
            found.terminate()
    except psutil.Error:
        return  # already gone, or not ours: the caller checks


def _kill(process: ProcessIdentity) -> None:
    try:
        found = find_process(process)
        if found is not None:
            found.kill()
    except psutil.Error:
        return


def _close(engine: Engine, run: RunRow, end: str) -> RunRow:
    """Close the run of a worker that a signal ended: release its tasks without counting a failed attempt."""
    error = f"the worker did not stop in time and was {end}"
    try:
        with writing(engine) as connection:
            queue.release_run(connection, run.id)
            runs.end_dead_run(connection, run.id, RunState.STOPPED, error=error)
            return runs.run(connection, run.id)
    except StorageError:  # locked by another program, or the disk is full: the next run closes it
        return run
