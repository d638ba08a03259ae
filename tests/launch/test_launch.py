"""What is asked of the launchers: read on every system; the shell ones are run against a uv that only writes down.

The batch file cannot be run outside of Windows: only what is known to break one is looked for.
"""

import os
import re
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
# A uv that writes down what it is asked, and makes an environment whose programs do the same.
UV = """#!/bin/sh
echo "uv $*" >>"$TOLD"
case $1 in
venv)
    for last; do :; done
    mkdir -p "$last/bin"
    printf '#!/bin/sh\\nexit 0\\n' >"$last/bin/python"
    printf '#!/bin/sh\\necho "everyframe $*" >>"$TOLD"\\necho "$SAYS"\\n' >"$last/bin/everyframe"
    chmod +x "$last/bin/python" "$last/bin/everyframe" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what the launchers need, in a folder whose name is hard on scripts."""
    folder = tmp_path / "Every Frame & Söhne's (1)"
    shutil.copytree(LAUNCH, folder / "launch", ignore=shutil.ignore_patterns(".venv", ".uv"))
    for name in ("requirements.lock", "requirements-headless.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").write_text(UV, encoding="utf-8")
    (programs / "uv").chmod(0o755)
    return folder


def start(folder: Path, says: str = "") -> tuple[str, list[str]]:
    """What the launcher prints, and what it asked of others."""
    told = folder.parent / "told"
    told.unlink(missing_ok=True)
    environment = {
        "PATH": f"{folder.parent / 'programs'}:/usr/bin:/bin",
        "HOME": str(folder.parent),
        "TOLD": str(told),
        "SAYS": says,
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
    return done.stdout, told.read_text(encoding="utf-8").splitlines()


@needs_shell
def test_it_sets_up_from_the_lock_and_starts_the_dashboard(folder):
    said, told = start(folder)
    assert "Setting EveryFrame up" in said
    assert "Ollama" not in said
    asked = [line for line in told if not line.startswith("uv --version")]
    assert [line.split()[:3] for line in asked[:3]] == [
        ["uv", "venv", "--quiet"],
        ["uv", "pip", "sync"],
        ["uv", "pip", "install"],
    ]
    assert "--require-hashes requirements.lock" in asked[1]
    assert asked[-1] == "everyframe dashboard"


@needs_shell
def test_the_second_time_it_only_starts(folder):
    start(folder)
    said, told = start(folder)
    assert "Setting" not in said
    assert told == ["everyframe doctor", "everyframe dashboard"]


@needs_shell
def test_another_lock_is_set_up_anew(folder):
    start(folder)
    with (folder / "requirements.lock").open("a", encoding="utf-8") as lock:
        lock.write("# a newer one\n")
    assert any(line.startswith("uv pip sync") for line in start(folder)[1])


@needs_shell
def test_a_missing_ollama_is_said_in_one_sentence_with_its_link(folder):
    said, told = start(folder, says="Fix: install Ollama from https://ollama.com/download (Linux: …)")
    [sentence] = [line for line in said.splitlines() if "Ollama" in line]
    assert "https://ollama.com/download" in sentence
    assert told[-1] == "everyframe dashboard"


def test_what_tells_a_missing_ollama_is_what_doctor_says():
    from enrich.cli.machine import INSTALL_OLLAMA

    assert "ollama.com/download" in INSTALL_OLLAMA


@needs_shell
@pytest.mark.parametrize("name", SHELL)
def test_shell_launchers_can_be_started_and_shellcheck_is_content(name):
    path = LAUNCH / name
    assert os.access(path, os.X_OK)
    assert b"\r" not in path.read_bytes()
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_batch_file_is_plain_and_every_jump_has_its_place():
    data = BATCH.read_bytes()
    assert data.isascii(), "the console's code page is not known"
    assert data.count(b"\n") == data.count(b"\r\n"), "cmd loses its labels where lines end in LF alone"
    text = data.decode("ascii")
    labels = set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    jumps = set(re.findall(r"\b(?:goto|call) :(\w+)", text))
    assert jumps == labels
    for name in ("PYTHONS", "ENVIRONMENT", "PYTHON", "EVERYFRAME", "UV"):
        for found in re.finditer(rf"%{name}%", text):
            before = text[text.rindex("\n", 0, found.start()) : found.start()]
            assert before.count('"') % 2 == 1, f"%{name}% stands outside of quotes: {before}"


def test_all_launchers_and_the_makefile_mean_the_same_uv_and_pythons():
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
def test_in_an_empty_home_it_sets_up_for_real_and_serves_the_dashboard(tmp_path):
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
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"dashboard: (http://127\.0\.0\.1:\d+)", line):
                with urllib.request.urlopen(f"{found[1]}/_stcore/health") as answer:  # noqa: S310  # of this machine
                    assert answer.status == 200
                process.terminate()
        code = process.wait(60)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # a gigabyte that nobody will look at
    shutil.rmtree(folder / "launch" / ".venv", ignore_errors=True)
    if "connect to the internet" in said:
        pytest.skip(said.strip().splitlines()[-1])
    assert "Setting EveryFrame up" in said
    assert "dashboard: http" in said
    assert code == 0, said
