"""Failing hosts: one that is down, busy, slow, broken or without its model costs time, and no attempt."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from enrich.describe.ollama.describer import OllamaDescriber
from enrich.worker import host_runner, result_writer
from enrich.worker.failure_attribution import FAILURE_THRESHOLD
from enrich.worker.host_runner import HostRunner
from enrich.worker.run_options import RunOptions
from tests.standin import ShelfModel, StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_complete_without_attempts, assert_settled, assert_truthful

Clip = Callable[..., Path]


def reason(workspace: Workspace) -> str:
    """Why the last run is in its state; empty before the first run."""
    return str(workspace.value("SELECT coalesce((SELECT reason FROM runs ORDER BY id DESC LIMIT 1), '')"))


def state(workspace: Workspace) -> str:
    return str(workspace.value("SELECT coalesce((SELECT state FROM runs ORDER BY id DESC LIMIT 1), '')"))


async def test_without_ollama_decoding_continues_and_the_run_waits(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    standin.stop()
    workspace.add(clip(12))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: state(workspace) == "waiting", "the run waits")
        await until(lambda: workspace.video().extraction_status == "extracted", "decoding continues")
        assert "ollama serve" in reason(workspace)
        standin.start()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_ollama_outages_cost_only_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(40))
    async with Running(workspace, RunOptions()) as running:
        for so_far in (5, 15, 25):
            await until(lambda so_far=so_far: workspace.described() >= so_far, "some are described")
            standin.stop()
            await until(lambda: state(workspace) == "waiting", "the run waits")
            standin.start()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)
    assert workspace.value("SELECT count(*) FROM analyses") == 40


async def test_busy_host_backs_off_and_fails_no_frame(
    workspace: Workspace, standin: StandIn, clip: Clip, caplog: pytest.LogCaptureFixture
) -> None:
    standin.play(Trick.BUSY, times=6)
    workspace.add(clip(10))
    assert (await workspace.enrich()).is_good
    assert any("backing off" in record.getMessage() for record in caplog.records)
    assert_complete_without_attempts(workspace)


@pytest.mark.parametrize(
    "trick", [Trick.ERROR, Trick.HTML, Trick.HALF, Trick.DIE, Trick.BAD_GATEWAY, Trick.BROKEN_JSON]
)
async def test_temporarily_failing_host_costs_no_attempt(
    workspace: Workspace, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.behave(delay=0.01)
    workspace.add(clip(20))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 5, "some are described")
        standin.play(trick)
        await until(lambda: state(workspace) == "waiting", "the host backs off")
        standin.calm()
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_hanging_request_times_out_counts_and_is_retried(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(call_seconds=0.3)
    standin.play(Trick.HANG, times=1, frames=[4])
    workspace.add(clip(8))
    assert (await workspace.enrich()).is_good
    assert_truthful(workspace)
    assert workspace.attempts() == 1
    assert_settled(workspace)


async def test_run_waits_for_a_missing_model(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(models=(ShelfModel("bakllava:latest"),))
    workspace.add(clip(6))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: "ollama pull llava:13b" in reason(workspace), "the run names the next step")
        standin.behave(models=(ShelfModel("llava:13b"),))
        assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_host_that_was_down_for_days_is_still_retried(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 0.001)
    workspace.add(clip(frames=3))
    standin.stop()
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert running.worker._pipeline is not None
        running.worker._pipeline.runners[0]._backoffs = 5000
        await until(lambda: running.worker._pipeline.runners[0]._backoffs > 5002, "it is retried")
        standin.start()
        await running.end()
    assert_truthful(workspace)


async def test_each_retry_follows_one_backoff(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    backoff, prepare = HostRunner._back_off, OllamaDescriber.prepare

    async def recorded_backoff(self: HostRunner, error: object) -> None:
        events.append("backoff")
        await backoff(self, error)  # type: ignore[arg-type]

    async def recorded_probe(self: OllamaDescriber, host: str) -> object:
        events.append("try")
        return await prepare(self, host)

    monkeypatch.setattr(HostRunner, "_back_off", recorded_backoff)
    monkeypatch.setattr(OllamaDescriber, "prepare", recorded_probe)
    standin.behave(delay=0.05)
    workspace.add(clip(frames=40))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() > 3, "some are described")
        standin.stop()
        await until(lambda: events.count("backoff") > 3, "it backs off")
        standin.start()
        await running.end()
    assert events[:2] == ["try", "backoff"]
    assert all(one != other for one, other in itertools.pairwise(events)), events


async def test_host_that_always_hangs_costs_no_attempt(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(call_seconds=0.2, load_seconds=0.2)
    standin.behave(delay=0.01)
    workspace.add(clip(frames=30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: len(standin.described) > 2, "some are described")
        standin.play(Trick.HANG)
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert "did not answer" in workspace.value("SELECT reason FROM runs")
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(workspace)


async def test_attempts_are_refunded_to_frames_already_claimed_again(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    """While one request hangs, the frames that failed meanwhile are claimed again and prefetched."""
    workspace = make_workspace(call_seconds=0.5, load_seconds=0.5)
    workspace.add(clip(frames=6))
    await workspace.worker(RunOptions(describe=False)).run()
    standin.play(Trick.HANG, frames=[0], times=1)
    standin.play(Trick.REFUSE, frames=range(6))
    async with Running(workspace, RunOptions()) as running:
        await until(workspace.attempts, "a frame has failed")
        standin.play(Trick.REFUSE)
        await until(lambda: workspace.states_of_runs()[-1] == "waiting", "the run waits")
        assert workspace.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert_truthful(workspace)


@pytest.mark.parametrize("frames", [1, 2])
async def test_last_frames_do_not_fail_because_of_a_failing_host(
    workspace: Workspace, standin: StandIn, clip: Clip, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """With fewer frames left than a failure streak needs, the same ones fail repeatedly: the host is still to blame."""
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0.2)
    standin.play(Trick.REFUSE, frames=range(frames))
    workspace.add(clip(frames=frames))
    async with Running(workspace, RunOptions()) as running:
        await until(workspace.attempts, "a frame has failed once")
        standin.play(Trick.REFUSE)
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        assert workspace.attempts() == 0
        standin.calm()
        summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert workspace.video().enrichment_status == "enriched"
    assert_truthful(workspace)


async def test_model_removed_during_a_run_costs_only_time(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.02)
    models = standin.conduct.models
    workspace.add(clip(frames=30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() > 3, "some are described")
        standin.behave(models=())
        await until(lambda: workspace.states_of_runs() == ["waiting"], "the run waits")
        standin.behave(models=models)
        await running.end()
    assert workspace.attempts() == 0
    assert_truthful(workspace)


async def test_hosts_share_the_work(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as second:
        standin.behave(delay=0.01)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
        workspace.add(clip(frames=60))
        await workspace.enrich()
        assert len(standin.described) > 10
        assert len(second.described) > 10
        assert sorted(standin.described + second.described) == list(range(60))
    assert_truthful(workspace)


async def test_failing_host_backs_off_while_the_other_does_the_work(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8) as broken:
        broken.play(Trick.ERROR)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{broken.address}")
        workspace.add(clip(frames=40))
        summary = await workspace.enrich()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert broken.described == []
    assert workspace.attempts() == 0
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_host_failing_during_a_run_fails_no_frame(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as failing:
        standin.behave(delay=0.01)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{failing.address}", concurrency=3)
        workspace.add(clip(frames=80))
        async with Running(workspace, RunOptions()) as running:
            await until(lambda: len(failing.described) > 3, "the second host describes")
            failing.play(Trick.ERROR)
            summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert_truthful(workspace)


ATTEMPTS = "SELECT status, attempts, count(*) FROM tasks WHERE kind = 'describe' GROUP BY 1, 2 ORDER BY 1"


def requests(standin: StandIn) -> int:
    """How many calls to the model were made, warm-ups included."""
    return sum(request.path == "/api/chat" for request in list(standin.history))


def failed_requests(standin: StandIn) -> Counter[int | None]:
    """How often each image got an error, by its number."""
    return Counter(number for request in standin.chats if request.status >= 500 for number in request.numbers)


@pytest.mark.parametrize("concurrency", [2, 4, 8])
async def test_crash_of_the_model_runner_fails_only_its_frame(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip, concurrency: int
) -> None:
    """Every request in flight fails with it. Those frames are retried alone, so that each crash has one culprit."""
    standin.behave(delay=0.03)
    standin.play(Trick.CRASH, frames=[9, 23])
    workspace = make_workspace(concurrency=concurrency)
    workspace.add(clip(30))
    summary = await workspace.enrich()
    assert summary.counts.frames_failed == 2
    assert summary.counts.frames_described == 28
    assert workspace.ask(ATTEMPTS) == [
        ("done", 0, 28),
        ("failed", 3, 2),
    ]
    failed = failed_requests(standin)
    assert {number for number, times in failed.items() if times > 1} <= {9, 23}
    assert max(failed[9], failed[23]) == 4  # with others, and three times alone
    assert failed.total() - failed[9] - failed[23] <= 2 * (concurrency - 1)
    assert_settled(workspace)


async def test_frame_that_crashes_one_host_is_not_given_to_others(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    with StandIn(parallel=8, delay=0.03) as second:
        standin.behave(delay=0.03)
        for host in (standin, second):
            host.play(Trick.CRASH, frames=[9])
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}", concurrency=4)
        workspace.add(clip(40))
        summary = await workspace.enrich()
        assert {standin.crashes, second.crashes} == {0, 4}
    assert summary.counts.frames_failed == 1
    assert workspace.ask(ATTEMPTS) == [
        ("done", 0, 39),
        ("failed", 3, 1),
    ]


async def test_frame_that_one_host_refuses_is_described_by_the_other(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    with StandIn(parallel=8, delay=0.01) as second:
        standin.behave(delay=0.01)
        second.play(Trick.MISSING, frames=range(5, 40, 7))
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
        workspace.add(clip(40))
        assert (await workspace.enrich()).is_good
    assert_complete_without_attempts(workspace)


async def test_frames_in_flight_at_a_host_that_goes_away_go_to_the_other(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    with StandIn(parallel=8, delay=0.03) as second:
        standin.behave(delay=0.03)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}", concurrency=4)
        workspace.add(clip(60))
        async with Running(workspace, RunOptions()) as running:
            await until(lambda: len(second.described) > 3, "the second host describes")
            second.stop()
            assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


async def test_suspects_of_a_host_that_stays_busy_go_to_the_other(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    with StandIn(parallel=8, delay=0.03) as second:
        standin.behave(delay=0.03)
        second.play(Trick.CRASH, times=1, frames=range(10, 60))
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}", concurrency=4)
        workspace.add(clip(60))
        async with Running(workspace, RunOptions()) as running:
            await until(lambda: second.crashes, "the second host crashes")
            second.play(Trick.BUSY)
            assert (await running.end()).is_good
    assert_complete_without_attempts(workspace)


@pytest.mark.parametrize("more", [3, 4, 5, 6, 8])
async def test_host_that_recovers_before_its_probe_costs_no_frame(
    workspace: Workspace, standin: StandIn, clip: Clip, more: int
) -> None:
    """The moment between the last failure and the probe is met by some of these numbers of requests."""
    standin.behave(delay=0.01)
    workspace.add(clip(20))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.described() >= 5, "some are described")
        before = requests(standin)
        standin.play(Trick.REFUSE)
        await until(lambda: requests(standin) >= before + more, "some requests fail")
        standin.calm()
        summary = await running.end()
    assert summary.failures == []
    assert workspace.attempts() <= FAILURE_THRESHOLD - 1
    assert_truthful(workspace)
