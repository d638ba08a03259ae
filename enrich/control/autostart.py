"""Start the worker at login: as a systemd user service, a LaunchAgent, or a Windows Task Scheduler task.

The command must stay in the foreground: systemd and launchd kill the processes that a service leaves behind. On Linux
without a systemd user instance, the desktop starts it (XDG autostart), and nothing restarts it after a crash.
"""

import plistlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import platformdirs
import psutil

from enrich.control.launch import PERMANENT_EXIT_CODES
from enrich.errors import AutostartError
from enrich.private_files import make_private_folder
from enrich.settings import data_folder

NAME = "everyframe"
TITLE = "EveryFrame"
UNIT = f"{NAME}.service"
COMMAND_SECONDS = 30
RESTART_SECONDS = 30
STOP_TIMEOUT_SECONDS = 60  # the worker finishes requests in flight, saves, and unloads the model
_BACKSLASH = "\\"


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: a command, additional environment variables, and the working directory."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


def install(command: Sequence[str]) -> str:
    """Start the command at every login of this user, with the current data folder; the location of the entry.

    Replaces an earlier installation. Does not start anything now. Raises AutostartError.
    """
    home = data_folder()
    program = Program(tuple(command), {"EVERYFRAME_HOME": str(home)}, home)
    for text in (*program.command, str(home)):
        if any(sign in text for sign in "\n\r\0"):
            raise AutostartError(f"cannot start {text!r} at login: its name contains a line break")
    try:
        make_private_folder(home)
        if sys.platform == "win32":
            where = _install_task(program)
        elif sys.platform == "darwin":
            where = _write(_agent_path(), plist(program))
        else:
            where = _install_on_linux(program)
    except OSError as error:
        raise AutostartError(f"cannot set up starting at login: {error}") from error
    return where


def uninstall() -> bool:
    """Remove the entry; whether there was one. A running worker keeps running. Raises AutostartError."""
    was_installed = is_installed()
    try:
        if sys.platform == "win32":
            if was_installed:
                _run("schtasks", "/delete", "/tn", TITLE, "/f")
        elif sys.platform == "darwin":
            _agent_path().unlink(missing_ok=True)
        else:
            _enabled_path().unlink(missing_ok=True)
            _unit_path().unlink(missing_ok=True)
            _desktop_path().unlink(missing_ok=True)
            if was_installed and _has_systemd():
                _run("systemctl", "--user", "daemon-reload")
    except OSError as error:
        raise AutostartError(f"cannot remove starting at login: {error}") from error
    return was_installed


def is_installed() -> bool:
    """Whether the worker is set to start at login."""
    if sys.platform == "win32":
        found = _succeeds("schtasks", "/query", "/tn", TITLE)
    elif sys.platform == "darwin":
        found = _agent_path().exists()
    else:
        found = _enabled_path().is_symlink() or _desktop_path().exists()
    return found


def unit(program: Program) -> str:
    """A systemd user unit. A shell starts the program, because systemd rejects quotes in its path."""
    words = [_systemd_word(word).replace("$", "$$") for word in ("-c", 'exec "$0" "$@"', *program.command)]
    settings = [_systemd_word(f"{name}={value}") for name, value in program.environment.items()]
    return f"""[Unit]
Description={TITLE} describes your videos in the background

[Service]
ExecStart=/bin/sh {" ".join(words)}
Environment={" ".join(settings)}
WorkingDirectory=-{str(program.folder).replace("%", "%%")}
Restart=on-failure
RestartSec={RESTART_SECONDS}
RestartPreventExitStatus={" ".join(map(str, PERMANENT_EXIT_CODES))}
KillMode=mixed
TimeoutStopSec={STOP_TIMEOUT_SECONDS}

[Install]
WantedBy=default.target
"""


def desktop_entry(program: Program) -> str:
    """An XDG autostart entry."""
    settings = [f"{name}={value}" for name, value in program.environment.items()]
    words = " ".join(_desktop_word(word) for word in ("env", *settings, *program.command))
    return f"""[Desktop Entry]
Type=Application
Name={TITLE}
Comment=Describes your videos in the background
Exec={words}
Path={str(program.folder).replace(_BACKSLASH, 2 * _BACKSLASH)}
Terminal=false
NoDisplay=true
"""


