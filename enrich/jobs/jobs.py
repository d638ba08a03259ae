"""Background jobs: long commands that the dashboard starts, visible in every tab and after a restart.

A job is a folder in `home/jobs/`. `job.json` describes it and its process; next to it are its output and exit code. The
files are the only state: a job is running if its process is alive (by id and create time, never by id alone), and no
tab, server or login session has to stay open. Two simultaneous starts of the same job may both succeed; a later start
returns the running job.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from db.runs import ProcessIdentity
from enrich.control.launch import detached, reap
from enrich.errors import ControlError, SettingsError
from enrich.jobs.__main__ import ERR, EXIT, MODULE, OUT
from enrich.jobs.command import command_environment, command_line, error_line, json_values
from enrich.private_files import make_private_folder
from enrich.process import find_process, identity_of, is_process_alive, python_command
from enrich.settings import Settings

FOLDER = "jobs"
DESCRIPTION = "job.json"
STOP_ERROR = "stop-error.txt"  # why the job could not be stopped
MAX_FINISHED_JOBS = 20
TERMINATE_SECONDS = 5.0  # between SIGTERM and SIGKILL
REQUEST_SECONDS = 60.0  # the same for a quick pass: its requests in flight are paid for, so it finishes them
KILL_SECONDS = 5.0  # after SIGKILL; an unresponsive disk delays even that
POLL_SECONDS = 0.05
MAX_OUTPUT_BYTES = 1_000_000  # read from the end of a job's output
KILLED_EXIT_CODES = (None, -signal.SIGTERM, -9)
KILLED = "the job was stopped before it finished"
log = logging.getLogger(__name__)
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Job:
    """One background job. `lines` are the JSON objects it has printed so far.

    `exit_code` is None while it runs, and if its process was killed. It is negative if a signal ended the command.
    `stop_error`: why it still runs although it was to be stopped.
    """

    id: str
    kind: str
    words: tuple[str, ...]
    started_at: datetime
    is_running: bool
    lines: list[dict[str, Any]]
    exit_code: int | None
    error: str
    stop_error: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether its command ended with an error. A job that was stopped has not failed."""
        return not self.is_running and self.exit_code not in (0, *KILLED_EXIT_CODES)


