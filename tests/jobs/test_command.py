"""Commands run to their end in processes of their own."""

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

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings():
    return load_settings()


@pytest.fixture
def script(monkeypatch, tmp_path):
    """`script(text)`: what runs instead of the command line from now on."""

    def become(text):
        path = tmp_path / "program.py"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(command, "command_line", lambda words: [sys.executable, str(path), *words])

    return become


def test_a_command_answers_in_json_for_the_same_library(settings, clip):
    outcome = run_command(settings, "add", str(clip), "--sampling", "exact")
    assert outcome.is_good, outcome
    assert [row["outcome"] for row in outcome.data] == ["added"]
    listed = run_command(settings, "list")
    assert [row["path"] for row in listed.data] == [str(clip)]
    assert (listed.code, listed.error) == (0, "")
    assert (settings.home / "library.db").exists()


def test_it_works_wherever_it_is_called_from(tmp_path):
    """From another folder, with modules lying about in it and in the library that would be taken for Python's own."""
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


def test_a_failure_is_what_the_command_said(settings):
    outcome = run_command(settings, "show", "nothing like it")
    assert (outcome.code, outcome.data, outcome.is_good) == (1, None, False)
    assert "nothing like it" in outcome.error
    assert not outcome.error.startswith("everyframe")
    assert run_command(settings, "no-such-command").code == 2


def test_a_failure_with_data_keeps_the_data(settings):
    outcome = run_command(settings, "doctor")  # nobody answers where Ollama is looked for, or it lacks the model
    assert "Python" in [check["what"] for check in outcome.data]
    assert outcome.error == ""


@pytest.mark.parametrize("word", ["a\0b", "x" * 5_000_000], ids=["a NUL", "endless"])
def test_words_that_no_command_line_can_hold_are_an_outcome_too(settings, word):
    outcome = run_command(settings, "search", word)
    assert (outcome.is_good, outcome.data) == (False, None)
    assert outcome.error.startswith("the command could not be run")


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(settings, script, tmp_path):
    child = tmp_path / "child"
    script(
        "import subprocess, sys, time\n"
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r}, 'w').write(str(process.pid))\n"
        "print('{\"half\": true}', flush=True)\ntime.sleep(60)\n"
    )
    start = time.monotonic()
    outcome = run_command(settings, "anything", seconds=2)
    assert time.monotonic() - start < 10
    assert (outcome.code, outcome.data) == (124, {"half": True})
    assert outcome.error == "it took longer than 2 seconds and was ended"
    pid = int(child.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_one_that_does_not_listen_is_killed(settings, script, monkeypatch):
    monkeypatch.setattr(command, "END_SECONDS", 0.5)
    script("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n")
    start = time.monotonic()
    assert run_command(settings, "anything", seconds=1.5).code == 124
    assert time.monotonic() - start < 10


def test_what_it_leaves_in_the_background_is_not_waited_for(settings, script):
    script(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'], start_new_session=True)\nprint('{}')\n"
    )
    start = time.monotonic()
    assert run_command(settings, "anything").data == {}
    assert time.monotonic() - start < 4


def test_output_larger_than_any_pipe_does_not_block(settings, script):
    script("import json, sys\nprint(json.dumps(['x' * 5_000_000]))\nsys.stderr.write('y' * 5_000_000)\n")
    outcome = run_command(settings, "anything", seconds=30)
    assert (outcome.code, len(outcome.data[0]), outcome.error) == (0, 5_000_000, "")


def test_a_crash_is_named(settings, script):
    script("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    outcome = run_command(settings, "anything")
    assert (outcome.code, outcome.error) == (-11, "it ended with signal 11: nothing more is known")


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


def test_json_comes_before_what_is_no_option():
    assert command.command_line(["settings", "set", "--", "language", "--json"])[-5:] == [
        "set", "--json", "--", "language", "--json",
    ]  # fmt: skip


def test_what_is_meant_for_a_person_is_found_among_log_lines():
    said = "12:00:00 WARNING slow\neveryframe: the film is gone\n"
    assert error_line(said, 1) == "the film is gone"
    assert error_line("12:00:00 WARNING slow\n", 0) == ""
    assert error_line("Traceback\nMemoryError\n", 1) == "it ended with exit code 1: MemoryError"
