"""A new library for every test: a real file, copied from one made by the migrations."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from db.engine import make_engine, writing
from db.migrate import open_library


@pytest.fixture(scope="session")
def empty_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty library, to be copied and not changed."""
    file = tmp_path_factory.mktemp("empty") / "library.db"
    open_library(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def file(empty_library: Path, tmp_path: Path) -> Path:
    """The file of a library."""
    return Path(shutil.copy(empty_library, tmp_path / "library.db"))


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    """A library."""
    engine = make_engine(f"sqlite:///{file}")
    yield engine
    engine.dispose()


@pytest.fixture
def library(engine: Engine) -> Iterator[Connection]:
    """A write transaction in a library, for tests that need one connection only."""
    with writing(engine) as connection:
        yield connection
