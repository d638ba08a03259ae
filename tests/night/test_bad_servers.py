"""A long run with a server that fails in every known way, one after another, and recovers each time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from enrich.control import control
from enrich.settings import Settings
from enrich.worker import host_runner, result_writer
from enrich.worker.failure_attribution import FAILURE_THRESHOLD
from enrich.worker.run_options import RunOptions
from tests.clips import numbered_clip
from tests.control.background import Background
from tests.night.night import Night, assert_complete
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_truthful

FRAMES = 400
TROUBLES = [Trick.HANG, Trick.BUSY, Trick.MISSING, Trick.ERROR, Trick.HALF, Trick.HTML, Trick.DIE, Trick.BROKEN_JSON]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests time out after one second."""
    monkeypatch.setenv("EVERYFRAME_CALL_SECONDS", "1")
    monkeypatch.setenv("EVERYFRAME_LOAD_SECONDS", "2")


def test_run_survives_every_kind_of_server_trouble(
    settings: Settings,
    workspace: Workspace,
    standin: StandIn,
    tmp_path: Path,
    background: Background,
    short_limits: None,
) -> None:
    """Each failure lasts until the run waits because of it; half of them also affect endpoints that need no model."""
    standin.behave(delay=0.1)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=FRAMES))
    control.start(settings)
    reasons = []
    for number, trouble in enumerate([None, *TROUBLES]):
        background.until_described(workspace.described() + 8)
        if trouble is None:
            standin.stop()
        else:
            standin.play(trouble, stubborn=True, everywhere=bool(number % 2))
        background.until_state("waiting")
        reasons.append(background.run().reason)
        standin.calm()
        if trouble is None:
            standin.start()
        background.until_state("running")
    standin.behave(delay=0)
    background.until_described(FRAMES)
    stopped = control.stop(settings)

    assert stopped is not None
    assert None not in reasons
    assert len(set(reasons)) >= 6, reasons
    assert workspace.states_of_runs() == ["stopped"]
    assert_complete(workspace)
    assert_truthful(workspace)
    assert workspace.value("SELECT max(crashes) FROM tasks") == 0


@pytest.fixture
def bad_host() -> Iterator[StandIn]:
    with StandIn(parallel=2) as server:
        yield server


@pytest.mark.parametrize("trouble", [Trick.ERROR, Trick.HANG])
def test_failing_host_beside_a_healthy_one_costs_no_attempt(
    trouble: Trick,
    night: Night,
    standin: StandIn,
    bad_host: StandIn,
    tmp_path: Path,
    short_limits: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host passes its probe and then fails: its frames go to the other host."""
    monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", f"{bad_host.address},{standin.address}")
    standin.behave(delay=0.05)
    bad_host.play(trouble, frames=range(60))
    night.workspace.add(numbered_clip(tmp_path / "film.mp4", frames=60))
    worker = night.begin()
    night.until(lambda: bad_host.chats, "the bad host gets a request", worker)
    bad_host.play(trouble)
    night.finish(worker)
    assert_complete(night.workspace)
    assert_truthful(night.workspace)
    assert night.workspace.ask("SELECT DISTINCT host FROM analyses WHERE is_kept") == [(standin.address,)]


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries in this process follow at once."""
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0)
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.1)


@pytest.mark.parametrize("more", range(1, 16, 2))
@pytest.mark.parametrize("trouble", [Trick.SPACES, Trick.EMPTY])
async def test_temporarily_empty_replies_fail_no_frame(
    trouble: Trick, more: int, workspace: Workspace, standin: StandIn, tmp_path: Path, quick_retries: None
) -> None:
    """The host recovers after this many further calls: also between the last failure and its probe."""
    standin.behave(delay=0.02)
    workspace.add(numbered_clip(tmp_path / "film.mp4", frames=60))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 8, "some are described")
        before = calls(standin)
        standin.play(trouble, stubborn=True)
        await until(lambda: calls(standin) >= before + more, "some replies are empty")
        standin.calm()
        summary = await running.end()
    assert summary.failures == []
    assert_complete(workspace, most_attempts=FAILURE_THRESHOLD - 1)
    assert_truthful(workspace)


def calls(standin: StandIn) -> int:
    """How many calls to the model were made, warm-ups included."""
    return sum(request.path == "/api/chat" for request in list(standin.history))


async def test_host_with_empty_replies_beside_a_healthy_one_fails_no_frame(
    workspace: Workspace, standin: StandIn, bad_host: StandIn, tmp_path: Path, quick_retries: None
) -> None:
    standin.behave(delay=0.02)
    bad_host.play(Trick.SPACES, stubborn=True)
    both = workspace.with_settings(ollama_hosts=(bad_host.address, standin.address))
    both.add(numbered_clip(tmp_path / "film.mp4", frames=40))
    summary = await both.enrich()
    assert summary.failures == []
    assert_complete(both, most_attempts=FAILURE_THRESHOLD - 1)
