"""The built distributions, and the wheel installed beside the package `enrich` from PyPI."""

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FOREIGN = "enrich==1.2.7"  # a package of another project, with one of the names our folders have
INSTALL_SECONDS = 600  # one run of pip or hatchling; typically under a minute
TEST_SECONDS = 1200  # the first test also waits for the installation
DECOYS = ("enrich", "db", "pages", "app")


def pip(*arguments: str | Path, python: Path | str = sys.executable) -> "subprocess.CompletedProcess[str]":
    """Run pip for an interpreter that need not have it."""
    command = [sys.executable, "-m", "pip", "--python", python, "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel, and a working directory full of modules with misleading names."""

    folder: Path
    home: Path

    @property
    def programs(self) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def command(self) -> Path:
        return self.programs / "everyframe"

    @property
    def python(self) -> Path:
        return self.programs / "python"

    @property
    def working_directory(self) -> Path:
        return self.folder.parent / "elsewhere"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the environment the tests run in, apart from what a system needs to start programs."""
        needed = {name: os.environ[name] for name in ("SYSTEMROOT", "PATHEXT", "TEMP") if name in os.environ}
        return needed | {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "EVERYFRAME_HOME": str(self.home / "library"),
            "EVERYFRAME_OLLAMA_HOSTS": "http://127.0.0.1:9",  # no model: what answers must not depend on the machine
            "EVERYFRAME_DESCRIBER": "baseline",
            "EVERYFRAME_KEEP_AWAKE": "never",
        }

    def run(self, *command: str | Path, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment to its end."""
        return subprocess.run(
            command,
            cwd=self.working_directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=seconds,
        )

    def python_code(self, code: str) -> str:
        """What Python code prints in the environment; `-P` keeps the working directory off the import path."""
        done = self.run(self.python, "-P", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="package")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this tree."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    [built] = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="package")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from nothing but the source distribution, as pip does where there is no wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "built"]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    [built] = (folder / "built").glob("*.whl")
    return built


@pytest.fixture(scope="package")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel in an empty environment, its dependencies in the versions of the lock, beside PyPI's `enrich`."""
    root = tmp_path_factory.mktemp("installed")
    reached = pip("download", "--no-deps", "--dest", root / "download", FOREIGN)
    if reached.returncode:
        if pip("download", "--no-deps", "--dest", root / "download", "pip").returncode:
            pytest.skip(f"PyPI cannot be reached: {reached.stderr.strip().splitlines()[-1]}")
        pytest.fail(f"{FOREIGN} cannot be downloaded: {reached.stderr.strip().splitlines()[-1]}")
    one = Installation(root / "venv", root / "home")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", one.folder], check=True, timeout=INSTALL_SECONDS)
    one.home.mkdir()
    one.working_directory.mkdir()
    for name in DECOYS:
        decoy = one.working_directory / f"{name}.py"
        decoy.write_text(f"raise SystemExit('imported the wrong {name}')", encoding="utf-8")
    versions = root / "constraints.txt"
    lines = (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = [line.removesuffix("\\").strip() for line in lines if line[:1].isalnum()]
    versions.write_text("\n".join(locked), encoding="utf-8")
    installed = pip("install", "--constraint", versions, wheel, FOREIGN, python=one.python)
    assert installed.returncode == 0, installed.stderr
    return one
