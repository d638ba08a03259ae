"""A night: the worker processes that run on one library, and their outcome."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enrich.library.images import jpeg_format
from enrich.video.extraction import Extraction
from enrich.video.sampling import parse_sampling
from tests.waiting import wait_until
from tests.worker.workspace import Workspace, assert_settled

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90.0

Worker = subprocess.Popen[bytes]


@dataclass
class Night:
    """A library and workers without a supervisor; they read their settings from the environment.

    Their output goes to `log.txt` in the folder of the library.
    """

    workspace: Workspace
    workers: list[Worker] = field(default_factory=list)

    def begin(self) -> Worker:
        """Start `python -m enrich`, which runs until it is stopped."""
        with self._log.open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-m", "enrich"], cwd=ROOT, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def until(self, condition: Callable[[], object], what: str, worker: Worker | None = None) -> None:
        """Wait until a condition holds; fail at once if `worker` ends before."""
        wait_until(condition, what, worker, details=self.log, seconds=PATIENCE_SECONDS)

    def until_running(self, worker: Worker) -> None:
        """Wait until this worker has a run."""
        self.until(lambda: self.workspace.value("SELECT max(pid = :pid) FROM runs", pid=worker.pid), "it runs", worker)

    def until_state(self, state: str, worker: Worker | None = None) -> None:
        """Wait until the last run is in this state."""
        self.until(lambda: self.workspace.states_of_runs()[-1:] == [state], f"the run is {state}", worker)

    def finish(self, worker: Worker | None = None) -> None:
        """Let a worker finish everything, then terminate it with SIGTERM."""
        worker = worker or self.begin()
        self.until_running(worker)
        self.until(self.is_done, "everything is described", worker)
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0, self.log()

    def is_done(self) -> bool:
        return bool(self.workspace.ask("SELECT DISTINCT enrichment_status FROM videos") == [("enriched",)])

    def kept(self) -> int:
        return int(self.workspace.value("SELECT count(*) FROM frames"))

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else "there is no log"

    def end(self) -> None:
        """Kill all workers that still run."""
        for worker in self.workers:
            worker.kill()
            worker.wait()

    @property
    def _log(self) -> Path:
        return self.workspace.settings.home / "log.txt"


@dataclass(frozen=True)
class Outcome:
    """Everything a user gets from a library, independent of ids."""

    videos: list[Any]
    frames: list[Any]
    images: dict[str, str]  # hashes by name


def outcome(workspace: Workspace) -> Outcome:
    """Read the outcome of a library."""
    return Outcome(
        workspace.ask(
            "SELECT fingerprint, frame_count, decode_failures, extraction_status, enrichment_status, error"
            " FROM videos ORDER BY fingerprint"
        ),
        workspace.ask(
            'SELECT fingerprint, frames."index", timestamp, stands_for, scene, image_path, dhash, local_description,'
            " local_tags FROM frames JOIN videos ON videos.id = video_id ORDER BY 1, 2"
        ),
        {
            str(path.relative_to(workspace.frames_folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in workspace.frames_folder.rglob("*")
            if path.is_file()
        },
    )


def selected_times(workspace: Workspace, video_id: int) -> set[float]:
    """The timestamps that one extraction keeps, with the same wanted frames as that of the library."""
    video = workspace.video(video_id)
    wanted = json.loads(workspace.value("SELECT wanted FROM checkpoints WHERE video_id = :id", id=video_id))
    sampling, jpeg = parse_sampling(video.sampling), jpeg_format(workspace.settings, video)
    with (
        tempfile.TemporaryDirectory() as folder,
        Extraction(video.path, Path(folder), sampling=sampling, jpeg=jpeg, wanted=wanted) as extraction,
    ):
        return {frame.timestamp for frame in extraction}


def assert_complete(workspace: Workspace, *, most_attempts: int = 0) -> None:
    """Nothing is stuck, incomplete, failed or described twice, and every source frame is represented.

    `most_attempts`: how many failed attempts may be counted for frames that were described in the end.
    """
    assert_settled(workspace)
    assert workspace.ask("PRAGMA integrity_check") == [("ok",)]
    assert workspace.ask("SELECT DISTINCT status FROM tasks") == [("done",)]
    assert workspace.attempts() <= most_attempts
    frames = workspace.value("SELECT count(*) FROM frames WHERE local_description IS NOT NULL")
    assert workspace.value("SELECT count(*) FROM frames") == frames
    assert workspace.ask("SELECT count(*), count(DISTINCT frame_id) FROM analyses WHERE is_kept") == [(frames, frames)]
    assert workspace.value("SELECT count(*) FROM search_documents") == frames
    stood_for = "SELECT sum(stands_for) FROM frames WHERE video_id = videos.id"
    assert workspace.ask(f"SELECT id FROM videos WHERE frame_count <> ({stood_for})") == []  # noqa: S608  # no input
