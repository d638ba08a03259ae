"""Run one `everyframe` command in a separate process and parse its JSON: how the dashboard does short work.

The command uses the same library. It always ends: after a timeout it is terminated together with its child processes,
except those it has detached (a worker, a job). Other lines in its output, such as log lines, are ignored.
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
from pathlib import Path
from typing import IO, Any

from enrich.control.launch import detached, environment_for
from enrich.errors import SettingsError
from enrich.private_files import make_private_folder
from enrich.process import python_command
from enrich.settings import Settings

TIMEOUT_SECONDS = 120.0
TERMINATE_SECONDS = 5.0  # between SIGTERM and SIGKILL
TIMED_OUT = 124  # exit code, as of the program `timeout`
NOT_RUN = 126  # exit code, as of a shell
PREFIX = "everyframe: "  # of every error line for the user


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command.

    `data` is the JSON it printed: the value, a list of values if there are several, None if there is none. `error`
    holds its messages to the user, even on success. It may be empty for a failed command whose `data` has the details.
    """

    code: int
    data: Any
    error: str

    @property
    def is_good(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0


def run_command(settings: Settings, *words: str, seconds: float = TIMEOUT_SECONDS) -> CommandResult:
    """Run `everyframe WORDS --json` to its end, at most `seconds` long. Paths must be absolute. Never raises."""
    try:
        make_private_folder(settings.home)
        # Files, because a pipe would stay open until grandchildren end.
        with _temporary_file(settings.home) as out, _temporary_file(settings.home) as err:
            process = subprocess.Popen(
                command_line(words),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=settings.home,
                env=command_environment(settings),
                **detached(),
            )
            timed_out = False
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                end(process)
            out.seek(0)
            err.seek(0)
            output, messages = (file.read().decode("utf-8", errors="replace") for file in (out, err))
    except (OSError, ValueError, SettingsError) as error:  # missing folder, no memory, invalid argument or database URL
        return CommandResult(NOT_RUN, None, f"cannot run the command: {error}")
    values = json_values(output)
    data = values[0] if len(values) == 1 else values or None
    if timed_out:
        return CommandResult(TIMED_OUT, data, f"the command took longer than {seconds:g} s and was terminated")
    return CommandResult(process.returncode, data, error_line(messages, process.returncode if data is None else 0))


def _temporary_file(home: Path) -> IO[bytes]:
    """A file without a name in the data folder, or in the system's folder if the library is read-only."""
    try:
        return tempfile.TemporaryFile(dir=home)
    except OSError:
        return tempfile.TemporaryFile()


def command_line(words: Sequence[str]) -> list[str]:
    """The full command line of an `everyframe` command with JSON output, run by this Python interpreter."""
    words = list(words)
    place = words.index("--") if "--" in words else len(words)
    return python_command("enrich.cli", *words[:place], "--json", *words[place:])


def command_environment(settings: Settings) -> dict[str, str]:
    """The environment of a command: the library's settings, and unbuffered UTF-8 output. Raises SettingsError."""
    return environment_for(settings) | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def json_values(output: str) -> list[Any]:
    """The JSON objects and lists in the output that start and end at line boundaries; other lines are ignored."""
    values = []
    decoder = json.JSONDecoder()
    place = 0
    while place < len(output):
        line_end = output.find("\n", place)
        line_end = len(output) if line_end < 0 else line_end
        if output[place] in "{[":
            with contextlib.suppress(ValueError, RecursionError):
                value, stop = decoder.raw_decode(output, place)
                value_end = output.find("\n", stop)
                value_end = len(output) if value_end < 0 else value_end
                if not output[stop:value_end].strip():
                    values.append(value)
                    line_end = value_end
        place = line_end + 1
    return values


def error_line(stderr: str, code: int) -> str:
    """The messages to the user on stderr; for a failed command without any, its exit code and last line."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    messages = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    if messages or code == 0:
        return "\n".join(messages)
    ending = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the command ended with {ending}: {lines[-1].strip() if lines else 'no error output'}"


def end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a detached process and its process group, if it is still running."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        process.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to the process group. On Windows, terminate the process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
