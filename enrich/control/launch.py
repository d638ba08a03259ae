"""Launch detached Python processes that outlive the process that started them: new session, no pipes.

Their stdout and stderr (native libraries, tracebacks from before the log is open) go to one file, `logs/output.txt`,
which is truncated at every start.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from db.engine import absolute_url
from db.errors import SchemaError
from db.runs import ProcessIdentity
from enrich.errors import SettingsError
from enrich.logs import without_secrets
from enrich.private_files import make_private_folder, private_opener
from enrich.process import this_process
from enrich.settings import Settings, environment_with

MAX_OUTPUT_CHARACTERS = 2000  # quoted in errors and logs
PERMANENT_EXIT_CODES = (1, 2)  # a user error or wrong usage: restarting does not help


def launch(settings: Settings, command: Sequence[str], *, is_new: bool = True) -> "subprocess.Popen[bytes]":
    """Start a command detached, for the library of `settings`. The caller must reap the process."""
    path = output_path(settings)
    make_private_folder(path.parent)
    with open(path, "wb" if is_new else "ab", opener=private_opener) as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=settings.home,
            env=environment_for(settings),
            **detached(),
        )


def detached() -> dict[str, Any]:
    """The `Popen` arguments, by platform, that let a process outlive its parent and the parent's terminal."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def reap(process: "subprocess.Popen[bytes]") -> threading.Thread:
    """Wait for a process in a thread, so that it leaves no zombie. The thread ends with the process."""
    thread = threading.Thread(target=process.wait, name=f"everyframe-reaper-{process.pid}", daemon=True)
    thread.start()
    return thread


def output_path(settings: Settings) -> Path:
    """The file that captures the output of background processes."""
    return settings.home / "logs" / "output.txt"


def last_output(settings: Settings) -> str:
    """The end of the captured output, in one line."""
    try:
        text = output_path(settings).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " ".join(without_secrets(text)[-MAX_OUTPUT_CHARACTERS:].split())


def format_identity(process: ProcessIdentity) -> str:
    """A process identity as a command-line argument."""
    return f"{process.pid}:{process.created_at!r}"


def parse_identity(text: str) -> ProcessIdentity:
    """The identity of a process on this machine, from a command-line argument. Raises ValueError."""
    pid, created_at = text.split(":")
    return replace(this_process(), pid=int(pid), created_at=float(created_at))


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment for a process we start: this one, with relative paths made absolute.

    Raises SettingsError if the database URL cannot be parsed.
    """
    given = environment_with(EVERYFRAME_HOME=str(settings.home))
    if settings.database_url:
        try:
            given["EVERYFRAME_DATABASE_URL"] = absolute_url(settings.database_url)
        except SchemaError as error:
            raise SettingsError(str(error)) from error
    return given
