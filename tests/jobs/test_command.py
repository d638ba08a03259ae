"""Commands run to their end in separate processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from enrich.jobs import command
from enrich.jobs.command import error_line, json_values, run_command
from enrich.settings import load_settings
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings():
    return load_settings()


@pytest.fixture
def script(monkeypatch, tmp_path):
    """`script(text)` replaces the command line with a Python script."""

    def replace(text):
        path = tmp_path / "program.py"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(command, "command_line", lambda words: [sys.executable, str(path), *words])

    return replace


def test_command_returns_json_of_the_same_library(settings, clip):
    result = run_command(settings, "add", str(clip), "--sampling", "exact")
    assert result.is_good, result
    assert [row["outcome"] for row in result.data] == ["added"]
    listed = run_command(settings, "list")
    assert [row["path"] for row in listed.data] == [str(clip)]
    assert (listed.code, listed.error) == (0, "")
    assert (settings.home / "library.db").exists()


def test_command_runs_from_any_folder(tmp_path):
    """Modules in the working directory or the library folder must not shadow the installed ones."""
    home = tmp_path / "home"
    home.mkdir()
    for folder in (tmp_path, home):
        (folder / "typer.py").write_text("raise SystemExit('the wrong module')", encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from enrich.jobs.command import run_command\nfrom enrich.settings import load_settings\n"
        "print(run_command(load_settings(), 'list'))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"EVERYFRAME_HOME": "home"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "CommandResult(code=0, data=[], error='')\n"
    assert (home / "library.db").exists()


def test_failure_has_the_commands_message(settings):
    result = run_command(settings, "show", "nothing like it")
    assert (result.code, result.data, result.is_good) == (1, None, False)
    assert "nothing like it" in result.error
    assert not result.error.startswith("everyframe")
    assert run_command(settings, "no-such-command").code == 2


def test_failure_with_data_keeps_the_data(settings):
    result = run_command(settings, "doctor")  # Ollama is down, or the model is missing
    assert "Python" in [check["what"] for check in result.data]
    assert result.error == ""


@pytest.mark.parametrize("word", ["a\0b", "x" * 5_000_000], ids=["a NUL", "endless"])
def test_invalid_argument_is_a_failed_result(settings, word):
    result = run_command(settings, "search", word)
    assert (result.is_good, result.data) == (False, None)
    assert result.error.startswith("cannot run the command")


@pytest.mark.parametrize("url", ["nonsense", "postgresql://host:abc/x"])
def test_invalid_database_url_is_a_failed_result(url):
    result = run_command(load_settings(database_url=url), "list")
    assert (result.is_good, result.data) == (False, None)
    assert result.error.startswith("cannot run the command: EVERYFRAME_DATABASE_URL cannot be used")


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_timeout_terminates_the_command_and_its_children(settings, script, tmp_path):
    child = tmp_path / "child"
    script(
        "import subprocess, sys, time\n"
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r}, 'w').write(str(process.pid))\n"
        "print('{\"half\": true}', flush=True)\ntime.sleep(60)\n"
    )
    start = time.monotonic()
    result = run_command(settings, "anything", seconds=2)
    assert time.monotonic() - start < 10
    assert (result.code, result.data) == (124, {"half": True})
    assert result.error == "the command took longer than 2 s and was terminated"
    wait_until(lambda: has_ended(int(child.read_text())), "the child has ended")


def test_command_ignoring_sigterm_is_killed(settings, script, monkeypatch):
    monkeypatch.setattr(command, "TERMINATE_SECONDS", 0.5)
    script("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n")
    start = time.monotonic()
    assert run_command(settings, "anything", seconds=1.5).code == 124
    assert time.monotonic() - start < 10


def test_detached_process_is_not_waited_for(settings, script):
    script(
        "import subprocess, sys\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "print([subprocess.Popen(command, start_new_session=True).pid])\n"
    )
    [pid] = run_command(settings, "anything").data
    assert not has_ended(pid)
    psutil.Process(pid).kill()


def test_large_output_does_not_block(settings, script):
    script("import json, sys\nprint(json.dumps(['x' * 5_000_000]))\nsys.stderr.write('y' * 5_000_000)\n")
    result = run_command(settings, "anything", seconds=30)
    assert (result.code, len(result.data[0]), result.error) == (0, 5_000_000, "")


def test_crash_has_its_signal(settings, script):
    script("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    result = run_command(settings, "anything")
    assert (result.code, result.error) == (-11, "the command ended with signal 11: no error output")


@pytest.mark.parametrize(
    ("printed", "values"),
    [
        ("", []),
        ("No video.\n", []),
        ('{"a": 1}\n', [{"a": 1}]),
        ('12:00:00 INFO [x] loaded\n[\n  {"a": "]"}\n]\n12:00:01 INFO done\n', [[{"a": "]"}]]),
        ('[INFO] {"no": 1}\n{"a": 1}\n', [{"a": 1}]),
        ('{"a": 1}\n{"b": 2}\n{"half', [{"a": 1}, {"b": 2}]),
        ('[1, 2] frames of {3}\n{"a": 1} and more\n{"b": 2}', [{"b": 2}]),
        ("[" * 100_000 + '\n{"b": 2}\n', [{"b": 2}]),
    ],
)
def test_json_is_found_among_other_lines(printed, values):
    assert json_values(printed) == values


def test_json_option_comes_before_a_double_dash():
    assert command.command_line(["settings", "set", "--", "language", "--json"])[-5:] == [
        "set", "--json", "--", "language", "--json",
    ]  # fmt: skip


def test_user_messages_are_found_among_log_lines():
    said = "12:00:00 WARNING slow\neveryframe: the video is gone\n"
    assert error_line(said, 1) == "the video is gone"
    assert error_line("12:00:00 WARNING slow\n", 0) == ""
    assert error_line("Traceback\nMemoryError\n", 1) == "the command ended with exit code 1: MemoryError"