def start_job(settings: Settings, kind: str, *words: str, prints_json: bool = True) -> Job:
    """Run `everyframe WORDS` in the background, with `--json` if the command has that option (`prints_json`).

    If a job of the same kind and words is running, that job is returned instead. Raises ControlError.
    """
    for job in jobs(settings, kind):
        if job.is_running and job.words == words:
            return job
    now = datetime.now(UTC)
    job_id = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    folder = settings.home / FOLDER / job_id
    program = command_line(words) if prints_json else python_command("enrich.cli", *words)
    try:
        make_private_folder(folder)
        process = subprocess.Popen(
            python_command(MODULE, str(folder), *program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=settings.home,
            env=command_environment(settings),
            **detached(),
        )
    except (OSError, ValueError, SettingsError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ControlError(f"cannot start {kind}: {error}") from error
    reap(process)
    _write_description(folder, kind, words, now, process.pid)
    _delete_old(settings)
    found = _job(folder)
    if found is None:
        raise ControlError(f"{kind} was started, but its folder disappeared from {folder.parent}. Try again")
    return found


def jobs(settings: Settings, kind: str | None = None) -> list[Job]:
    """All jobs of the library, or those of one kind, newest first."""
    return [job for folder in _folders(settings) if (job := _job(folder, kind)) is not None]


def stop_job(settings: Settings, job_id: str) -> bool:
    """Stop a job with SIGTERM, then SIGKILL; whether it was running. Raises ControlError if it does not end."""
    folder = _folder(settings, job_id)
    description = _read_description(folder) if folder is not None else None
    process = _process(description) if description is not None else None
    if description is None or process is None:
        return False
    try:
        found = find_process(process)
        if found is None:
            return False
        processes = [*found.children(recursive=True), found]  # the wrapper that records the exit code is last
        found.terminate()  # on Windows this kills it at once; its command is killed below
        left = _wait_for(processes, REQUEST_SECONDS if description["kind"] == "quick" else TERMINATE_SECONDS)
        for one in left:
            if _wait_for([one], KILL_SECONDS if one is found else 0.0):  # the wrapper ends when its command has ended
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        left = _wait_for(left, KILL_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error as error:
        raise ControlError(f"cannot stop the job (process {process.pid}): {error}") from error
    if left:
        raise ControlError(f"cannot stop the job (process {process.pid}): it does not react to being killed")
    return True


def stop_job_in_background(settings: Settings, job_id: str) -> None:
    """Start stopping a job and return: a process that ignores SIGTERM takes seconds. For callbacks.

    If the job cannot be stopped, its `stop_error` says why, in every tab.
    """
    thread = threading.Thread(
        target=_stop_and_keep_error, args=[settings, job_id], name=f"everyframe-stop-{job_id}", daemon=True
    )
    thread.start()


def _stop_and_keep_error(settings: Settings, job_id: str) -> None:
    """Runs in its own thread."""
    folder = _folder(settings, job_id)
    if folder is None:
        return
    error_file = folder / STOP_ERROR
    with contextlib.suppress(OSError):
        error_file.unlink()
    try:
        stop_job(settings, job_id)
    except ControlError as error:
        log.warning("job was not stopped: %s", error)
        _keep_stop_error(error_file, str(error))
    except Exception as error:
        log.exception("job was not stopped")
        _keep_stop_error(error_file, f"cannot stop the job ({type(error).__name__}: {error}). Try again")


def _keep_stop_error(file: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # the folder may have been deleted, the disk may be full
        file.write_text(text, encoding="utf-8")


def delete_job(settings: Settings, job_id: str) -> bool:
    """Delete a finished job; whether there was one. A running job is kept."""
    folder = _folder(settings, job_id)
    job = _job(folder) if folder is not None else None
    if folder is None or job is None or job.is_running:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _wait_for(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait up to `seconds` for the processes to end; those that are still alive. A zombie counts as ended."""
    end = time.monotonic() + seconds
    while True:
        left = [one for one in processes if _is_alive(one)]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _write_description(folder: Path, kind: str, words: tuple[str, ...], now: datetime, pid: int) -> None:
    """Write `job.json` atomically: what the job is, and which process runs it."""
    try:
        process = identity_of(psutil.Process(pid))
    except psutil.Error:  # it has already ended
        process = None
    description = {
        "kind": kind,
        "words": words,
        "started_at": now.isoformat(),
        "process": astuple(process) if process is not None else None,
    }
    part = folder / f"{DESCRIPTION}.part"
    part.write_text(json.dumps(description), encoding="utf-8")
    os.replace(part, folder / DESCRIPTION)  # noqa: PTH105  # atomic, and overwrites on Windows too


def _folders(settings: Settings) -> list[Path]:
    """The folders of all jobs, newest first."""
    try:
        names = os.listdir(settings.home / FOLDER)  # noqa: PTH208  # names are enough
    except OSError:
        return []
    return [settings.home / FOLDER / name for name in sorted(names, reverse=True) if _ID.fullmatch(name)]


def _folder(settings: Settings, job_id: str) -> Path | None:
    return settings.home / FOLDER / job_id if _ID.fullmatch(job_id) else None


def _read_description(folder: Path) -> dict[str, Any] | None:
    """The content of `job.json`; None if it is missing or unreadable."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return description if isinstance(description, dict) else None


def _process(description: dict[str, Any]) -> ProcessIdentity | None:
    process = description["process"]
    return ProcessIdentity(*process) if process is not None else None


def _job(folder: Path, kind: str | None = None) -> Job | None:
    """The job in a folder; None if there is none, or if it is of another kind."""
    description = _read_description(folder)
    if description is None or kind not in (None, description["kind"]):
        return None
    code = _exit_code(folder)
    is_running = False
    if code is None:
        process = _process(description)
        is_running = process is not None and is_process_alive(process)
        if not is_running:
            code = _exit_code(folder)  # it may have ended in between
    error = ""
    if not is_running:
        error = KILLED if code in KILLED_EXIT_CODES else error_line(_text(folder / ERR), code or 0)
    return Job(
        id=folder.name,
        kind=description["kind"],
        words=tuple(description["words"]),
        started_at=datetime.fromisoformat(description["started_at"]),
        is_running=is_running,
        lines=_lines(folder / OUT),
        exit_code=code,
        error=error,
        stop_error=_text(folder / STOP_ERROR) if is_running else "",
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


@lru_cache(maxsize=2 * MAX_FINISHED_JOBS)
def _read_lines(path: Path, size: int, changed: int) -> tuple[dict[str, Any], ...]:
    """The JSON objects at the end of a file; an incomplete last line is skipped. Cached until the file changes."""
    del changed
    with path.open("rb") as file:
        file.seek(max(0, size - MAX_OUTPUT_BYTES))
        text = file.read(MAX_OUTPUT_BYTES).decode("utf-8", errors="replace")
    return tuple(value for value in json_values(text) if isinstance(value, dict))


def _delete_old(settings: Settings) -> None:
    finished = [job for job in jobs(settings) if not job.is_running]
    for job in finished[MAX_FINISHED_JOBS:]:
        delete_job(settings, job.id)
