"""The health of hosts: when the canary is due, who is set aside for it, and what that does to a run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.describe.health_check import HealthCheckResult, PairReply
from enrich.worker import host_health, host_runner, writer
from enrich.worker.host_health import HostHealth, frames_ahead
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn, Trick
from tests.standin.tricks import ONE_TEXT
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, until

HERE, THERE = "http://here:11434", "http://there:11434"
GOOD = (PairReply("a ball", "a board"),) * 3
BAD = (PairReply("a man", "a man"),) * 3
HOURS = 3600.0


class Watched:
    """A Health with a clock and a number of frames ahead that tests set."""

    def __init__(self, ahead: int = 1_000) -> None:
        self.now = 1_000.0
        self.ahead = ahead
        self.counted = 0
        self.health = HostHealth(self._count, clock=lambda: self.now)

    async def _count(self) -> int:
        self.counted += 1
        return self.ahead

    def ask(self, host: str, pairs: tuple[PairReply, ...]) -> None:
        self.health.begin(host)
        self.health.report(host, HealthCheckResult(host, pairs))

    def fine(self, host: str, times: int) -> None:
        for _ in range(times):
            self.health.fine(host)

    async def is_due(self, host: str = HERE) -> bool:
        return await self.health.is_due(host)


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_health, "FEWEST_FRAMES", 20)


async def test_a_host_is_asked_at_the_start_of_a_long_run_alone() -> None:
    assert await Watched(ahead=20).is_due()
    assert not await Watched(ahead=19).is_due()


async def test_frames_that_are_found_later_count_once_there_is_news() -> None:
    watched = Watched(ahead=0)
    assert not await watched.is_due()
    watched.ahead = 1_000
    assert not await watched.is_due()
    assert watched.counted == 1
    watched.health.empty(HERE)
    assert await watched.is_due()


async def test_a_host_is_asked_again_after_hours_of_describing() -> None:
    watched = Watched()
    watched.ask(HERE, GOOD)
    watched.fine(HERE, 300)
    watched.now += 1.9 * HOURS
    assert not await watched.is_due()
    watched.now += 0.1 * HOURS
    assert await watched.is_due()
    watched.ask(HERE, GOOD)
    watched.now += 10 * HOURS  # in which it had nothing to do
    watched.fine(HERE, 19)
    assert not await watched.is_due()
    watched.fine(HERE, 1)
    watched.ahead = 19  # and now the run is nearly at its end
    assert not await watched.is_due()


async def test_a_host_is_asked_early_when_many_frames_in_a_row_get_the_same_text() -> None:
    watched = Watched()
    watched.ask(HERE, GOOD)
    watched.fine(HERE, 200)
    for _ in range(5):
        watched.health.same_text(HERE)
    assert not await watched.is_due()
    assert watched.health.sentences() == {}
    watched.health.same_text(HERE)
    assert await watched.is_due()
    assert "of 6 frames in a row" in watched.health.sentences()[HERE]
    watched.health.fine(HERE)
    assert not await watched.is_due()
    assert watched.health.sentences() == {}


async def test_a_weak_model_does_not_have_the_canary_all_the_time() -> None:
    watched = Watched()
    watched.ask(HERE, GOOD)
    for _ in range(199):
        watched.health.same_text(HERE)
    assert not await watched.is_due()
    watched.health.same_text(HERE)
    assert await watched.is_due()


async def test_a_canary_that_came_to_no_end_is_put_off() -> None:
    watched = Watched()
    watched.health.begin(HERE)
    assert not await watched.is_due()
    watched.fine(HERE, 19)
    assert not await watched.is_due()
    watched.fine(HERE, 1)
    assert await watched.is_due()


def test_a_bad_host_is_set_aside_only_where_another_one_is_well() -> None:
    watched = Watched()
    watched.ask(HERE, BAD)
    watched.fine(THERE, 10)  # it describes, but nobody has asked it yet
    assert not watched.health.is_unhealthy(HERE)
    watched.ask(THERE, GOOD)
    assert watched.health.is_unhealthy(HERE)
    assert not watched.health.is_unhealthy(THERE)
    assert "set aside" in watched.health.sentences()[HERE]
    assert THERE not in watched.health.sentences()
    watched.ask(THERE, BAD)
    assert not watched.health.is_unhealthy(HERE)
    assert "set aside" not in watched.health.sentences()[HERE]


def test_a_bad_host_works_again_while_the_well_one_is_gone_for_long() -> None:
    watched = Watched()
    watched.ask(HERE, BAD)
    watched.ask(THERE, GOOD)
    watched.health.gone(THERE)
    watched.now += 299
    watched.health.gone(THERE)  # still; it does not begin anew
    assert watched.health.is_unhealthy(HERE)
    watched.now += 1
    assert not watched.health.is_unhealthy(HERE)
    watched.health.back(THERE)
    assert watched.health.is_unhealthy(HERE)


async def test_a_host_set_aside_is_asked_again_after_some_minutes_and_taken_back() -> None:
    watched = Watched(ahead=0)
    watched.ask(HERE, BAD)
    watched.ask(THERE, GOOD)
    watched.health.gone(HERE)  # it rests, because it is set aside
    watched.health.back(HERE)
    watched.now += 299
    assert not await watched.is_due()
    watched.now += 1
    assert await watched.is_due()
    watched.ask(HERE, GOOD)
    assert not watched.health.is_unhealthy(HERE)
    assert watched.health.sentences() == {}


async def test_a_bad_host_that_was_away_is_asked_as_soon_as_it_is_back() -> None:
    watched = Watched()
    watched.ask(HERE, BAD)
    assert not await watched.is_due()
    watched.health.gone(HERE)
    watched.health.back(HERE)
    assert await watched.is_due()


@pytest.mark.parametrize(
    ("order", "described", "seconds", "ahead"),
    [
        (RunOptions(), 0, 0.0, 500),
        (RunOptions(limit=60), 0, 0.0, 60),
        (RunOptions(limit=60), 45, 90.0, 15),
        (RunOptions(limit=600), 0, 0.0, 500),
        (RunOptions(within_seconds=3600), 0, 0.0, 0),
        (RunOptions(within_seconds=3600), 0, 60.0, 0),
        (RunOptions(within_seconds=3600), 2, 60.0, 118),
        (RunOptions(within_seconds=600), 1, 30.0, 19),
        (RunOptions(within_seconds=36_000), 2, 60.0, 500),
    ],
)
def test_frames_ahead_of_a_run_end_with_its_limit_and_its_time(
    order: RunOptions, described: int, seconds: float, ahead: int
) -> None:
    time_left = None if order.within_seconds is None else order.within_seconds - seconds
    assert frames_ahead(order, left=500, described=described, seconds=seconds, time_left=time_left) == ahead


# Whole runs


@pytest.fixture
def second() -> Iterator[StandIn]:
    with StandIn(parallel=8, delay=0.01) as server:
        yield server


def canaries(standin: StandIn) -> int:
    """How many pictures were described that are no frame."""
    return standin.described.count(None)


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    """The messages of an action's records."""
    return [record.getMessage() for record in caplog.records if vars(record).get("action") == action]


