"""Killed with -9 at random moments and started again, the work comes to the same end as if nothing had happened."""

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
from tests.night.night import Night, Outcome, assert_in_order, outcome
from tests.standin import StandIn
from tests.worker.workspace import Workspace, open_workspace

CLIPS, CLIP_FRAMES = 3, 250
FRAMES = CLIPS * CLIP_FRAMES
ROUNDS, SUPERVISED_ROUNDS = 50, 10
SEED = 20261122
CALLS_AT_ONCE = 4
LOST_AT_MOST = 2 * CALLS_AT_ONCE  # calls in flight, and as many answers on their way into the database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def standin(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """As fast as workers ask, which is at so many calls at once."""
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
    """What a run comes to that nobody disturbs."""
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
class Moment:
    """When a life ends: so long after it has kept or described so many frames."""

    of: str  # "start", "kept" or "described"
    further: int
    further_seconds: float


def moments() -> list[Moment]:
    """Fifty moments, in every stage of the work: ten while it starts, the others while it keeps or describes frames."""
    chance = random.Random(SEED)
    found = [Moment("start", 0, chance.uniform(0.05, 1.5)) for _ in range(10)]
    found += [Moment("kept", chance.randrange(1, 25), chance.uniform(0, 0.05)) for _ in range(15)]
    found += [Moment("described", chance.randrange(1, 16), chance.uniform(0, 0.05)) for _ in range(25)]
    assert len(found) == ROUNDS
    return found


def lost(standin: StandIn) -> int:
    """How many calls were made again."""
    calls = Counter(number for number in standin.described if number is not None)
    assert set(calls) == {1000 * clip + frame for clip in range(CLIPS) for frame in range(CLIP_FRAMES)}
    return calls.total() - FRAMES


def test_killed_at_fifty_random_moments_the_work_ends_as_if_undisturbed(
    night: Night, clips: list[Path], standin: StandIn, undisturbed: Outcome
) -> None:
    workspace = night.workspace
    workspace.add(*clips)
    progress: dict[str, Callable[[], int]] = {"start": lambda: 0, "kept": night.kept, "described": workspace.described}
    stages = []
    for moment in moments():
        count = progress[moment.of]
        goal = min(count() + moment.further, FRAMES)
        worker = night.begin()
        night.until(lambda count=count, goal=goal: count() >= goal, f"{moment}", worker)
        time.sleep(moment.further_seconds)
        assert worker.poll() is None, night.log()
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
        stages.append((night.kept(), workspace.described()))
    assert not night.is_done()

    night.finish()

    assert_in_order(workspace)
    assert outcome(workspace) == undisturbed
    assert lost(standin) <= ROUNDS * LOST_AT_MOST
    kept, described = zip(*stages, strict=True)  # it is worth something only if the kills came in every stage
    assert len({count for count in kept if 0 < count < FRAMES}) >= 8, stages
    assert len(set(described)) >= 20, stages


def test_killed_under_its_supervisor_or_together_with_it_the_work_ends_as_if_undisturbed(
    settings: Settings,
    workspace: Workspace,
    clips: list[Path],
    standin: StandIn,
    undisturbed: Outcome,
    background: Background,
) -> None:
    """In five rounds the worker alone is killed and started again for us, in five both are.

    Between two kills at least as many frames are described as were in hand: none is in hand at three crashes.
    """
    chance = random.Random(SEED)
    workspace.add(*clips)
    for number in range(SUPERVISED_ROUNDS):
        control.start(settings)
        lives = len(workspace.states_of_runs())
        background.until_described(workspace.described() + chance.randrange(25, 45))
        time.sleep(chance.uniform(0, 0.1))
        supervisor, worker = background.supervisor(), background.worker()
        if number % 2:
            supervisor.kill()
            worker.kill()
            background.until(lambda: not is_alive(background.run()), "it is dead")
        else:
            worker.kill()
            background.until(
                lambda lives=lives: workspace.states_of_runs()[lives:] == ["running"], "it is started again by itself"
            )
    assert workspace.described() < FRAMES
    control.start(settings)
    background.until(lambda: workspace.described() == FRAMES or workspace.tasks().get("failed"), "all is done")
    assert workspace.ask("SELECT * FROM tasks WHERE status = 'failed'") == []
    stopped = control.stop(settings)

    assert stopped is not None
    assert workspace.states_of_runs()[:-1] == ["crashed"] * (len(workspace.states_of_runs()) - 1)
    assert_in_order(workspace)
    assert outcome(workspace) == undisturbed
    assert lost(standin) <= SUPERVISED_ROUNDS * LOST_AT_MOST
