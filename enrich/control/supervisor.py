"""The supervisor, `python -m enrich.control.supervisor`: starts the worker, and starts it again after a crash.

It reads no video and calls no model, so that nothing that ends the worker ends it too. It ends with a worker that was
stopped, has finished, or refuses to begin; after a crash (any other exit, or a signal) it notes what the worker died
of, counts the crash for the tasks in hand, and starts it again, with growing pauses. Its arguments are the worker's.

Killed itself, it leaves the worker running: that goes on, and is found through its row in the runs table.
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
from sqlalchemy.exc import DatabaseError

from db import runs, store
from db.engine import reading, writing
from db.models import RunState
from db.runs import RunRow
from enrich.control.launch import described, last_output, launch, python_command
from enrich.errors import EveryFrameError
from enrich.library.library import open_engine
from enrich.logs import Action, about, catch_crashes, log_path, log_to_file
from enrich.process import this_process
from enrich.settings import Settings, load_settings

log = logging.getLogger(__name__)

PROGRAM = "supervisor"
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
GOOD_SECONDS = 600.0  # a worker that has lived so long has got over what crashed it before
LOOK_SECONDS = 0.5
STOP_SECONDS = 30.0  # a worker that was told to stop is given so long, and half of it again for SIGTERM
WRONG_EXITS = (1, 2)  # it was refused, or cannot work like this: again would be in vain


class Supervisor:
    """One worker's keeper, from one thread. `stop` may be called from a signal handler."""

    def __init__(self, settings: Settings, arguments: Sequence[str] = ()) -> None:
        self._settings = settings
        self._arguments = list(arguments)
        self._engine: Engine = open_engine(settings)
        self._me = this_process()
        self._last: RunRow | None = None  # of our workers
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """Have the worker stopped, and end."""
        self._is_stopping.set()

    def run(self) -> int:
        """Keep a worker running until there is a reason to end; the exit code."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            code = self._run_worker()
            if code == 0 or code in WRONG_EXITS or self._is_over():
                return max(0, code)
            if not self._note_crash(code):
                return 1
            if time.monotonic() - began >= GOOD_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.warning("the worker is started again in %.0f s", pause, extra=about(Action.WORKER_STARTED))
            if not self._sleep(pause):
                return 0
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def _run_worker(self) -> int:
        """One life of the worker; its exit code, negative for the signal that ended it."""
        command = python_command("enrich", *self._arguments, "--supervisor", described(self._me))
        worker = launch(self._settings, command, is_new=False)
        log.info("the worker is process %d", worker.pid, extra=about(Action.WORKER_STARTED))
        ended = threading.Thread(target=worker.wait, name="everyframe-supervisor")
        ended.start()
        while ended.is_alive():
            ended.join(LOOK_SECONDS)
            if self._is_stopping.is_set() and ended.is_alive():
                self._stop_worker(worker, ended)
        code = worker.returncode
        log.info("the worker has ended: %s", exit_in_words(code), extra=about(Action.WORKER_ENDED))
        return code

    def _stop_worker(self, worker: "subprocess.Popen[bytes]", ended: threading.Thread) -> None:
        """Ask it to stop, then tell it, then kill it."""
        run = self._our_run()
        if run is not None and not run.has_ended:
            with writing(self._engine) as connection:
                runs.request(connection, run.id, runs.STOP)
            ended.join(STOP_SECONDS)
        if ended.is_alive():
            worker.terminate()
            ended.join(STOP_SECONDS / 2)
        if ended.is_alive():
            log.warning("the worker does not stop and is killed", extra=about(Action.WORKER_ENDED))
            worker.kill()
            ended.join()

    def _is_over(self) -> bool:
        """Whether whoever ended the worker wanted it to end."""
        run = self._our_run()
        return self._is_stopping.is_set() or (run is not None and run.requested == runs.STOP)

    def _note_crash(self, code: int) -> bool:
        """Write down what the worker died of; whether it had begun, so that starting it again may help."""
        run = self._our_run()
        if run is None or (self._last is not None and run.id == self._last.id):
            log.error("the worker crashed before it had begun", extra=about(Action.WORKER_ENDED))
            return self._last is not None  # it has begun before: it may again
        self._last = run
        error = f"the worker crashed: {exit_in_words(code)}" + (f"; {run.error}" if run.error else "")
        log.error("%s: %s", error, last_output(self._settings), extra=about(Action.WORKER_ENDED, run=run.id))
        try:
            with writing(self._engine) as connection:
                runs.end_from_outside(connection, run.id, RunState.CRASHED, error=error)
                runs.explain(connection, run.id, error)
                aside = store.count_crash(connection, run.id, now=datetime.now(UTC))
        except DatabaseError as problem:  # the next worker finds its dead run by itself
            log.warning("the database waits: %s", problem.orig, extra=about(Action.DATABASE_LOCKED))
            return True
        if aside:
            log.error(
                "%d tasks are set aside: %s", aside, store.CRASH_LIMIT_REACHED, extra=about(Action.TASKS_CRASH_LIMIT)
            )
        return True

    def _our_run(self) -> RunRow | None:
        """The last run, if it is a worker's of ours."""
        try:
            with reading(self._engine) as connection:
                run = runs.last_run(connection)
        except DatabaseError as error:
            log.warning("the database waits: %s", error.orig, extra=about(Action.DATABASE_LOCKED))
            return None
        return run if run is not None and run.supervisor == self._me else None

    def _sleep(self, seconds: float) -> bool:
        """Wait before the next start; False if we are told to stop meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._is_over():
                return False
            self._is_stopping.wait(min(LOOK_SECONDS, seconds))
        return not self._is_over()


def exit_in_words(code: int) -> str:
    """What an exit code says: `exit code 3`, `killed by SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def main(arguments: Sequence[str]) -> int:
    """Run a supervisor until it ends; its exit code."""
    try:
        settings = load_settings()
        log_to_file(log_path(settings, PROGRAM))
        catch_crashes(settings.home / "logs", PROGRAM)
        supervisor = Supervisor(settings, arguments)
    except EveryFrameError as error:
        sys.stderr.write(f"everyframe: {error}\n")
        return 1
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if name in signal.Signals.__members__:
            signal.signal(signal.Signals[name], lambda *_: supervisor.stop())
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal may close
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
