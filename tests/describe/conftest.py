"""A stand-in for Ollama, and settings that point to it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enrich.describe.ollama import OllamaDescriber
from enrich.settings import Settings, load_settings
from tests.standin import StandIn


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def settings(standin: StandIn, tmp_path: Path) -> Callable[..., Settings]:
    """Settings for the stand-in, with short limits; keywords change them."""

    def make(**changes: Any) -> Settings:
        given = {"home": tmp_path, "ollama_hosts": standin.address, "model": "llava:13b", "connect_seconds": 2}
        return load_settings(**(given | {"call_seconds": 5, "load_seconds": 5} | changes))

    return make


@pytest.fixture
async def describer(settings: Callable[..., Settings]) -> AsyncIterator[OllamaDescriber]:
    made = OllamaDescriber(settings())
    yield made
    await made.close()
