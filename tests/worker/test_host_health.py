"""Host health: when a check is due, which hosts are taken out of use, and how that affects a run."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.describe.health_check import HealthCheckResult, PairReply
from enrich.worker import host_health, result_writer
from enrich.worker.host_health import HostHealth, frames_ahead
from enrich.worker.run_options import RunOptions
from tests.standin import StandIn, Trick
from tests.standin.tricks import ONE_TEXT
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful

HERE, THERE = "http://here:11434", "http://there:11434"
GOOD = (PairReply("a ball", "a board"),) * 3
BAD = (PairReply("a man", "a man"),) * 3
HOURS = 3600.0


class Subject:
    """A `HostHealth` with a clock and a number of frames ahead that the test sets."""

    def __init__(self, ahead: int = 1_000) -> None:
        self.now = 1_000.0
        self.ahead = ahead
        self.counted = 0
        self.health = HostHealth(self._count, clock=lambda: self.now)

    async def _count(self) -> int:
        self.counted += 1
        return self.ahead

    def ask(self, host: str, pairs: tuple[PairReply, ...]) -> None:
        with self.health.checking(host):
            self.health.report(host, HealthCheckResult(host, pairs))

    def fine(self, host: str, times: int) -> None:
        for _ in range(times):
            self.health.fine(host)

    async def is_due(self, host: str = HERE) -> bool:
        return await self.health.is_due(host)


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_health, "FEWEST_FRAMES", 20)


async def test_host_is_checked_at_the_start_of_long_runs_only() -> None:
    assert await Subject(ahead=20).is_due()
    assert not await Subject(ahead=19).is_due()


async def test_frames_extracted_later_make_a_check_due() -> None:
    subject = Subject(ahead=0)
    assert not await subject.is_due()
    subject.ahead = 1_000
    assert not await subject.is_due()
    assert subject.counted == 1
    subject.health.empty(HERE)
    assert await subject.is_due()


async def test_host_is_checked_again_after_hours_of_describing() -> None:
    subject = Subject()
    subject.ask(HERE, GOOD)
    subject.fine(HERE, 300)
    subject.now += 1.9 * HOURS
    assert not await subject.is_due()
    subject.now += 0.1 * HOURS
    assert await subject.is_due()
    subject.ask(HERE, GOOD)
    subject.now += 10 * HOURS  # idle
    subject.fine(HERE, 19)
    assert not await subject.is_due()
    subject.fine(HERE, 1)
    subject.ahead = 19  # the run is nearly finished
    assert not await subject.is_due()


async def test_consecutive_identical_texts_make_a_check_due() -> None:
    subject = Subject()
    subject.ask(HERE, GOOD)
    subject.fine(HERE, 200)
    for _ in range(5):
        subject.health.same_text(HERE)
    assert not await subject.is_due()
    assert subject.health.sentences() == {}
    subject.health.same_text(HERE)
    assert await subject.is_due()
    assert "6 times in a row" in subject.health.sentences()[HERE]
    subject.health.fine(HERE)
    assert not await subject.is_due()
    assert subject.health.sentences() == {}


async def test_weak_model_is_not_checked_all_the_time() -> None:
    subject = Subject()
    subject.ask(HERE, GOOD)
    for _ in range(199):
        subject.health.same_text(HERE)
    assert not await subject.is_due()
    subject.health.same_text(HERE)
    assert await subject.is_due()


async def test_unfinished_check_is_postponed() -> None:
    subject = Subject()
    with subject.health.checking(HERE):
        pass
    assert not await subject.is_due()
    subject.fine(HERE, 19)
    assert not await subject.is_due()
    subject.fine(HERE, 1)
    assert await subject.is_due()


def test_unhealthy_host_is_taken_out_only_if_another_is_healthy() -> None:
    subject = Subject()
    subject.ask(HERE, BAD)
    subject.fine(THERE, 10)  # it describes, but has not been checked yet
    assert not subject.health.is_unhealthy(HERE)
    subject.ask(THERE, GOOD)
    assert subject.health.is_unhealthy(HERE)
    assert not subject.health.is_unhealthy(THERE)
    assert "gets no frames" in subject.health.sentences()[HERE]
    assert THERE not in subject.health.sentences()
    subject.ask(THERE, BAD)
    assert not subject.health.is_unhealthy(HERE)
    assert "gets no frames" not in subject.health.sentences()[HERE]


async def test_failed_check_is_undecided_while_another_host_is_checked() -> None:
    subject = Subject()
    subject.ask(HERE, BAD)
    assert not subject.health.is_undecided(HERE)
    with subject.health.checking(THERE):
        assert subject.health.is_undecided(HERE)
        decided = asyncio.create_task(subject.health.wait_until_decided(HERE))
        await asyncio.sleep(0)
        assert not decided.done()
        subject.health.report(THERE, HealthCheckResult(THERE, GOOD))
        assert not subject.health.is_undecided(HERE)  # it is known to be unhealthy
    await decided
    assert subject.health.is_unhealthy(HERE)


def test_unhealthy_host_is_used_while_the_healthy_one_is_gone() -> None:
    subject = Subject()
    subject.ask(HERE, BAD)
    subject.ask(THERE, GOOD)
    subject.health.gone(THERE)
    subject.now += 299
    subject.health.gone(THERE)  # still gone; the time keeps counting
    assert subject.health.is_unhealthy(HERE)
    subject.now += 1
    assert not subject.health.is_unhealthy(HERE)
    subject.health.back(THERE)
    assert subject.health.is_unhealthy(HERE)


async def test_unhealthy_host_is_rechecked_after_minutes_and_used_again() -> None:
    subject = Subject(ahead=0)
    subject.ask(HERE, BAD)
    subject.ask(THERE, GOOD)
    subject.health.gone(HERE)  # it backs off because it is unhealthy
    subject.health.back(HERE)
    subject.now += 299
    assert not await subject.is_due()
    subject.now += 1
    assert await subject.is_due()
    subject.ask(HERE, GOOD)
    assert not subject.health.is_unhealthy(HERE)
    assert subject.health.sentences() == {}


async def test_unhealthy_host_is_rechecked_when_it_reconnects() -> None:
    subject = Subject()
    subject.ask(HERE, BAD)
    assert not await subject.is_due()
    subject.health.gone(HERE)
    subject.health.back(HERE)
    assert await subject.is_due()


@pytest.mark.parametrize(
    ("options", "described", "seconds", "ahead"),
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
def test_frames_ahead_are_bounded_by_limit_and_deadline(
    options: RunOptions, described: int, seconds: float, ahead: int
) -> None:
    time_left = None if options.within_seconds is None else options.within_seconds - seconds
    assert frames_ahead(options, left=500, described=described, seconds=seconds, time_left=time_left) == ahead


# Whole runs


@pytest.fixture
def second() -> Iterator[StandIn]:
    with StandIn(parallel=8, delay=0.01) as server:
        yield server


def health_check_images(standin: StandIn) -> int:
    """How many images of the health check were described."""
    return standin.described.count(None)


def logged(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    """The messages of the records with an action."""
    return [record.getMessage() for record in caplog.records if vars(record).get("action") == action]


async def test_healthy_host_gets_six_health_check_images(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    standin.behave(delay=0.01)
    workspace.add(clip(frames=80))
    summary = await workspace.enrich()
    assert health_check_images(standin) == 6
    assert len(standin.described) == 86
    assert summary.counts.calls == workspace.value("SELECT count(*) FROM analyses") == 80
    assert logged(caplog, "health_check_failed") == []
    assert_truthful(workspace)


async def test_short_run_makes_no_health_check(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=19))
    await workspace.enrich()
    workspace.add(clip(frames=40, first=500))
    await workspace.enrich(RunOptions(limit=19))
    assert health_check_images(standin) == 0


async def test_baseline_describer_is_not_health_checked(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def check_health(_: object, host: str, **__: object) -> HealthCheckResult:
        asked.append(host)
        return HealthCheckResult(host, GOOD)

    monkeypatch.setattr(host_health, "check_health", check_health)
    workspace.add(clip(frames=60))
    await workspace.with_settings(describer="baseline").enrich()
    assert asked == []


async def test_unhealthy_host_is_taken_out_and_the_other_does_the_work(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    standin.behave(delay=0.01)
    second.behave(delay=0.1)  # frames are left for the other when both health checks have ended
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=120))
    async with Running(workspace) as running:
        await until(lambda: logged(caplog, "host_backing_off"), "the unhealthy host backs off")
        asked = len(second.chats)
        await until(lambda: workspace.described() == 120, "all are described")
        assert len(second.chats) == asked
        running.worker.stop()
        await running.end()
    assert all(
        f"{second.address}: health check failed, because every image" in text
        for text in logged(caplog, "host_backing_off")
    )
    wrong = [frame for frame in workspace.frames() if frame.local_description == ONE_TEXT]
    assert len(wrong) <= asked - health_check_images(second)  # none after it was taken out of use
    assert len(logged(caplog, "health_check_failed")) == 1
    assert workspace.attempts() == 0
    assert_settled(workspace)


async def test_host_that_failed_its_check_waits_for_the_check_of_the_other(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other host takes long over its health check; meanwhile the failed one sends no frame."""
    standin.behave(delay=0.4)
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=300))
    await workspace.worker(RunOptions(describe=False)).run()
    async with Running(workspace) as running:
        await until(lambda: running.worker._pipeline is not None, "the pipeline runs")
        _, runner = running.worker._pipeline.runners  # type: ignore[union-attr]  # it is not None
        await until(lambda: "of another host is running" in (runner.reason or ""), "it waits")
        asked = len(second.chats)
        assert not logged(caplog, "host_backing_off")
        await until(lambda: logged(caplog, "host_backing_off"), "the other host's check decides")
        assert len(second.chats) == asked
        running.worker.stop()
        await running.end()
    assert workspace.attempts() == 0
    assert_settled(workspace)


