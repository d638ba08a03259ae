"""A library that is enriched once and copied for every test: `numbers` (1, each fifth frame kept), `party` (2, all)."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clips import numbered_clip
from tests.standin import StandIn
from tests.worker.workspace import Workspace, open_workspace


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos; read-only."""
    folder = tmp_path_factory.mktemp("videos")
    numbered_clip(folder / "numbers.mp4", frames=30)
    numbered_clip(folder / "party.mp4", frames=12, first=100)
    return folder


@pytest.fixture(scope="session")
def enriched_home(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """The library all copies are made of."""
    home = tmp_path_factory.mktemp("enriched") / "home"
    with StandIn(parallel=4) as server:
        made = open_workspace(home, ollama_hosts=server.address)
        made.add(videos / "numbers.mp4", sampling="every=0.2s")
        made.add(videos / "party.mp4")
        asyncio.run(made.enrich())
        made.library.engine.dispose()
    return home


@pytest.fixture
def open_copy(tmp_path: Path, enriched_home: Path, standin: StandIn) -> Iterator[Callable[..., Workspace]]:
    """Opens a copy of the enriched library; keywords are settings."""
    opened: list[Workspace] = []

    def make(name: str = "home", **given: Any) -> Workspace:
        if not (tmp_path / name).exists():
            shutil.copytree(enriched_home, tmp_path / name)
        opened.append(open_workspace(tmp_path / name, **({"ollama_hosts": standin.address} | given)))
        return opened[-1]

    yield make
    for made in opened:
        made.library.engine.dispose()


@pytest.fixture
def library(open_copy: Callable[..., Workspace]) -> Workspace:
    return open_copy()
