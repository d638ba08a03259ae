"""The processes of a library's worker in the background, as a test sees them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from db import runs
from db.engine import reading
from db.runs import ProcessIdentity, RunRow
from enrich.process import find
from tests.worker.workspace import Workspace

PATIENCE_SECONDS = 40.0


@dataclass
class Background:
    """Who works on a library, and what has become of them."""

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

    def until(self, happens: Callable[[], object], what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not happens():
            assert time.monotonic() < end, f"waited in vain: {what}; {self.log()}"
            time.sleep(0.05)

    def until_described(self, count: int) -> None:
        self.until(lambda: self.workspace.described() >= count, f"{count} frames are described")

    def until_state(self, state: str) -> None:
        self.until(lambda: self.workspace.states_of_runs()[-1:] == [state], f"the run is {state}")

    def log(self) -> str:
        """What worker and supervisor wrote last."""
        folder = self.workspace.settings.home / "logs"
        return "\n".join(path.read_text(encoding="utf-8")[-2000:] for path in sorted(folder.glob("*.log")))

    def end(self) -> None:
        """Kill whatever is left, supervisors first, by id."""
        with reading(self.workspace.library.engine) as connection:
            rows = [runs.run(connection, run_id) for (run_id,) in self.workspace.ask("SELECT id FROM runs")]
        for processes in ([row.supervisor for row in rows], [row.process for row in rows]):
            for process in processes:
                found = find(process) if process is not None else None
                if found is not None and found.pid != psutil.Process().pid:
                    found.kill()
                    found.wait(10)

    def _found(self, process: ProcessIdentity) -> psutil.Process:
        found = find(process)
        assert found is not None, f"process {process.pid} is gone; {self.log()}"
        return found
