"""What a test must not inherit from the person who runs it, and must not leave behind."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

PERSONAL_PREFIXES = ("EVERYFRAME_", "ANTHROPIC_", "OLLAMA_")
FOR_TESTS_PREFIX = "EVERYFRAME_TEST_"  # says where a browser or a real Ollama is
CACHES = {".git", ".venv", ".uv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".import_linter_cache"}
CACHES |= {"__pycache__", "build", "dist"}
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of capget(2): three words, twice
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
COVERAGE_PREFIX = ".coverage"  # the other processes of a test run write theirs when they end
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
        paths = (Path(folder, name) for name in names if not name.startswith(COVERAGE_PREFIX))
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


@contextmanager
def without_root_override() -> Iterator[None]:
    """On Linux, file permissions apply to root too: in this thread, and in those it starts. Elsewhere: no effect.

    Removes the two capabilities that let root read and write every file from the effective set (capabilities(7)).
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)  # 0: this thread
    before = (ctypes.c_uint32 * 6)()
    if libc.capget(header, before) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    reduced = (ctypes.c_uint32 * 6)(*before)
    reduced[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    libc.capset(header, reduced)  # removing a capability is always allowed
    try:
        yield
    finally:
        libc.capset(header, before)