async def test_host_with_empty_replies_costs_no_attempt(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 10 in production: no frame fails three times before the check ends
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 1)
    standin.behave(delay=0.01)
    second.play(Trick.EMPTY, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=100))
    summary = await workspace.enrich()
    assert summary.is_good
    assert_truthful(workspace)


async def test_only_host_continues_with_a_warning_when_unhealthy(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    standin.behave(delay=0.01)
    standin.play(Trick.SAME_TEXT, stubborn=True)
    workspace.add(clip(frames=60))
    summary = await workspace.enrich()
    assert summary.is_good
    assert {frame.local_description for frame in workspace.frames()} == {ONE_TEXT}
    [warning] = logged(caplog, "health_check_failed")
    assert warning.startswith(f"{standin.address}: health check failed, because every image")
    assert health_check_images(standin) == 6


async def test_recovered_host_is_used_again(
    make_workspace: Callable[..., Workspace],
    standin: StandIn,
    second: StandIn,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(host_health, "UNHEALTHY_RECHECK_SECONDS", 0.2)
    recovered = f"{second.address}: health check passed (3 of 3 image pairs distinguished)"
    for host in (standin, second):
        host.behave(delay=0.05)
    second.play(Trick.SAME_TEXT, stubborn=True)
    workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
    workspace.add(clip(frames=300))
    async with Running(workspace) as running:
        await until(
            lambda: any("gets no frames" in text for text in logged(caplog, "host_backing_off")),
            "it is taken out of use",
        )
        second.calm()
        await until(lambda: recovered in logged(caplog, "host_ready"), "its health check succeeds")
        before = len(second.described) - health_check_images(second)
        workspace.add(clip(frames=60, first=500))  # on a busy machine, the first clip may be finished by now
        await until(lambda: len(second.described) - health_check_images(second) > before, "it is used again")
        running.worker.stop()
        await running.end()
    assert_settled(workspace)


async def test_unhealthy_host_takes_over_when_the_other_is_gone(
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
        await until(lambda: logged(caplog, "health_check_failed"), "the health check has failed")
        standin.stop()
        await running.end()
    assert workspace.described() == 120
    assert workspace.attempts() == 0
