"""One night over a library: its worker processes, and what the work came to."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.worker.house import House, assert_settled

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.005

Worker = subprocess.Popen[bytes]


@dataclass
class Night:
    """A library, and the workers that are started on it without a supervisor; they find their settings as people's do.

    What they print goes into `log.txt` in the library's folder.
    """

    house: House
    workers: list[Worker] = field(default_factory=list)

    def begin(self) -> Worker:
        """Start `python -m enrich`, which stays until it is ended."""
        with self._log.open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-m", "enrich"], cwd=ROOT, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def until(self, happens: Callable[[], object], what: str, worker: Worker | None = None) -> None:
        """Wait until something is so; fails at once if `worker` ends before."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not happens():
            assert worker is None or worker.poll() is None, f"the worker ended: {what}; {self.log()}"
            assert time.monotonic() < end, f"waited in vain: {what}; {self.log()}"
            time.sleep(LOOK_SECONDS)

    def until_running(self, worker: Worker) -> None:
        """Wait until the run of this worker is seen."""
        self.until(lambda: self.house.value("SELECT max(pid = :pid) FROM runs", pid=worker.pid), "it runs", worker)

    def until_state(self, state: str, worker: Worker | None = None) -> None:
        """Wait until the last run is in this state."""
        self.until(lambda: self.house.states_of_runs()[-1:] == [state], f"the run is {state}", worker)

    def finish(self, worker: Worker | None = None) -> None:
        """Let a worker do all that is left, and end it as the system does."""
        worker = worker or self.begin()
        self.until_running(worker)
        self.until(self.is_done, "everything is described", worker)
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0, self.log()

    def is_done(self) -> bool:
        return bool(self.house.ask("SELECT DISTINCT enrichment_status FROM videos") == [("enriched",)])

    def kept(self) -> int:
        return int(self.house.value("SELECT count(*) FROM frames"))

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else "there is no log"

    def end(self) -> None:
        """Kill what is left of the workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    @property
    def _log(self) -> Path:
        return self.house.settings.home / "log.txt"


@dataclass(frozen=True)
class Outcome:
    """What the work came to, whatever its rows are numbered."""

    videos: list[Any]
    frames: list[Any]
    pictures: dict[str, str]  # hashes by name


def outcome(house: House) -> Outcome:
    """Everything a person gets out of a library."""
    return Outcome(
        house.ask(
            "SELECT fingerprint, frame_count, decode_failures, extraction_status, enrichment_status, error"
            " FROM videos ORDER BY fingerprint"
        ),
        house.ask(
            'SELECT fingerprint, frames."index", timestamp, stands_for, scene, image_path, dhash, local_description,'
            " local_tags FROM frames JOIN videos ON videos.id = video_id ORDER BY 1, 2"
        ),
        {
            str(path.relative_to(house.frames_folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in house.frames_folder.rglob("*")
            if path.is_file()
        },
    )


def assert_in_order(house: House, *, most_attempts: int = 0) -> None:
    """Nothing stuck, nothing half, nothing failed, nothing described twice, every source frame stood for.

    `most_attempts`: what may be counted of frames that were described in the end.
    """
    assert_settled(house)
    assert house.ask("PRAGMA integrity_check") == [("ok",)]
    assert house.ask("SELECT DISTINCT status FROM tasks") == [("done",)]
    assert house.attempts() <= most_attempts
    frames = house.value("SELECT count(*) FROM frames WHERE local_description IS NOT NULL")
    assert house.value("SELECT count(*) FROM frames") == frames
    assert house.ask("SELECT count(*), count(DISTINCT frame_id) FROM analyses WHERE is_kept") == [(frames, frames)]
    assert house.value("SELECT count(*) FROM search_documents") == frames
    stood_for = "SELECT sum(stands_for) FROM frames WHERE video_id = videos.id"
    assert house.ask(f"SELECT id FROM videos WHERE frame_count <> ({stood_for})") == []  # noqa: S608  # no input
