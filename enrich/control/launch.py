"""Launching programs of ours so that they outlive whoever launched them: a session of their own, no pipe.

What they print by themselves (a library's last words, a traceback from before the log is open) goes into one file,
`logs/output.txt`, which is begun anew with every start.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from db.runs import ProcessIdentity
from enrich.settings import Settings, environment_with

MOST_OUTPUT = 2000  # characters of it that are quoted


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this Python and EveryFrame's own folders, from any working directory.

    Every process of EveryFrame is started with it. In an installed wheel `python -m enrich` would be another package;
    `everyframe.run_module` is found by name, so the command stays valid when Python is upgraded.
    """
    return [sys.executable, "-P", "-m", "everyframe.run_module", module, *arguments]


def launch(settings: Settings, command: Sequence[str], *, is_new: bool = True) -> "subprocess.Popen[bytes]":
    """Start a command detached, for the library of `settings`. The caller waits for its end."""
    path = output_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if is_new else "ab") as output:
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
    given = environment_with(EVERYFRAME_HOME=str(settings.home))
    if settings.database_url:
        url = make_url(settings.database_url)
        if url.get_backend_name() == "sqlite" and url.database:
            url = url.set(database=str(Path(url.database).absolute()))
        given["EVERYFRAME_DATABASE_URL"] = url.render_as_string(hide_password=False)
    return given
