"""The supervisor, `python -m enrich.control.supervisor`: starts the worker and restarts it after a crash.

It decodes no video and calls no model, so nothing that crashes the worker crashes it too. It exits when the worker was
stopped, has finished, or cannot start. After a crash (any other exit code, or a signal) it records the cause, counts
the crash for the tasks in flight, and restarts the worker with exponential backoff. Its arguments are the worker's.

If the supervisor itself is killed, the worker keeps running and can be found through its row in the runs table.
"""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine

from db import runs, store
from db.engine import reading, writing
from db.errors import StorageError
from db.models import RunState
from db.runs import RunRow
from enrich.control.launch import PERMANENT_EXIT_CODES, format_identity, last_output, launch
from enrich.errors import EveryFrameError
from enrich.library.library import open_engine
from enrich.logs import Action, about, catch_crashes, log_path, log_to_file, without_secrets
from enrich.process import is_same_process, keep_files_private, python_command, this_process
from enrich.settings import Settings, load_settings
from enrich.wording import one_line

log = logging.getLogger(__name__)

PROGRAM = "supervisor"
FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
STABLE_SECONDS = 600.0  # a worker that ran this long resets the backoff
POLL_SECONDS = 0.5
STOP_SECONDS = 30.0  # for the worker to stop on request, and half of it again after SIGTERM


class Supervisor:
    """Keeps one worker running. Used from one thread; `stop` may be called from a signal handler."""

    def __init__(self, settings: Settings, arguments: Sequence[str] = ()) -> None:
        self._settings = settings
        self._arguments = list(arguments)
        self._engine: Engine = open_engine(settings)
        self._identity = this_process()
        self._last: RunRow | None = None  # the last run we have handled
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """Stop the worker, then return from `run`."""
        self._is_stopping.set()

    def run(self) -> int:
        """Keep a worker running until it is stopped or cannot start; the exit code."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started_at = time.monotonic()
            code = self._run_worker()
            if code == 0 or code in PERMANENT_EXIT_CODES or self._should_stop():
                return max(0, code)
            if not self._record_crash(code):
                return 1
            if time.monotonic() - started_at >= STABLE_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            log.warning("restarting the worker in %.0f s", backoff, extra=about(Action.WORKER_STARTED))
            if not self._sleep(backoff):
                return 0
            backoff = min(MAX_BACKOFF_SECONDS, 2 * backoff)

    def _run_worker(self) -> int:
        """Run the worker once; its exit code, negative for the signal that ended it."""
        command = python_command("enrich", *self._arguments, "--supervisor", format_identity(self._identity))
        worker = launch(self._settings, command, is_new=False)
        log.info("started the worker as process %d", worker.pid, extra=about(Action.WORKER_STARTED))
        ended = threading.Thread(target=worker.wait, name="everyframe-supervisor")
        ended.start()
        while ended.is_alive():
            ended.join(POLL_SECONDS)
            if self._is_stopping.is_set() and ended.is_alive():
                self._stop_worker(worker, ended)
        code = worker.returncode
        log.info("the worker ended: %s", exit_in_words(code), extra=about(Action.WORKER_ENDED))
        return code

    def _stop_worker(self, worker: "subprocess.Popen[bytes]", ended: threading.Thread) -> None:
        """Request a stop, then send SIGTERM, then SIGKILL."""
        run = self._our_run()
        if run is not None and not run.has_ended and self._request_stop(run):
            ended.join(STOP_SECONDS)
        if ended.is_alive():
            worker.terminate()
            ended.join(STOP_SECONDS / 2)
        if ended.is_alive():
            log.warning("the worker did not stop in time; killing it", extra=about(Action.WORKER_ENDED))
            worker.kill()
            ended.join()

    def _request_stop(self, run: RunRow) -> bool:
        """Whether the request could be written; if the database is locked or full, only signals are left."""
        try:
            with writing(self._engine) as connection:
                runs.request(connection, run.id, runs.STOP)
        except StorageError as error:
            log.warning("cannot request the worker to stop: %s", error, extra=about(Action.DATABASE_FAILED))
            return False
        return True

    def _should_stop(self) -> bool:
        """Whether the worker was meant to end: this supervisor was stopped, or a stop was requested."""
        run = self._our_run()
        return self._is_stopping.is_set() or (run is not None and run.requested == runs.STOP)

    def _record_crash(self, code: int) -> bool:
        """Record the cause of a crash; False if the worker crashed at its first start, so that restarting is futile."""
        run = self._our_run()
        if run is None or (self._last is not None and run.id == self._last.id):
            log.error("the worker crashed during startup", extra=about(Action.WORKER_ENDED))
            return self._last is not None  # it started before, so it may start again
        self._last = run
        error = f"the worker crashed: {exit_in_words(code)}" + (f"; {run.error}" if run.error else "")
        log.error("%s: %s", error, last_output(self._settings), extra=about(Action.WORKER_ENDED, run=run.id))
        try:
            with writing(self._engine) as connection:
                runs.end_dead_run(connection, run.id, RunState.CRASHED, error=error)
                runs.set_error(connection, run.id, error)
                failed_count = store.count_crash(connection, run.id, now=datetime.now(UTC))
        except StorageError as problem:  # the next worker cleans up after the dead run
            log.warning("cannot record the crash: %s", problem, extra=about(Action.DATABASE_FAILED))
            return True
        if failed_count:
            log.error(
                "%d tasks failed: %s", failed_count, store.CRASH_LIMIT_REACHED, extra=about(Action.TASKS_CRASH_LIMIT)
            )
        return True

    def _our_run(self) -> RunRow | None:
        """The last run, if it belongs to a worker of this supervisor."""
        try:
            with reading(self._engine) as connection:
                run = runs.last_run(connection)
        except StorageError as error:
            log.warning("cannot read the run: %s", error, extra=about(Action.DATABASE_FAILED))
            return None
        is_ours = run is not None and run.supervisor is not None and is_same_process(run.supervisor, self._identity)
        return run if is_ours else None

    def _sleep(self, seconds: float) -> bool:
        """Wait before a restart; False if a stop is requested meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._should_stop():
                return False
            self._is_stopping.wait(min(POLL_SECONDS, seconds))
        return not self._should_stop()


def exit_in_words(code: int) -> str:
    """An exit code in words: `exit code 3`, `killed by SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def main(arguments: Sequence[str]) -> int:
    """Run a supervisor; its exit code."""
    keep_files_private()
    try:
        settings = load_settings()
        log_to_file(log_path(settings, PROGRAM))
        catch_crashes(settings.home / "logs", PROGRAM)
        supervisor = Supervisor(settings, arguments)
    except EveryFrameError as error:
        sys.stderr.write(f"everyframe: {one_line(without_secrets(str(error)), None)}\n")
        return 1
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if name in signal.Signals.__members__:
            signal.signal(signal.Signals[name], lambda *_: supervisor.stop())
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # keep running when the terminal closes
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
