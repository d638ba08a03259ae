"""The machine's id: the same under every host name, stored once, never shared by two machines."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from enrich import process
from enrich.process import machine_id, stored_value

PRINT_ID = "from enrich.process import machine_id; print(machine_id())"
PROCESSES = 8


@pytest.fixture(autouse=True)
def other_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without an id."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    machine_id.cache_clear()
    yield tmp_path
    machine_id.cache_clear()


def read_again() -> str | None:
    machine_id.cache_clear()
    return machine_id()


def test_id_is_stored_once_for_the_user_alone() -> None:
    first = machine_id()
    assert first is not None
    assert len(first) == 32
    assert read_again() == first
    if sys.platform != "win32":
        assert process.state_file().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in process.state_file().parent.iterdir()] == ["machine-id"]


def test_id_does_not_depend_on_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_id()
    monkeypatch.setattr(socket, "gethostname", lambda: "another-network")
    assert read_again() == before


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path / "new"), "USERPROFILE": str(tmp_path / "new")}
    started = [
        subprocess.Popen([sys.executable, "-c", PRINT_ID], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    found = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(found) == 1
    assert len(found.pop()) == 32


def test_loser_of_the_race_takes_the_stored_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine-id"
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        target.write_text("a" * 32, encoding="ascii")
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert stored_value(file) == "a" * 32


def test_file_system_without_links_stores_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    value = stored_value(tmp_path / "machine-id")
    assert len(value) == 32
    assert stored_value(tmp_path / "machine-id") == value


@pytest.mark.parametrize("damaged", ["", "short", "\0" * 32 + "x", "ä"])
def test_damaged_value_is_replaced(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "machine-id"
    file.write_text(damaged, encoding="utf-8")
    value = stored_value(file)
    assert len(value) == 32
    assert stored_value(file) == value


def test_machines_that_share_a_home_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "system_id", lambda: "one")
    one = read_again()
    monkeypatch.setattr(process, "system_id", lambda: "two")
    assert read_again() != one


def test_clones_of_one_image_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "system_id", lambda: "the same")
    one = read_again()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "other")
    assert read_again() != one


def test_missing_system_id_leaves_the_stored_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SYSTEM_ID_FILES", ("/nowhere/machine-id",))
    monkeypatch.setattr(process, "system_id", lambda: "")
    first = read_again()
    assert first is not None
    assert read_again() == first


def test_machine_that_stores_nothing_has_the_system_id(
    monkeypatch: pytest.MonkeyPatch, file_permissions: None, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setattr(process, "system_id", lambda: "known")
    known = read_again()
    assert known is not None
    assert read_again() == known
    monkeypatch.setattr(process, "system_id", lambda: "")
    assert read_again() is None
    tmp_path.chmod(0o700)


def test_user_without_a_home_folder_has_the_system_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(process, "state_file", no_home)
    monkeypatch.setattr(process, "system_id", lambda: "known")
    assert read_again() is not None
    monkeypatch.setattr(process, "system_id", lambda: "")
    assert read_again() is None
