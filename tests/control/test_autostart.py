"""Starting at login: the generated files for all platforms, and the installation on Linux.

The files are parsed with independent parsers where there is one. No test here performs a real login, or runs launchd or
Task Scheduler, and `systemctl` is a script that records its arguments.
"""

import ast
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from enrich.control import autostart
from enrich.control.autostart import Program
from enrich.errors import AutostartError

ODD = '100% of "Anna\'s" $HOME\\films `x` ü'
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="systemd and XDG autostart exist on Linux only")


@pytest.fixture
def program(tmp_path):
    """A program whose path, arguments and variables contain the special characters of every format."""
    folder = tmp_path / (ODD if sys.platform != "win32" else "Anna's 100% $HOME films")
    folder.mkdir()
    script = folder / "python 3"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    return Program((str(script), "-m", "enrich", ODD), {"EVERYFRAME_HOME": str(folder)}, folder)


def value_of(text, key):
    [line] = [line for line in text.splitlines() if line.startswith(f"{key}=")]
    return line.removeprefix(f"{key}=")


def systemd_words(text):
    """Split words in double quotes with backslash escapes, then replace %% with %."""
    return [word.replace("%%", "%") for word in shlex.split(text)]


def test_unit_has_command_library_and_restart(program):
    text = autostart.unit(program)
    words = [word.replace("$$", "$") for word in systemd_words(value_of(text, "ExecStart"))]
    assert words == ["/bin/sh", "-c", 'exec "$0" "$@"', *program.command]
    assert systemd_words(value_of(text, "Environment")) == [f"EVERYFRAME_HOME={program.folder}"]
    assert value_of(text, "Restart") == "on-failure"
    assert value_of(text, "WantedBy") == "default.target"


@linux_only
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(program, tmp_path):
    path = tmp_path / "everyframe.service"
    path.write_text(autostart.unit(program), encoding="utf-8")
    assert "everyframe" not in verified(path)
    path.write_text(autostart.unit(program).replace("on-failure", "on-sundays"), encoding="utf-8")
    assert "on-sundays" in verified(path)  # proves that the unit is parsed


