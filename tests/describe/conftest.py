"""Stand-in servers for Ollama and Claude's API, and settings that point to them."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.settings import Settings, load_settings
from tests.standin import StandIn
from tests.standin_claude import KEY, ClaudeStandIn


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def settings(standin: StandIn, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings for the stand-in, with short time limits; keywords override them."""

    def make(**changes: Any) -> Settings:
        given = {"home": tmp_path, "ollama_hosts": standin.address, "model": "llava:13b", "connect_seconds": 2}
        return load_settings(**(given | {"call_seconds": 5, "load_seconds": 5} | changes))

    return make


@pytest.fixture
async def describer(settings: Callable[..., Settings]) -> AsyncIterator[OllamaDescriber]:
    made = OllamaDescriber(settings())
    yield made
    await made.close()


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    """The stand-in for Claude's API, with its key in the environment and no keyring."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        yield server


@pytest.fixture
async def make_quick(claude: ClaudeStandIn, tmp_path: Path) -> AsyncIterator[Callable[..., ClaudeQuick]]:
    """Makes quick describers that ask the stand-in; keywords are settings or its arguments."""
    made: list[ClaudeQuick] = []

    def make(**changes: Any) -> ClaudeQuick:
        kept = {name: changes.pop(name) for name in ("model", "on_wait", "max_wait_seconds") if name in changes}
        made.append(ClaudeQuick(load_settings(home=tmp_path, connect_seconds=2, **changes), **kept))
        return made[-1]

    yield make
    for quick in made:
        await quick.close()
