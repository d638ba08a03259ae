"""Batches beside a worker: it fetches what anybody sent, and nothing that is wrong with them disturbs it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND, Terminal, ask, running, until
from tests.quick.conftest import PICTURES
from tests.quick.test_killed import ANSWERED, BATCH, BATCHES, assert_paid_once, is_on_its_way
from tests.standin import StandIn
from tests.standin_claude import ClaudeStandIn

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]
DESCRIBED = "SELECT count(*) FROM frames WHERE local_description IS NOT NULL"


@pytest.fixture
def under_way(home: Path, claude: ClaudeStandIn) -> Path:
    """The library while a batch is under way whose sender was killed."""
    with running(*BATCH) as process:
        until(lambda: is_on_its_way(home), "it is on its way", process)
        process.kill()
    return home


def test_a_worker_goes_on_with_what_somebody_sent(under_way: Path, claude: ClaudeStandIn) -> None:
    claude.finish()
    with running(COMMAND, "worker", env=os.environ | {"EVERYFRAME_DESCRIBER": "baseline"}) as process:
        until(lambda: ask(under_way, ANSWERED) == [(PICTURES,)], "the worker has fetched them", process)
        until(lambda: ask(under_way, BATCHES)[0][0] == "done", "it is done", process)
        process.terminate()
        process.wait(30)
    assert_paid_once(under_way, claude)


@pytest.mark.parametrize("wrong", ["no key", "no network", "fault"])
def test_a_batch_that_cannot_be_fetched_leaves_the_deep_pass_alone(
    under_way: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    key = os.environ["ANTHROPIC_API_KEY"]
    claude.finish()
    if wrong == "no key":
        monkeypatch.delenv("ANTHROPIC_API_KEY")
    elif wrong == "no network":
        claude.stop()
    else:
        claude.play("fault", path="/v1/messages/batches/…", retry_after=None)
    with StandIn(parallel=2) as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.address)
        said = cli("enrich")
    assert said.code == 0, said
    assert ask(under_way, DESCRIBED) == [(PICTURES,)]
    assert ask(under_way, ANSWERED) == [(0,)]
    assert ask(under_way, BATCHES)[0][0] == "todo"
    if wrong == "no key":
        said = cli("quick", "--collect")
        assert said.code == 1
        assert "there is no key for Claude" in said.err
        assert said.err.endswith(". The batch is kept\n")
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    if wrong == "no network":
        claude.start()
    claude.calm()
    assert cli("quick", "--collect").code == 0
    assert_paid_once(under_way, claude)
