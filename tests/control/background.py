"""The worker and supervisor processes of a test library."""

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from db import runs
from db.engine import reading
from db.runs import ProcessIdentity, RunRow
from enrich.process import find_process
from tests.waiting import wait_until
from tests.worker.workspace import Workspace


@dataclass
class Background:
    """The background processes of a library, and their runs."""

    workspace: Workspace

    def run(self) -> RunRow:
        """The last run."""
        with reading(self.workspace.library.engine) as connection:
            run = runs.last_run(connection)
        assert run is not None
        return run

    def worker(self) -> psutil.Process:
        return self._found(self.run().process)

    def supervisor(self) -> psutil.Process:
        supervisor = self.run().supervisor
        assert supervisor is not None
        return self._found(supervisor)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition. A failure shows the log."""
        wait_until(condition, what, details=self.log)

    def until_described(self, count: int) -> None:
        self.until(lambda: self.workspace.described() >= count, f"{count} frames are described")

    def until_state(self, state: str) -> None:
        self.until(lambda: self.workspace.states_of_runs()[-1:] == [state], f"the run is {state}")

    def log(self) -> str:
        """The end of the logs of worker and supervisor."""
        folder = self.workspace.settings.home / "logs"
        return "\n".join(path.read_text(encoding="utf-8")[-2000:] for path in sorted(folder.glob("*.log")))

    def end(self) -> None:
        """Kill the remaining processes by id, supervisors first."""
        with reading(self.workspace.library.engine) as connection:
            rows = [runs.run(connection, run_id) for (run_id,) in self.workspace.ask("SELECT id FROM runs")]
        for processes in ([row.supervisor for row in rows], [row.process for row in rows]):
            for process in processes:
                found = find_process(process) if process is not None else None
                if found is not None and found.pid != psutil.Process().pid:
                    found.kill()
                    found.wait(10)

    def _found(self, process: ProcessIdentity) -> psutil.Process:
        found = find_process(process)
        assert found is not None, f"process {process.pid} is gone; {self.log()}"
        return found
