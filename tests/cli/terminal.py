"""Run a command and read its output, in this process or in a separate one."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enrich.cli import run
from tests.waiting import PATIENCE_SECONDS

COMMAND = Path(sys.executable).parent / "everyframe"
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Terminal:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, *words: str, code: int = 1) -> None:
        """Assert that it failed with one line on stderr that contains these words, and nothing on stdout."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.startswith("everyframe: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Terminal:
    """Run the command in this process."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Terminal(code, out, err)


def run_process(*arguments: str | bytes | Path, **how: Any) -> Terminal:
    """Run the command in a separate process, to its end, with empty stdin."""
    given = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": PATIENCE_SECONDS, "cwd": PROJECT} | how
    done = subprocess.run([os.fspath(COMMAND), *arguments], check=False, **given)
    return Terminal(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def running(*command: str | Path, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that runs in parallel with the test. Killed at the end if it is still running."""
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([str(part) for part in command], **({"cwd": PROJECT} | given | how)) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ask(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows from a library's database; none while it does not exist yet."""
    file = home / "library.db"
    if not file.exists():
        return []
    try:
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def change(home: Path, sql: str, *values: object) -> None:
    """Change a library's database directly."""
    with closing(sqlite3.connect(home / "library.db")) as connection, connection:
        connection.execute(sql, values)


def settled(home: Path) -> bool:
    """Whether no work is pending: no claimed task, no live run, no partial image file."""
    doing = ask(home, "SELECT count(*) FROM tasks WHERE status = 'doing'")
    live = ask(home, "SELECT count(*) FROM runs WHERE state NOT IN ('stopped', 'finished', 'crashed')")
    return doing == [(0,)] and live == [(0,)] and not list((home / "frames").rglob("*.part"))
