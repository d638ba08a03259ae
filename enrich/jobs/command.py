"""One command of the command line, run in a process of its own: how the dashboard has work done in a moment.

The command gets the same library and answers in JSON. It always ends: one that takes too long is ended with all it has
started, apart from what it has put into the background (a worker, a job). What it says besides is no hindrance.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from enrich.control.launch import detached, environment_for, python_command
from enrich.settings import Settings

LIMIT_SECONDS = 120.0
END_SECONDS = 5.0  # between SIGTERM and SIGKILL
TIMED_OUT = 124  # what `timeout` exits with
NOT_RUN = 126  # what a shell exits with
PREFIX = "everyframe: "  # of every line that is meant for a person


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command came to.

    `data` is the JSON it printed: its one value, a list of them if there are several, None if there is none. `error`
    is what it said to a person, also where it succeeded; a failed command whose `data` tells enough may leave it empty.
    """

    code: int
    data: Any
    error: str

    @property
    def is_good(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0


def run_command(settings: Settings, *words: str, seconds: float = LIMIT_SECONDS) -> CommandResult:
    """Run `everyframe WORDS --json` to its end, within the limit. Paths must be absolute. Never raises."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:  # pipes would wait for grandchildren
            process = subprocess.Popen(
                command_line(words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=settings.home,
                env=command_environment(settings),
                **detached(),
            )
            is_late = False
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                is_late = True
            finally:
                end(process)
            out.seek(0)
            err.seek(0)
            printed, said = (file.read().decode("utf-8", errors="replace") for file in (out, err))
    except (OSError, ValueError) as error:  # no such folder, no memory, a word that no command line can hold
        return CommandResult(NOT_RUN, None, f"the command could not be run: {error}")
    values = json_values(printed)
    data = values[0] if len(values) == 1 else values or None
    if is_late:
        return CommandResult(TIMED_OUT, data, f"it took longer than {seconds:g} seconds and was ended")
    return CommandResult(process.returncode, data, error_line(said, process.returncode if data is None else 0))


def command_line(words: Sequence[str]) -> list[str]:
    """The program and arguments of one command that answers in JSON, with this Python, wherever it runs."""
    words = list(words)
    place = words.index("--") if "--" in words else len(words)
    return python_command("enrich.cli", *words[:place], "--json", *words[place:])


def command_environment(settings: Settings) -> dict[str, str]:
    """The environment of a command: the library's, and output that can be read on every system."""
    return environment_for(settings) | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def json_values(printed: str) -> list[Any]:
    """The JSON objects and lists in what was printed, each beginning a line and ending one; the rest is noise."""
    values = []
    decoder = json.JSONDecoder()
    place = 0
    while place < len(printed):
        line_end = printed.find("\n", place)
        line_end = len(printed) if line_end < 0 else line_end
        if printed[place] in "{[":
            with contextlib.suppress(ValueError, RecursionError):
                value, stop = decoder.raw_decode(printed, place)
                value_end = printed.find("\n", stop)
                value_end = len(printed) if value_end < 0 else value_end
                if not printed[stop:value_end].strip():
                    values.append(value)
                    line_end = value_end
        place = line_end + 1
    return values


def error_line(said: str, code: int) -> str:
    """What a command said to a person on stderr; where it failed without a word, what is known of its end."""
    lines = [line for line in said.splitlines() if line.strip()]
    meant = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    if meant or code == 0:
        return "\n".join(meant)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"it ended with {how}: {lines[-1].strip() if lines else 'nothing more is known'}"


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started detached, and what it has started in its session, if it still runs."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """A signal to the process and all in its group; Windows ends the process itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
