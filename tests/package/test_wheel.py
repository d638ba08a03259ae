"""What the wheel and the source distribution contain."""

import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.package.conftest import INSTALL_SECONDS, PROJECT, TEST_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(TEST_SECONDS)]


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        [path] = [path for path in archive.namelist() if path.endswith(name)]
        return archive.read(path)


def test_wheel_has_one_top_level_name(wheel):
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"everyframe"}
    assert len(tops) == 2


def test_wheel_holds_every_source_file_and_nothing_else(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "enrich", "db", "pages", "app.py", ".streamlit", "launch/everyframe"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )
    if tracked.returncode:
        pytest.skip("this tree is not a git checkout")
    wanted = {
        name.removeprefix("launch/") if name.startswith("launch/") else f"everyframe/_app/{name}"
        for name in tracked.stdout.splitlines()
        if (PROJECT / name).exists()
    }
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    assert found == wanted


def test_wheel_is_typed(wheel):
    assert "everyframe/py.typed" in names(wheel)


def test_wheel_from_the_sdist_is_that_of_the_checkout(wheel, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    [direct] = tmp_path.glob("*.whl")
    assert names(direct) == names(wheel)


def test_the_extras_are_claude_and_dev(wheel):
    metadata = message_from_bytes(read(wheel, ".dist-info/METADATA"))
    assert metadata.get_all("Provides-Extra") == ["claude", "dev"]
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.split(r"[<>=]", line)[0] for line in required} >= {"streamlit", "ollama", "typer"}
    assert "everyframe = everyframe.__main__:main" in read(wheel, "entry_points.txt").decode()
