"""Launching programs of ours so that they outlive whoever launched them: a session of their own, no pipe.

What they print by themselves (a library's last words, a traceback from before the log is open) goes into one file,
`logs/output.txt`, which is begun anew with every start.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from db.engine import absolute_url
from db.runs import ProcessIdentity
from enrich.settings import Settings, environment_with

MOST_OUTPUT = 2000  # characters of it that are quoted


def launch(settings: Settings, *arguments: str, is_new: bool = True) -> "subprocess.Popen[bytes]":
    """Start `python` with these arguments, detached, for the library of `settings`. The caller waits for its end."""
    path = output_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if is_new else "ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=settings.home,
            env=environment_for(settings),
            **detached(),
        )


def detached() -> dict[str, Any]:
    """What `Popen` takes so that a program outlives its starter and the starter's terminal, as each system does it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def reap(process: "subprocess.Popen[bytes]") -> threading.Thread:
    """Wait for a process's end in a thread, so that it leaves no zombie behind."""
    thread = threading.Thread(target=process.wait, name=f"reaper-of-{process.pid}", daemon=True)
    thread.start()
    return thread


def output_path(settings: Settings) -> Path:
    """Where programs in the background print to."""
    return settings.home / "logs" / "output.txt"


def last_output(settings: Settings) -> str:
    """The end of what was printed there, in one line."""
    try:
        text = output_path(settings).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return " ".join(text[-MOST_OUTPUT:].split())


def described(process: ProcessIdentity) -> str:
    """An identity as an argument of a command; `identity` reads it."""
    return f"{process.pid}:{process.created_at!r}"


def identity(text: str, hostname: str) -> ProcessIdentity:
    """What `described` wrote. Raises ValueError."""
    pid, created_at = text.split(":")
    return ProcessIdentity(hostname, int(pid), float(created_at))


def environment_for(settings: Settings) -> dict[str, str]:
    """The environment of a program of ours: this one, with what is relative to our folder made absolute."""
    source = str(Path(__file__).resolve().parents[2])  # where our packages are, installed or not
    given = environment_with(EVERYFRAME_HOME=str(settings.home))
    given["PYTHONPATH"] = os.pathsep.join(filter(None, [source, given.get("PYTHONPATH")]))
    if settings.database_url:
        given["EVERYFRAME_DATABASE_URL"] = absolute_url(settings.database_url)
    return given
