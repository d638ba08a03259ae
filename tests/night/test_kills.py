"""A worker is killed with SIGKILL at random moments and restarted: the outcome is that of an undisturbed run."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from enrich.control import control
from enrich.process import is_alive
from enrich.settings import Settings
from tests.clips import numbered_clip
from tests.control.background import Background
from tests.night.night import Night, Outcome, assert_complete, outcome
from tests.standin import StandIn
from tests.worker.workspace import Workspace, open_workspace

CLIPS, CLIP_FRAMES = 3, 400  # enough that fifty kills cannot reach the end
FRAMES = CLIPS * CLIP_FRAMES
ROUNDS, SUPERVISED_ROUNDS = 50, 10
SEED = 20261122
CALLS_AT_ONCE = 4
LOST_AT_MOST = 2 * CALLS_AT_ONCE  # requests in flight, and as many replies that were not saved yet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def standin(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A server that takes as many requests at once as the workers send."""
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", str(CALLS_AT_ONCE))
    standin.behave(parallel=CALLS_AT_ONCE, delay=0.04)
    return standin


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [
        numbered_clip(folder / f"{number}.mp4", frames=CLIP_FRAMES, size=(640, 360), first=1000 * number, bframes=2)
        for number in range(CLIPS)
    ]


@pytest.fixture(scope="module")
def undisturbed(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of a run without a kill."""
    with StandIn(parallel=CALLS_AT_ONCE) as standin, pytest.MonkeyPatch.context() as patch:
        workspace = open_workspace(tmp_path_factory.mktemp("undisturbed"), ollama_hosts=standin.address)
        workspace.add(*clips)
        for name, value in {
            "HOME": workspace.settings.home,
            "OLLAMA_HOSTS": standin.address,
            "STORED_EDGE": 320,
        }.items():
            patch.setenv(f"EVERYFRAME_{name}", str(value))
        Night(workspace).finish()
    result = outcome(workspace)
    workspace.library.engine.dispose()
    assert len(result.frames) == FRAMES
    return result


@dataclass(frozen=True)
class KillPoint:
    """When a worker is killed: some time after it has kept or described some more frames."""

    of: str  # "start", "kept" or "described"
    further: int
    further_seconds: float


def kill_points() -> list[KillPoint]:
    """Fifty kills in every stage: ten during the start, the others while frames are kept or described."""
    rng = random.Random(SEED)
    found = [KillPoint("start", 0, rng.uniform(0.05, 1.5)) for _ in range(10)]
    found += [KillPoint("kept", rng.randrange(1, 25), rng.uniform(0, 0.05)) for _ in range(15)]
    found += [KillPoint("described", rng.randrange(1, 16), rng.uniform(0, 0.05)) for _ in range(25)]
    assert len(found) == ROUNDS
    return found


def lost(standin: StandIn) -> int:
    """How many requests were repeated."""
    calls = Counter(number for number in standin.described if number is not None)
    assert set(calls) == {1000 * clip + frame for clip in range(CLIPS) for frame in range(CLIP_FRAMES)}
    return calls.total() - FRAMES


def test_fifty_random_kills_do_not_change_the_outcome(
    night: Night, clips: list[Path], standin: StandIn, undisturbed: Outcome
) -> None:
    workspace = night.workspace
    workspace.add(*clips)
    progress: dict[str, Callable[[], int]] = {"start": lambda: 0, "kept": night.kept, "described": workspace.described}
    stages = []
    for point in kill_points():
        count = progress[point.of]
        goal = min(count() + point.further, FRAMES)
        worker = night.begin()
        night.until(lambda count=count, goal=goal: count() >= goal, f"{point}", worker)
        time.sleep(point.further_seconds)
        assert worker.poll() is None, night.log()
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
        stages.append((night.kept(), workspace.described()))
    assert not night.is_done()

    night.finish()

    assert_complete(workspace)
    assert outcome(workspace) == undisturbed
    assert lost(standin) <= ROUNDS * LOST_AT_MOST
    kept, described = zip(*stages, strict=True)  # the test proves nothing unless the kills hit every stage
    assert len({count for count in kept if 0 < count < FRAMES}) >= 8, stages
    assert len(set(described)) >= 20, stages


def test_kills_of_worker_and_supervisor_do_not_change_the_outcome(
    settings: Settings,
    workspace: Workspace,
    clips: list[Path],
    standin: StandIn,
    undisturbed: Outcome,
    background: Background,
) -> None:
    """In five rounds only the worker is killed and its supervisor restarts it; in five rounds both are killed.

    Between two kills, more frames are described than were claimed, so no task sees three crashes.
    """
    rng = random.Random(SEED)
    workspace.add(*clips)
    for number in range(SUPERVISED_ROUNDS):
        control.start(settings)
        run_count = len(workspace.states_of_runs())
        background.until_described(workspace.described() + rng.randrange(25, 45))
        time.sleep(rng.uniform(0, 0.1))
        supervisor, worker = background.supervisor(), background.worker()
        if number % 2:
            supervisor.kill()
            worker.kill()
            background.until(lambda: not is_alive(background.run()), "it has ended")
        else:
            worker.kill()
            background.until(
                lambda run_count=run_count: workspace.states_of_runs()[run_count:] == ["running"],
                "the supervisor restarts it",
            )
    assert workspace.described() < FRAMES
    control.start(settings)
    background.until(lambda: workspace.described() == FRAMES or workspace.tasks().get("failed"), "all is done")
    assert workspace.ask("SELECT * FROM tasks WHERE status = 'failed'") == []
    stopped = control.stop(settings)

    assert stopped is not None
    assert workspace.states_of_runs()[:-1] == ["crashed"] * (len(workspace.states_of_runs()) - 1)
    assert_complete(workspace)
    assert outcome(workspace) == undisturbed
    assert lost(standin) <= SUPERVISED_ROUNDS * LOST_AT_MOST