async def test_a_host_that_sees_gets_six_pictures_that_are_no_frames(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    standin.behave(delay=0.01)
    workspace.add(clip(frames=80))
    summary = await workspace.enrich()
    assert canaries(standin) == 6
    assert len(standin.described) == 86
    assert summary.counts.calls == workspace.value("SELECT count(*) FROM analyses") == 80
    assert said(caplog, "health_check_failed") == []
    assert_truthful(workspace)


async def test_a_short_run_pays_for_no_canary(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=19))
    await workspace.enrich()
    workspace.add(clip(frames=40, first=500))
    await workspace.enrich(RunOptions(limit=19))
    assert canaries(standin) == 0


async def test_a_describer_that_cannot_err_is_not_asked(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def canary(_: object, host: str) -> HealthCheckResult:
        asked.append(host)
        return HealthCheckResult(host, GOOD)

    monkeypatch.setattr(host_runner, "canary", canary)
    workspace.add(clip(frames=60))
    await workspace.with_settings(describer="baseline").enrich()
    assert asked == []


async def test_one_bad_host_of_two_is_set_aside_and_the_other_does_its_work(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for host in (standin, second):
        host.behave(delay=0.01)
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=120))
    async with Running(workspace) as running:
        await until(lambda: said(caplog, "host_backing_off"), "the bad host rests")
        asked = len(second.chats)
        await until(lambda: workspace.described() == 120, "all are described")
        assert len(second.chats) == asked
        running.worker.stop()
        await running.end()
    assert all(f"{second.address} says the same of every picture" in text for text in said(caplog, "host_backing_off"))
    wrong = [frame for frame in workspace.frames() if frame.local_description == ONE_TEXT]
    assert len(wrong) <= 40  # those it was asked about before both canaries had come to an end
    assert len(said(caplog, "health_check_failed")) == 1
    assert workspace.attempts() == 0
    assert_settled(workspace)


async def test_a_silent_host_of_two_costs_no_frame_an_attempt(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "RETRY_PAUSE_SECONDS", 1)  # 10 in real life: no frame fails thrice before the verdict
    standin.behave(delay=0.01)
    second.play(Trick.EMPTY, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=100))
    summary = await workspace.enrich()
    assert summary.is_good
    assert_truthful(workspace)


async def test_a_lone_bad_host_is_warned_about_and_goes_on(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    standin.behave(delay=0.01)
    standin.play(Trick.SAME_TEXT, stubborn=True)
    workspace.add(clip(frames=60))
    summary = await workspace.enrich()
    assert summary.is_good
    assert {frame.local_description for frame in workspace.frames()} == {ONE_TEXT}
    [warning] = said(caplog, "health_check_failed")
    assert warning.startswith(f"{standin.address} says the same of every picture")
    assert canaries(standin) == 6


async def test_a_host_that_has_recovered_is_taken_back(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(host_health, "UNHEALTHY_RECHECK_SECONDS", 0.2)
    recovered = f"{second.address} told 3 of 3 pairs of different pictures apart"
    for host in (standin, second):
        host.behave(delay=0.05)
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=300))
    async with Running(workspace) as running:
        await until(lambda: any("set aside" in text for text in said(caplog, "host_backing_off")), "it is set aside")
        second.calm()
        await until(lambda: recovered in said(caplog, "host_ready"), "its canary is good")
        before = len(second.described) - canaries(second)
        await until(lambda: len(second.described) - canaries(second) > before + 10, "it describes again")
        running.worker.stop()
        await running.end()
    assert_settled(workspace)


async def test_a_bad_host_takes_over_when_the_other_goes_down_for_good(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(host_health, "GONE_SECONDS", 0.3)
    standin.behave(delay=0.02)
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=120))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: said(caplog, "health_check_failed"), "the canary has failed")
        standin.stop()
        await running.end()
    assert workspace.described() == 120
    assert workspace.attempts() == 0
