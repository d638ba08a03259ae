"""What a test must not inherit from the person who runs it, and must not leave behind."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

PERSONAL_PREFIXES = ("EVERYFRAME_", "ANTHROPIC_", "OLLAMA_")
FOR_TESTS_PREFIX = "EVERYFRAME_TEST_"  # says where a browser or a real Ollama is
CACHES = {".git", ".venv", ".uv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"}
CACHES |= {"__pycache__", "build", "dist"}
SOURCES = {".py", ".md", ".toml"}  # a person may save one while the tests run


def remove_personal_settings(patch: pytest.MonkeyPatch) -> None:
    """Remove the settings and keys of the person who runs the tests from this process's environment."""
    for name in list(os.environ):
        if name.startswith(PERSONAL_PREFIXES) and not name.startswith(FOR_TESTS_PREFIX):
            patch.delenv(name)


class ChildProcesses:
    """The child processes of this process; they are listed only after a program was started, since listing is slow."""

    def __init__(self) -> None:
        self._starts = 0
        self._starts_when_listed = -1
        self._children: set[psutil.Process] = set()
        sys.addaudithook(self._count_start)

    def listed(self) -> set[psutil.Process]:
        """All child processes; some of them may have ended since."""
        if self._starts_when_listed != self._starts:
            self._starts_when_listed = self._starts
            self._children = set(psutil.Process().children())
        return self._children

    def _count_start(self, event: str, _: tuple[Any, ...]) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            self._starts += 1


def project_files(root: Path) -> set[str]:
    """Paths of the files below the root that are neither caches nor source files."""
    found = set()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in CACHES and not name.endswith(".egg-info")]
        paths = (Path(folder, name) for name in names)
        found |= {str(path.relative_to(root)) for path in paths if path.suffix not in SOURCES}
    return found


def processes_using(folder: Path) -> list[str]:
    """Command lines of other processes whose settings name a path below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            values = process.environ().values() if process.pid != os.getpid() else ()
            if any(str(folder) in value for value in values):
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    return found
