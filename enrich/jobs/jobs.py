"""Long commands in the background: started from the dashboard, seen from every tab and after a restart.

A job is a folder below `home/jobs/`: `job.json` says what it is and which process runs it, beside it lie what it
prints and how it ended. Files are the only truth: a job runs if its process lives (by id and beginning, never by id
alone), and no tab, server or login session needs to stay for it. Two starts of the same work at the same moment may
both succeed; a little later the second finds the first.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from db.runs import ProcessIdentity
from enrich.control.launch import detached, python_command, reap
from enrich.errors import ControlError
from enrich.jobs.__main__ import ERR, EXIT, HERE, OUT
from enrich.jobs.command import command_environment, command_line, error_line, json_values
from enrich.process import find, identity_of, lives
from enrich.settings import Settings

FOLDER = "jobs"
DESCRIPTION = "job.json"
FINISHED_KEPT = 20
END_SECONDS = 5.0  # between SIGTERM and SIGKILL
KILL_SECONDS = 5.0  # after SIGKILL: a disk that does not answer holds even that up
LOOK_SECONDS = 0.05
MOST_BYTES = 1_000_000  # of what a job printed: the end of it is read
ENDED = (None, -signal.SIGTERM, -9)  # what is left of a job that somebody ended
KILLED = "it was ended from outside before it was done"
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Job:
    """One long command. `lines` are the JSON objects it has printed so far.

    `exit_code` is None while it runs, and if its process was killed; negative for the signal that ended the command.
    """

    id: str
    kind: str
    words: tuple[str, ...]
    started_at: datetime
    is_running: bool
    lines: list[dict[str, Any]]
    exit_code: int | None
    error: str


def start_job(settings: Settings, kind: str, *words: str) -> Job:
    """Run `everyframe WORDS --json` in the background. The same work that runs already is not begun again.

    Raises ControlError, which says why it could not be started.
    """
    for job in jobs(settings, kind):
        if job.is_running and job.words == words:
            return job
    now = datetime.now(UTC)
    job_id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    folder = settings.home / FOLDER / job_id
    try:
        folder.mkdir(parents=True)
        process = subprocess.Popen(
            python_command(HERE, str(folder), *command_line(words)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=settings.home,
            env=command_environment(settings),
            **detached(),
        )
    except (OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ControlError(f"{kind} could not be started: {error}") from error
    reap(process)
    _describe(folder, kind, words, now, process.pid)
    _forget_old(settings)
    found = _job(folder)
    if found is None:
        raise ControlError(f"{kind} was started and has vanished from {folder.parent}")
    return found


def jobs(settings: Settings, kind: str | None = None) -> list[Job]:
    """Every job of the library, or those of a kind, newest first."""
    found = [job for folder in _folders(settings) if (job := _job(folder)) is not None]
    return [job for job in found if kind is None or job.kind == kind]


def stop_job(settings: Settings, job_id: str) -> bool:
    """End a job: asked, then killed; whether it ran. Raises ControlError if it does not end."""
    folder = _folder(settings, job_id)
    process = _process(folder) if folder is not None else None
    if process is None:
        return False
    try:
        found = find(process)
        if found is None:
            return False
        all_of_it = [*found.children(recursive=True), found]  # who notes the exit code comes last
        found.terminate()  # on Windows this ends it at once, and its command below
        left = _left(all_of_it, END_SECONDS)
        for one in left:
            if _left([one], KILL_SECONDS if one is found else 0.0):  # with its command gone it ends by itself
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        left = _left(left, KILL_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error as error:
        raise ControlError(f"the job, process {process.pid}, could not be ended: {error}") from error
    if left:
        raise ControlError(f"the job, process {process.pid}, could not be ended")
    return True


def forget_job(settings: Settings, job_id: str) -> bool:
    """Delete a job that has ended; whether there was one. One that runs stays."""
    folder = _folder(settings, job_id)
    job = _job(folder) if folder is not None else None
    if folder is None or job is None or job.is_running:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _left(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still live after so many seconds; a zombie is dead, whoever should have taken it away."""
    end = time.monotonic() + seconds
    while True:
        left = [one for one in processes if _lives(one)]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(LOOK_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(folder: Path, kind: str, words: tuple[str, ...], now: datetime, pid: int) -> None:
    """Write down what a job is and who runs it, whole or not at all."""
    try:
        process = identity_of(psutil.Process(pid))
    except psutil.Error:  # it has ended already
        process = None
    said = {
        "kind": kind,
        "words": words,
        "started_at": now.isoformat(),
        "process": [process.hostname, process.pid, process.created_at] if process is not None else None,
    }
    part = folder / f"{DESCRIPTION}.part"
    part.write_text(json.dumps(said), encoding="utf-8")
    os.replace(part, folder / DESCRIPTION)  # noqa: PTH105  # one step, over whatever is there


def _folders(settings: Settings) -> list[Path]:
    """The folders of jobs, newest first."""
    try:
        names = os.listdir(settings.home / FOLDER)  # noqa: PTH208  # names are enough
    except OSError:
        return []
    return [settings.home / FOLDER / name for name in sorted(names, reverse=True) if _ID.fullmatch(name)]


def _folder(settings: Settings, job_id: str) -> Path | None:
    return settings.home / FOLDER / job_id if _ID.fullmatch(job_id) else None


def _said(folder: Path) -> dict[str, Any] | None:
    """What `job.json` says; None if there is none, or none that can be read."""
    try:
        said = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _process(folder: Path) -> ProcessIdentity | None:
    said = _said(folder)
    process = said["process"] if said is not None else None
    return ProcessIdentity(*process) if process is not None else None


def _job(folder: Path) -> Job | None:
    said = _said(folder)
    if said is None:
        return None
    process = _process(folder)
    is_running = process is not None and lives(process)  # looked at before its end is read: it may end in between
    code = _exit_code(folder)
    is_running = is_running and code is None
    error = ""
    if not is_running:
        error = KILLED if code in ENDED else error_line(_text(folder / ERR), code or 0)
    return Job(
        id=folder.name,
        kind=said["kind"],
        words=tuple(said["words"]),
        started_at=datetime.fromisoformat(said["started_at"]),
        is_running=is_running,
        lines=_lines(folder / OUT),
        exit_code=code,
        error=error,
    )


def _exit_code(folder: Path) -> int | None:
    try:
        return int((folder / EXIT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        status = path.stat()
        return list(_read_lines(path, status.st_size, status.st_mtime_ns))
    except OSError:
        return []


@lru_cache(maxsize=2 * FINISHED_KEPT)
def _read_lines(path: Path, size: int, changed: int) -> tuple[dict[str, Any], ...]:
    """The JSON objects in the end of a file: its last line only once it is whole. Read again only after a change."""
    del changed
    with path.open("rb") as file:
        file.seek(max(0, size - MOST_BYTES))
        text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    return tuple(value for value in json_values(text) if isinstance(value, dict))


def _forget_old(settings: Settings) -> None:
    ended = [job for job in jobs(settings) if not job.is_running]
    for job in ended[FINISHED_KEPT:]:
        forget_job(settings, job.id)