def plist(program: Program) -> bytes:
    """A launchd LaunchAgent."""
    return plistlib.dumps(
        {
            "Label": NAME,
            "ProgramArguments": list(program.command),
            "EnvironmentVariables": dict(program.environment),
            "WorkingDirectory": str(program.folder),
            "RunAtLoad": True,
            "KeepAlive": {"Crashed": True},
            "ThrottleInterval": RESTART_SECONDS,
            "ExitTimeOut": STOP_TIMEOUT_SECONDS,
        }
    )


def task(program: Program, python: str, user: str) -> str:
    """A Task Scheduler task: runs at this user's login, without a window or time limit, and on battery.

    Tasks cannot set environment variables, so a Python one-liner sets them and waits for the command.
    """
    words, settings = ascii(list(program.command)), ascii(dict(program.environment))
    call = f"subprocess.call({words},env=os.environ|{settings},creationflags=subprocess.CREATE_NO_WINDOW)"
    # Task Scheduler expands %NAME% and $(Name), so both characters are escaped inside the Python literals.
    code = f"import os,subprocess,sys;sys.exit({call})".replace("%", r"\x25").replace("$", r"\x24")
    arguments = subprocess.list2cmdline(["-c", code])
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{TITLE} describes your videos in the background</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <UserId>{escape(user)}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(user)}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(python)}</Command>
      <Arguments>{escape(arguments)}</Arguments>
      <WorkingDirectory>{escape(str(program.folder))}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""


def _install_on_linux(program: Program) -> str:
    if not _has_systemd():
        return _write(_desktop_path(), desktop_entry(program).encode())
    where = _write(_unit_path(), unit(program).encode())
    _run("systemctl", "--user", "daemon-reload")
    _run("systemctl", "--user", "enable", UNIT)
    _desktop_path().unlink(missing_ok=True)
    return where


def _install_task(program: Program) -> str:
    windowless = Path(sys.executable).with_name("pythonw.exe")
    python = windowless if windowless.exists() else Path(sys.executable)
    path = program.folder / "at-login.xml"
    _write(path, task(program, str(python), psutil.Process().username()).encode("utf-16"))
    try:
        _run("schtasks", "/create", "/tn", TITLE, "/xml", str(path), "/f")
    finally:
        path.unlink()
    return f"task {TITLE} in Task Scheduler"


def _systemd_word(text: str) -> str:
    return '"' + text.replace(_BACKSLASH, 2 * _BACKSLASH).replace('"', r"\"").replace("%", "%%") + '"'


def _desktop_word(text: str) -> str:
    """A word of `Exec`: quoted, then escaped like every value of a desktop entry."""
    quoted = re.sub(r'(["`$\\])', r"\\\1", text).replace("%", "%%")
    return f'"{quoted}"'.replace(_BACKSLASH, 2 * _BACKSLASH)


def _unit_path() -> Path:
    return platformdirs.user_config_path() / "systemd" / "user" / UNIT


def _enabled_path() -> Path:
    """The symbolic link that `systemctl enable` creates."""
    return _unit_path().parent / "default.target.wants" / UNIT


def _desktop_path() -> Path:
    return platformdirs.user_config_path() / "autostart" / f"{NAME}.desktop"


def _agent_path() -> Path:
    return Path.home() / "Library" / "LaunchAgents" / f"{NAME}.plist"


def _has_systemd() -> bool:
    """Whether a systemd user instance responds. Containers and some distributions have none."""
    return _succeeds("systemctl", "--user", "show-environment")


def _write(path: Path, content: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def _succeeds(*command: str) -> bool:
    try:
        return _run_to_end(command).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(*command: str) -> None:
    """Run a system command. Raises AutostartError with the first line of its error output."""
    try:
        done = _run_to_end(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AutostartError(f"cannot run {command[0]} to set up starting at login: {error}") from error
    if done.returncode:
        problem = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise AutostartError(f"{command[0]} failed to set up starting at login: {problem}")


def _run_to_end(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
        check=False,
    )
