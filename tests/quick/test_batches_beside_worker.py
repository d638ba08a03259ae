"""Batches beside a worker: it collects them, and their problems do not disturb it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND, Terminal, ask, running
from tests.quick.conftest import FRAMES
from tests.quick.test_killed import ANSWERED, BATCH, BATCHES, assert_paid_once, has_batch_id
from tests.standin import StandIn
from tests.standin_claude import ClaudeStandIn
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]
DESCRIBED = "SELECT count(*) FROM frames WHERE local_description IS NOT NULL"


@pytest.fixture
def pending_batch(home: Path, claude: ClaudeStandIn) -> Path:
    """A library with a pending batch whose sender was killed."""
    with running(*BATCH) as process:
        wait_until(lambda: has_batch_id(home), "the batch is sent", process)
        process.kill()
    return home


def test_worker_collects_a_batch_sent_by_a_command(pending_batch: Path, claude: ClaudeStandIn) -> None:
    claude.finish()
    with running(COMMAND, "worker", env=os.environ | {"EVERYFRAME_DESCRIBER": "baseline"}) as process:
        wait_until(lambda: ask(pending_batch, ANSWERED) == [(FRAMES,)], "the worker has collected them", process)
        wait_until(lambda: ask(pending_batch, BATCHES)[0][0] == "done", "it is done", process)
        process.terminate()
        process.wait(30)
    assert_paid_once(pending_batch, claude)


@pytest.mark.parametrize("wrong", ["no key", "no network", "fault"])
def test_uncollectable_batch_does_not_disturb_the_deep_pass(
    pending_batch: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch, wrong: str
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
        done = cli("enrich")
    assert done.code == 0, done
    assert ask(pending_batch, DESCRIBED) == [(FRAMES,)]
    assert ask(pending_batch, ANSWERED) == [(0,)]
    assert ask(pending_batch, BATCHES)[0][0] == "todo"
    if wrong == "no key":
        done = cli("quick", "--collect")
        assert done.code == 1
        assert "no Claude API key found" in done.err
        assert done.err.endswith(". The batch is kept\n")
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    if wrong == "no network":
        claude.start()
    claude.calm()
    assert cli("quick", "--collect").code == 0
    assert_paid_once(pending_batch, claude)