def verified(unit):
    """The messages of `systemd-analyze verify` about a unit."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(unit.parent)},
        timeout=60,
    )
    return done.stderr


def test_desktop_entry_has_command_and_library(program):
    text = autostart.desktop_entry(program)
    unescaped = value_of(text, "Exec").replace("\\\\", "\\")
    # Inside quotes, desktop entries also escape $ and ` with a backslash, which shlex keeps.
    words = [re.sub(r"\\([$`])", r"\1", word).replace("%%", "%") for word in shlex.split(unescaped)]
    assert words == ["env", f"EVERYFRAME_HOME={program.folder}", *program.command]
    assert value_of(text, "Path").replace("\\\\", "\\") == str(program.folder)
    assert text.startswith("[Desktop Entry]\nType=Application\n")


def test_launch_agent_has_command_library_and_restart(program):
    agent = plistlib.loads(autostart.plist(program))
    assert agent["ProgramArguments"] == list(program.command)
    assert agent["EnvironmentVariables"] == {"EVERYFRAME_HOME": str(program.folder)}
    assert agent["WorkingDirectory"] == str(program.folder)
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"Crashed": True}


def test_task_runs_the_command_at_login(program):
    namespace = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    root = ET.fromstring(  # noqa: S314  # our own output
        autostart.task(program, r"C:\Program Files\Python & Co\pythonw.exe", r"BOX\Anna").encode("utf-16")
    )
    assert root.findtext(".//t:LogonTrigger/t:UserId", namespaces=namespace) == r"BOX\Anna"
    assert root.findtext(".//t:Exec/t:Command", namespaces=namespace) == r"C:\Program Files\Python & Co\pythonw.exe"
    assert root.findtext(".//t:ExecutionTimeLimit", namespaces=namespace) == "PT0S"
    arguments = root.findtext(".//t:Exec/t:Arguments", namespaces=namespace)
    assert "%" not in arguments
    assert "$" not in arguments
    assert arguments.isascii()
    [call] = [
        node
        for node in ast.walk(ast.parse(windows_words(arguments)[1]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "subprocess.call"
    ]
    assert ast.literal_eval(call.args[0]) == list(program.command)
    [environment] = [keyword.value for keyword in call.keywords if keyword.arg == "env"]
    assert ast.literal_eval(environment.right) == {"EVERYFRAME_HOME": str(program.folder)}


def windows_words(line):
    """Split a command line by the rules of Microsoft's C runtime."""
    words, word, is_quoted, backslashes = [], "", False, 0
    for sign in f"{line} ":
        if sign == "\\":
            backslashes += 1
            continue
        if sign == '"':
            word += "\\" * (backslashes // 2)
            if backslashes % 2:
                word += '"'
            else:
                is_quoted = not is_quoted
        else:
            word += "\\" * backslashes
            if sign == " " and not is_quoted:
                words.append(word)
                word = ""
            else:
                word += sign
        backslashes = 0
    return words


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Separate folders for configuration and library, and a PATH with `programs` only."""
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "our videos"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    return tmp_path


def make_systemctl(folder, script):
    """A fake `systemctl` that records its arguments and then runs the script."""
    path = folder / "programs" / "systemctl"
    path.write_text(f'#!/bin/sh\necho "$*" >> "{folder}/arguments"\n{script}\n')
    path.chmod(0o755)


ENABLES = """
wants="$XDG_CONFIG_HOME/systemd/user/default.target.wants"
case "$*" in *enable*) /bin/mkdir -p "$wants" && /bin/ln -s ../everyframe.service "$wants/everyframe.service";; esac
"""


@linux_only
def test_unit_is_installed_enabled_and_removed(own_folders):
    make_systemctl(own_folders, ENABLES)
    assert not autostart.is_installed()
    where = autostart.install(["/opt/our python", "-m", "enrich"])
    path = own_folders / "config" / "systemd" / "user" / "everyframe.service"
    assert where == str(path)
    assert f'"EVERYFRAME_HOME={own_folders}/our videos"' in path.read_text()
    recorded = (own_folders / "arguments").read_text().splitlines()
    assert recorded[-2:] == ["--user daemon-reload", "--user enable everyframe.service"]
    assert autostart.is_installed()
    assert autostart.uninstall() is True
    assert not autostart.is_installed()
    assert not path.exists()
    assert (own_folders / "arguments").read_text().splitlines()[-1] == "--user daemon-reload"
    assert autostart.uninstall() is False


@linux_only
@pytest.mark.parametrize("script", [None, "echo Failed to connect to bus >&2; exit 1"], ids=["absent", "silent"])
def test_without_systemd_a_desktop_entry_is_installed(own_folders, script):
    if script is not None:
        make_systemctl(own_folders, script)
    path = own_folders / "config" / "autostart" / "everyframe.desktop"
    assert autostart.install(["/opt/python", "-m", "enrich"]) == str(path)
    assert autostart.is_installed()
    assert autostart.install(["/opt/python", "-m", "other"]) == str(path)
    assert '"-m" "other"' in path.read_text()
    assert autostart.uninstall() is True
    assert not path.exists()


@linux_only
def test_systemctl_failure_is_one_line(own_folders):
    make_systemctl(own_folders, 'case "$*" in *enable*) echo "Unit is masked." >&2; echo more >&2; exit 1;; esac')
    with pytest.raises(AutostartError, match=r"^systemctl failed to set up starting at login: Unit is masked\.$"):
        autostart.install(["/opt/python"])


@linux_only
@pytest.mark.usefixtures("file_permissions")
def test_read_only_folder_is_one_line(own_folders):
    own_folders.joinpath("config").mkdir(mode=0o500)
    with pytest.raises(AutostartError, match="cannot set up starting at login"):
        autostart.install(["/opt/python"])


@linux_only
def test_file_in_place_of_the_folder_is_one_line(own_folders):
    (own_folders / "config").write_text("not a folder")
    with pytest.raises(AutostartError, match="cannot set up starting at login: "):
        autostart.install(["/opt/python"])


def test_line_break_in_a_path_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path))
    with pytest.raises(AutostartError, match="line break"):
        autostart.install(["/opt/py\nthon"])
    assert list(Path(tmp_path).iterdir()) == []
