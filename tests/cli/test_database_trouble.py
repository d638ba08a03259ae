"""Commands on a library that is read-only, locked, damaged or on a full disk: one sentence with the next step."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db import engine
from tests.cli.terminal import Terminal
from tests.standin import StandIn

Cli = Callable[..., Terminal]
READING = {
    "list": ("list", "--json"),
    "show": ("show", "party"),
    "search": ("search", "number"),
    "export": ("export", "party", "--format", "json"),
    "status": ("status", "--json"),
    "costs": ("costs", "--json"),
}
WRITING = {
    "set": ("set", "party", "--context", "a birthday"),
    "remove": ("remove", "party", "--yes"),
    "retry": ("retry",),
    "enrich": ("enrich", "--describer", "baseline"),
    "extract": ("extract",),
    "start": ("start", "--describer", "baseline"),
}
KEPT = 18  # images of the library
MODES = {"file": (0o444, 0o755), "folder": (0o644, 0o555), "file and folder": (0o444, 0o555)}


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def read_only(request: pytest.FixtureRequest, library: Path, file_permissions: None) -> Iterator[Path]:
    """An enriched library that this user cannot write."""
    file_mode, folder_mode = request.param
    file = library / "library.db"
    file.chmod(file_mode)
    library.chmod(folder_mode)
    yield library
    library.chmod(0o755)
    file.chmod(0o644)


@pytest.mark.parametrize("command", READING.values(), ids=READING.keys())
def test_read_only_library_can_be_read(read_only: Path, cli: Cli, command: tuple[str, ...]) -> None:
    before = sorted(read_only.iterdir())
    result = cli(*command)
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert sorted(read_only.iterdir()) == before, "no file is left behind"


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING.keys())
def test_command_that_writes_refuses_a_read_only_library(read_only: Path, cli: Cli, command: tuple[str, ...]) -> None:
    before = (read_only / "library.db").read_bytes()
    result = cli(*command)
    assert result.code == 1
    assert result.err.startswith("everyframe: ")
    assert result.err.count("\n") == 1
    assert f"{read_only / 'library.db'} is read-only: make the file and its folder writable" in result.err
    assert (read_only / "library.db").read_bytes() == before
    assert len(list((read_only / "frames").rglob("*.jpg"))) == KEPT, "no image was deleted"


def test_doctor_names_the_fix_of_a_read_only_library(read_only: Path, cli: Cli, standin: StandIn) -> None:
    said = cli("doctor")
    assert said.code == 1
    assert f"FAIL  library: {read_only / 'library.db'} is read-only: make the file and its folder writable" in said.out


def test_command_that_writes_gives_up_on_a_locked_library(
    library: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(library / "library.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cli("set", "party", "--context", "x").refused("is locked by another process: close it, or try again")
        assert cli("list").code == 0, "reading does not wait"


def test_command_reports_damage_deep_in_the_library_in_one_line(library: Path, cli: Cli) -> None:
    file = library / "library.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'frames'").fetchall()
        [(size,)] = connection.execute("PRAGMA page_size").fetchall()
    data = bytearray(file.read_bytes())
    data[(root - 1) * size : root * size] = b"\x55" * size
    file.write_bytes(data)
    cli("show", "party").refused("cannot be read as a database", "restore a backup")
