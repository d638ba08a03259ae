"""The launchers: their text is checked on every system; the shell scripts run against a uv that only logs its calls.

The batch file runs on Windows only. Elsewhere the tests check it for the usual mistakes.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = PROJECT / "launch"
SHELL = ["Start EveryFrame.command", "start-everyframe.sh"]
BATCH = LAUNCH / "Start EveryFrame.bat"
needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts are not for Windows")
# A uv that logs its calls, and creates an environment whose programs do the same.
UV = """#!/bin/sh
echo "uv $*" >>"$CALL_LOG"
case $1 in
venv)
    for last; do :; done
    mkdir -p "$last/bin"
    printf '#!/bin/sh\\nexit 0\\n' >"$last/bin/python"
    printf '#!/bin/sh\\necho "everyframe $*" >>"$CALL_LOG"\\necho "$DOCTOR_OUTPUT"\\n' >"$last/bin/everyframe"
    chmod +x "$last/bin/python" "$last/bin/everyframe" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what the launchers need, in a folder whose name is difficult for scripts."""
    folder = tmp_path / "Every Frame & Söhne's (1)"
    shutil.copytree(LAUNCH, folder / "launch", ignore=shutil.ignore_patterns(".venv", ".uv"))
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text(UV, encoding="utf-8")
    (programs / "uv").chmod(0o755)
    return folder


def start(folder: Path, doctor_output: str = "") -> tuple[str, list[str]]:
    """Run the launcher: its output, and the logged calls."""
    call_log = folder.parent / "calls"
    call_log.unlink(missing_ok=True)
    environment = {
        "PATH": f"{folder.parent / 'programs'}:/usr/bin:/bin",
        "HOME": str(folder.parent),
        "CALL_LOG": str(call_log),
        "DOCTOR_OUTPUT": doctor_output,
    }
    done = subprocess.run(
        ["/bin/sh", folder / "launch" / SHELL[0]],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, call_log.read_text(encoding="utf-8").splitlines()


@needs_shell
def test_first_start_installs_from_the_lock(folder):
    output, calls = start(folder)
    assert "Installing EveryFrame" in output
    assert "Ollama" not in output
    commands = [line for line in calls if not line.startswith("uv --version")]
    assert [line.split()[:3] for line in commands[:3]] == [
        ["uv", "venv", "--quiet"],
        ["uv", "pip", "sync"],
        ["uv", "pip", "install"],
    ]
    assert "--require-hashes requirements.lock" in commands[1]
    assert commands[-1] == "everyframe dashboard"


@needs_shell
def test_second_start_installs_nothing(folder):
    start(folder)
    output, calls = start(folder)
    assert "Installing" not in output
    assert calls == ["everyframe doctor", "everyframe dashboard"]


@needs_shell
def test_changed_lock_reinstalls(folder):
    start(folder)
    with (folder / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("# a newer one\n")
    assert any(line.startswith("uv pip sync") for line in start(folder)[1])


@needs_shell
def test_missing_ollama_is_reported_with_its_link(folder):
    output, calls = start(folder, doctor_output="Fix: install Ollama from https://ollama.com/download (Linux: …)")
    [line] = [line for line in output.splitlines() if "Ollama is not installed" in line]
    assert "https://ollama.com/download" in line
    assert calls[-1] == "everyframe dashboard"


def test_launchers_look_for_the_link_that_doctor_prints():
    from enrich.cli.machine import INSTALL_OLLAMA

    assert "ollama.com/download" in INSTALL_OLLAMA


@needs_shell
@pytest.mark.parametrize("name", SHELL)
def test_shell_launchers_are_executable_and_pass_shellcheck(name):
    path = LAUNCH / name
    assert os.access(path, os.X_OK)
    assert b"\r" not in path.read_bytes()
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_batch_file_is_ascii_and_every_jump_has_a_label():
    data = BATCH.read_bytes()
    assert data.isascii(), "the console's code page is unknown"
    assert data.count(b"\n") == data.count(b"\r\n"), "cmd does not find labels in files with LF line endings"
    text = data.decode("ascii")
    labels = set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    jumps = set(re.findall(r"\b(?:goto|call) :(\w+)", text))
    assert jumps == labels
    for name in ("PYTHONS", "ENVIRONMENT", "PYTHON", "EVERYFRAME", "UV"):
        for found in re.finditer(rf"%{name}%", text):
            before = text[text.rindex("\n", 0, found.start()) : found.start()]
            assert before.count('"') % 2 == 1, f"%{name}% is not quoted: {before}"


def test_launchers_and_makefile_use_the_same_versions():
    shell = (LAUNCH / "start-everyframe.sh").read_text(encoding="utf-8")
    batch = BATCH.read_text(encoding="ascii")
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    versions = [
        re.search(r"uv_version=([\d.]+)", shell),
        re.search(r"UV_VERSION=([\d.]+)", batch),
        re.search(r"UV_VERSION := ([\d.]+)", makefile),
    ]
    assert len({found[1] for found in versions if found}) == 1
    assert all(versions)
    assert ">=3.11,<3.14" in shell
    assert ">=3.11,<3.14" in batch
    assert "WHEEL_PYTHONS := 3.11 3.12 3.13" in makefile


@needs_shell
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_first_start_serves_the_dashboard(tmp_path):
    folder = tmp_path / "Every Frame & Söhne's (1)"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests", "docs", "bench"))
    shutil.copytree(PROJECT / ".streamlit", folder / ".streamlit")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERYFRAME_")}
    environment |= {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "BROWSER": "/bin/true"}
    environment["UV_CACHE_DIR"] = str(tmp_path / "cache")
    with subprocess.Popen(
        ["/bin/sh", folder / "launch" / SHELL[0]],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        output = ""
        for line in process.stdout:
            output += line
            if found := re.search(r"Dashboard: (http://127\.0\.0\.1:\d+)", line):
                with urllib.request.urlopen(f"{found[1]}/_stcore/health") as answer:  # noqa: S310  # local
                    assert answer.status == 200
                process.terminate()
        code = process.wait(60)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # about 1 GB
    shutil.rmtree(folder / "launch" / ".venv", ignore_errors=True)
    if "connect to the internet" in output:
        pytest.skip(output.strip().splitlines()[-1])
    assert "Installing EveryFrame" in output
    assert "Dashboard: http" in output
    assert code == 0, output


def test_interrupt_while_modules_are_imported_exits_with_130():
    def interrupted() -> None:
        raise KeyboardInterrupt

    main = runpy.run_path(str(LAUNCH / "everyframe" / "__main__.py"))["main"]
    main.__globals__["put_app_first"] = interrupted
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
