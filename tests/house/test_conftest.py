"""The root conftest fails a test that leaves something behind, and hides the settings of the person who runs it."""

import os
import subprocess
import sys

import pytest

from tests.house.source import PROJECT

PROCESS = "import subprocess, sys\nsubprocess.child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)"
THREAD = "import threading, time\nthreading.Thread(None, time.sleep, 'everyframe-left', [20], daemon=True).start()"
ERROR = "import logging\nlogging.getLogger('enrich.test').error('it failed')"
FILE = "import pathlib\npathlib.Path('left.txt').touch()"
# Its parent has ended, so it is nobody's child. It ends when pytest ends, which holds the other end of the pipe.
BACKGROUND_PROCESS = """import os, subprocess, sys
waiting = "import sys; sys.stdin.read()"
start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {waiting!r}], start_new_session=True)"
subprocess.run([sys.executable, "-c", start], stdin=os.pipe()[0], check=True)"""
PREAMBLE = """
import pathlib

import tests.conftest

tests.conftest.PROJECT = pathlib.Path(__file__).parent
tests.conftest.PROCESS_GRACE_SECONDS = 0.1

@pytest.fixture
def thread_grace_seconds():
    return 0.1
"""
SETTING = "import os\nassert os.environ['EVERYFRAME_HOME'] != '/personal' and 'OLLAMA_HOST' not in os.environ"


def run_as_test(folder, code: str, mark: str = "") -> subprocess.CompletedProcess[str]:
    """Run code as a test of its own, below the root conftest."""
    indented = code.replace("\n", "\n    ")
    (folder / "test_it.py").write_text(f"import pytest\n\n{PREAMBLE}\n{mark}\ndef test_it():\n    {indented}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "test_it.py"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "EVERYFRAME_HOME": "/personal", "OLLAMA_HOST": "personal"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(PROCESS, "input()", id="process"),
        pytest.param(THREAD, "everyframe-left", id="thread"),
        pytest.param(ERROR, "it failed", id="error"),
        pytest.param(FILE, "left.txt", id="file"),
        pytest.param(BACKGROUND_PROCESS, "sys.stdin.read()", id="background process"),
    ],
)
def test_test_that_leaves_something_behind_fails(tmp_path, code, message):
    done = run_as_test(tmp_path, code)
    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
    assert message in done.stdout


def test_declared_error_is_accepted(tmp_path):
    assert run_as_test(tmp_path, ERROR, '@pytest.mark.expected_errors("it")').returncode == 0
    assert run_as_test(tmp_path, ERROR, '@pytest.mark.expected_errors("another")').returncode == 1


def test_personal_settings_are_hidden_from_tests(tmp_path):
    done = run_as_test(tmp_path, SETTING)
    assert done.returncode == 0, done.stdout
