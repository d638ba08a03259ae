"""The data folder is accessible to its owner alone."""

from pathlib import Path

import pytest

from enrich.library.library import Library
from enrich.settings import load_settings


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


def test_folder_with_other_files_keeps_its_permissions(tmp_path: Path) -> None:
    home = tmp_path / "Videos"
    home.mkdir()
    home.chmod(0o755)
    (home / "wedding.mp4").touch()
    assert opened(home) == 0o755
