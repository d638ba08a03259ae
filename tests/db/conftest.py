"""A new library for every test: a real file, copied from one made by the migrations. And a newer schema."""

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import Connection, Engine

from db import migrate
from db.engine import make_engine, writing
from db.migrate import open_library
from tests.db.library import add

# A migration that recreates a table, which SQLite needs for most changes. Its triggers are dropped with the old one.
RECREATE = """
    connection = op.get_bind()
    of_table = "FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'videos'"
    triggers = connection.exec_driver_sql(f"SELECT sql {of_table}").scalars().all()
    with op.batch_alter_table("videos", recreate="always") as batch:
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
    for trigger in triggers:
        connection.exec_driver_sql(trigger)
"""


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


@pytest.fixture
def video_id(library: Connection) -> int:
    """A video in the library."""
    return add(library)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Make this version one with a newer schema, whose migration consists of the given lines."""
    versions = tmp_path / "versions"
    config_of_this_version = migrate._config

    def config() -> Config:
        config = config_of_this_version()
        folders = [Path(migrate.__file__).parent / "migrations" / "versions", versions]
        config.set_main_option("version_locations", os.pathsep.join(map(str, folders)))
        return config

    def write(lines: str) -> None:
        versions.mkdir()
        head = 'import sqlalchemy as sa\nfrom alembic import op\n\nrevision = "next"\n'
        body = textwrap.indent(textwrap.dedent(lines), "    ")
        script = f"{head}down_revision = {migrate.REVISION!r}\n\n\ndef upgrade():\n{body}\n"
        (versions / "next.py").write_text(script)
        monkeypatch.setattr(migrate, "_config", config)
        monkeypatch.setattr(migrate, "REVISION", "next")

    return write
