"""Stand-in servers for Ollama and Claude's API, and settings that point to them."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from enrich.describe.claude.client import may_be_charged
from enrich.describe.claude.describer import ClaudeQuick
from enrich.describe.ollama.describer import OllamaDescriber
from enrich.describe.quick.protocol import LabelledImage, Payments, QuickResult, ReservedRequest
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


class FreePayments:
    """Payments without a budget; it shows nothing of the database's. `log`: what happened to which request."""

    def __init__(self) -> None:
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self.open: dict[str, tuple[str, ...]] = {}
        self.most_usd = 0.0

    async def reserve(
        self, labels: Sequence[str], most_usd: float, *, retry_of: ReservedRequest | None = None
    ) -> ReservedRequest:
        reservation = ReservedRequest(f"request {len(self.log)}", most_usd)
        self.most_usd += most_usd
        self.open[reservation.id] = tuple(labels)
        self.log.append(("retried" if retry_of else "reserved", tuple(labels)))
        return reservation

    async def settle(
        self, reservation: ReservedRequest, results: Sequence[QuickResult], *, hold: Sequence[str]
    ) -> None:
        del results, hold
        self.log.append(("settled", self.open.pop(reservation.id)))

    async def fail(self, reservation: ReservedRequest, error: BaseException) -> None:
        self.log.append(("uncertain" if may_be_charged(error) else "released", self.open.pop(reservation.id)))

    async def release(self, reservation: ReservedRequest) -> None:
        assert reservation.id not in self.open


class PaidQuick(ClaudeQuick):
    """A quick describer whose payments are free, unless others are given."""

    payments: FreePayments

    async def ask(
        self, images: Sequence[LabelledImage], payments: Payments | None = None, **about: Any
    ) -> tuple[QuickResult, ...]:
        return await super().ask(images, payments or self.payments, **about)


@pytest.fixture
async def make_quick(claude: ClaudeStandIn, tmp_path: Path) -> AsyncIterator[Callable[..., PaidQuick]]:
    """Makes quick describers that ask the stand-in; keywords are settings or its arguments."""
    made: list[PaidQuick] = []

    def make(**changes: Any) -> PaidQuick:
        kept = {name: changes.pop(name) for name in ("model", "on_wait", "max_wait_seconds") if name in changes}
        made.append(PaidQuick(load_settings(home=tmp_path, connect_seconds=2, **changes), **kept))
        made[-1].payments = FreePayments()
        return made[-1]

    yield make
    for quick in made:
        await quick.close()
