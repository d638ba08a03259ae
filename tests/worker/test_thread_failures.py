"""No part of a run dies silently: the run ends with the error of its thread or side task, also while it is paused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db import runs
from db.engine import writing
from enrich.library.library import Library
from enrich.worker import heartbeat, leases
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace

Clip = Callable[..., Path]
ERROR = "unforeseen"


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.02)


def fail(*_: object, **__: object) -> None:
    raise IndexError(ERROR)


def break_lease_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "sweep_abandoned", fail)


def break_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat.runs, "record_heartbeat", fail)


@pytest.mark.parametrize("break_thread", [break_lease_renewal, break_heartbeat])
async def test_run_ends_with_the_error_of_its_thread(
    workspace: Workspace,
    standin: StandIn,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    break_thread: Callable[[pytest.MonkeyPatch], None],
) -> None:
    ended: list[Running] = []

    async def run() -> None:
        async with Running(workspace) as running:
            await until(lambda: workspace.described() >= 2, "it describes")
            break_thread(monkeypatch)
            await until(lambda: workspace.states_of_runs() == ["crashed"], "the run ends by itself")
            ended.append(running)

    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    with pytest.raises(IndexError, match=ERROR):
        await run()
    assert ended
    assert workspace.ask("SELECT state, error FROM runs") == [("crashed", f"IndexError: {ERROR}")]
    assert workspace.described() < 40


@pytest.mark.parametrize("break_thread", [break_lease_renewal, break_heartbeat])
async def test_paused_run_ends_with_the_error_of_its_thread(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    break_thread: Callable[[pytest.MonkeyPatch], None],
) -> None:
    ended: list[Running] = []

    async def run() -> None:
        async with Running(workspace) as running:
            await until(lambda: workspace.states_of_runs() == ["running"], "it runs")
            with writing(workspace.library.engine) as connection:
                runs.request(connection, 1, runs.PAUSE)
            await until(lambda: workspace.states_of_runs() == ["paused"], "it is paused")
            break_thread(monkeypatch)
            await until(lambda: workspace.states_of_runs() == ["crashed"], "the run ends by itself")
            ended.append(running)

    with pytest.raises(IndexError, match=ERROR):
        await run()
    assert ended
    assert workspace.ask("SELECT state, error FROM runs") == [("crashed", f"IndexError: {ERROR}")]


async def test_run_ends_with_the_error_of_a_side_task(workspace: Workspace) -> None:
    async def side_task(_library: Library, _run_id: int) -> None:
        fail()

    describer = workspace.describer()
    options = RunOptions(until_idle=False)
    try:
        with pytest.raises(IndexError, match=ERROR):
            await Worker(workspace.library, describer, options, side_tasks=[side_task]).run()
    finally:
        await describer.close()
    assert workspace.ask("SELECT state, error FROM runs") == [("crashed", f"IndexError: {ERROR}")]
