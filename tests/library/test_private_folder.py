"""The data folder and what EveryFrame keeps in it are accessible to their owner alone."""

import os
from pathlib import Path

import pytest

from enrich.library.library import Library
from enrich.settings import load_settings
from enrich.video.jpeg import write_jpeg


def opened(home: Path) -> int:
    """The permissions of a data folder after its library was opened."""
    Library.open(load_settings(home=home)).engine.dispose()
    return home.stat().st_mode & 0o777


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o777])
def test_folder_of_a_library_becomes_private(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    assert opened(home) == 0o700
    home.chmod(mode)  # as in a library of an older version
    assert opened(home) == 0o700


def old_library(home: Path) -> list[Path]:
    """A library whose files other users can read, as an older version left them."""
    Library.open(load_settings(home=home)).engine.dispose()
    for folder in ("frames/0a1b/00000", "logs", "jobs/1", "uploads", "audits/1"):
        (home / folder).mkdir(parents=True)
        (home / folder / "file").touch()
    (home / "settings.toml").touch()
    (home / "library.db.before-0002-from-0001").touch()
    files = [home, *home.rglob("*")]
    for file in files:
        file.chmod(0o755 if file.is_dir() else 0o644)
    return files


def open_to_others(files: list[Path]) -> list[Path]:
    return [file for file in files if file.stat().st_mode & 0o077]


def test_files_of_an_older_library_become_private(tmp_path: Path) -> None:
    files = old_library(tmp_path / "home")
    assert open_to_others(files) == files
    opened(tmp_path / "home")
    assert open_to_others(files) == []


def test_files_left_open_by_a_killed_command_become_private(tmp_path: Path) -> None:
    """The folder is closed first and the database last."""
    files = old_library(tmp_path / "home")
    (tmp_path / "home").chmod(0o700)
    opened(tmp_path / "home")
    assert open_to_others(files) == []


def test_a_private_library_is_not_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "home")
    monkeypatch.setattr(
        "enrich.library.library.make_private", lambda *_, **__: pytest.fail("walked through all images")
    )
    opened(tmp_path / "home")


def test_library_behind_a_link_becomes_private(tmp_path: Path) -> None:
    files = old_library(tmp_path / "disk")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    opened(tmp_path / "home")
    assert open_to_others(files) == []


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    old_library(home)
    (home / "wedding.mp4").touch()
    (home / "wedding.mp4").chmod(0o644)
    opened(home)
    assert open_to_others([home / "wedding.mp4"])


def test_permissions_that_cannot_be_taken_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old_library(tmp_path / "home")
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)  # as on FAT
    opened(tmp_path / "home")
    assert "other users of this computer may read" in caplog.text


def test_database_elsewhere_becomes_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    url = f"sqlite:///{tmp_path / 'films.db'}"
    for _ in range(2):
        Library.open(load_settings(home=tmp_path / "home", database_url=url)).engine.dispose()
        assert not open_to_others([tmp_path / "films.db"])
        (tmp_path / "films.db").chmod(0o644)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_folder_with_other_files_keeps_its_permissions(tmp_path: Path) -> None:
    home = tmp_path / "Videos"
    home.mkdir()
    home.chmod(0o755)
    (home / "wedding.mp4").touch()
    assert [opened(home), opened(home)] == [0o755, 0o755]
    assert open_to_others([home / "library.db", home / "wedding.mp4"]) == [home / "wedding.mp4"]


@pytest.mark.parametrize("name", ["settings.toml", "dashboard-token", "dashboard.json", "logs", ".DS_Store"])
def test_folder_in_use_before_its_library_becomes_private(tmp_path: Path, name: str) -> None:
    """As when the dashboard starts before the library exists."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / name).touch()
    assert opened(home) == 0o700


def test_library_opened_by_another_program_is_private_under_its_umask(tmp_path: Path) -> None:
    """`LocalVisionAnalyzer` changes no umask of the program that uses it."""
    before = os.umask(0)
    try:
        library = Library.open(load_settings(home=tmp_path / "home"))
        write_jpeg(library.frames_folder / "0a1b" / "00000" / "1.jpg", b"image")
    finally:
        os.umask(before)
    files = [tmp_path / "home", *(tmp_path / "home").rglob("*")]
    assert {"library.db", "frames", "1.jpg"} <= {file.name for file in files}
    assert open_to_others(files) == []
    library.engine.dispose()
