"""The host runner alone, with a scripted describer and a queue of plain items.

This tests the decisions of a host runner. `test_worker` and `test_failures` test it with its real collaborators.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db.models import HostState
from db.queue import ClaimedTask
from enrich.describe.describer import (
    Answer,
    Call,
    Description,
    HostReport,
    Image,
    Pass,
    Problem,
    Question,
    ReplyWarning,
)
from enrich.errors import (
    AccountError,
    CallFailedError,
    CallTimeoutError,
    ConnectionLostError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
    RunnerCrashedError,
)
from enrich.worker import circuit_breaker, failure_attribution, host_runner
from enrich.worker.activity import Activity
from enrich.worker.failure_attribution import HostSuspects
from enrich.worker.host_health import HostHealth
from enrich.worker.host_runner import DescribeState, HostRunner
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher
from enrich.worker.result_writer import ResultWriter
from tests.waiting import until

HOST = "http://here:11434"
QUESTION = Question((Image(b"", 0.0),))


class ScriptedDescriber:
    """A describer that replies with the next entry of its script: an error, a text, or an event to await."""

    name, model, target_pass, hosts, is_model = "told", "model", Pass.DEEP, (HOST,), True

    def __init__(self) -> None:
        self.script: list[DescribeError | str | asyncio.Event] = []
        self.probes: list[DescribeError | None] = []  # outcomes of the probes, in turn; then all succeed
        self.probe_count = 0
        self.in_flight = 0
        self.most = 0
        self.in_flight_at_calls: list[int] = []
        self.calls = 0

    async def check(self, host: str) -> None:
        pass

    async def prepare(self, host: str) -> HostReport:
        self.probe_count += 1
        trouble = self.probes.pop(0) if self.probes else None
        if trouble is not None:
            raise trouble
        return HostReport(host, self.model, "digest", "ready")

    async def describe(self, question: Question, *, host: str) -> Call:
        del question
        self.calls += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self.in_flight_at_calls.append(self.in_flight)
        try:
            order = self.script.pop(0) if self.script else f"text {self.calls}"
            if isinstance(order, asyncio.Event):
                await order.wait()
                order = f"text {self.calls}"
            await asyncio.sleep(0)
            if isinstance(order, DescribeError):
                raise order
            return Call(self.name, self.model, "digest", host, "1", 0.1, raw_reply=order)
        finally:
            self.in_flight -= 1

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        del question
        return (Description(call.raw_reply), ()) if call.raw_reply else (None, (ReplyWarning(Problem.EMPTY),))

    async def close(self) -> None:
        pass


class ItemQueue:
    """Prefetched frames without a database; returned ones are available again, as in the real queue."""

    def __init__(self, count: int) -> None:
        self.ready: asyncio.Queue[PrefetchedFrame] = asyncio.Queue()
        for number in range(count):
            job = ClaimedTask(number, cast("Any", "describe"), "deep", 1, number, None, 0, 0, 0, "token")
            self.ready.put_nowait(PrefetchedFrame(job, cast("Any", Frame()), QUESTION))
        self.returned: list[int] = []

    async def take(self) -> PrefetchedFrame:
        return await self.ready.get()

    def return_item(self, item: PrefetchedFrame) -> None:
        self.returned.append(item.task.id)
        self.ready.put_nowait(item)

    def settled(self, item: PrefetchedFrame, described: Description | None) -> None:
        pass


async def _no_frames_ahead() -> int:
    return 0


async def _saved() -> bool:
    return True


class Frame:
    id, timestamp, dhash = 1, 0.0, "0"


class Harness:
    """A host runner with its inputs, and a record of its outputs."""

    def __init__(self, items: int, *, slots: int = 1, claims_again: bool = False) -> None:
        """`claims_again`: failed frames are due again."""
        self._claims_again = claims_again
        self.describer = ScriptedDescriber()
        self.items = ItemQueue(items)
        self.answered: list[int] = []
        self.failed: list[int] = []
        self.refunded: list[int] = []
        self.states: list[HostState] = []
        self.stopping = asyncio.Event()
        library = SimpleNamespace(settings=SimpleNamespace(concurrency=slots))
        self.runner = HostRunner(
            cast("Any", SimpleNamespace(library=library, activity=Activity(), wake=self._changed)),
            DescribeState(
                cast("Any", self.describer),
                cast("ResultWriter", self),
                HostHealth(_no_frames_ahead),
                gap_filling=None,
            ),
            HOST,
            prefetcher=cast("Prefetcher", self.items),
            suspects=HostSuspects(),
            stopping=self.stopping,
        )

    def save_answer(self, item: PrefetchedFrame, _: Answer) -> "asyncio.Task[bool]":
        self.answered.append(item.task.id)
        return asyncio.create_task(_saved())

    def save_failure(self, item: PrefetchedFrame, _: DescribeError | None, __: Answer | None) -> "asyncio.Task[bool]":
        self.failed.append(item.task.id)
        if self._claims_again:
            self.items.ready.put_nowait(item)
        return asyncio.create_task(_saved())

    async def refund_attempts(self, items: list[PrefetchedFrame]) -> None:
        self.refunded += [item.task.id for item in items]

    def _changed(self) -> None:
        self.states.append(self.runner.state)

    async def run(self, happens: Callable[[], object], what: str) -> None:
        """Run the host runner until a condition holds, then stop it."""
        running = asyncio.create_task(cast("Coroutine[Any, Any, None]", self.runner.run()))
        try:
            await until(lambda: happens() or running.done(), what)
        finally:
            self.stopping.set()
            await asyncio.wait_for(running, 5)


async def test_requests_in_flight_never_exceed_the_slots() -> None:
    harness = Harness(50, slots=3)
    await harness.run(lambda: len(harness.answered) == 50, "all are answered")
    assert harness.describer.most == 3
    assert sorted(harness.answered) == list(range(50))
    assert harness.states[0] is HostState.SERVING
    assert harness.runner.state is HostState.STOPPED


async def test_next_request_is_sent_before_the_last_reply_is_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "HANDOFF_DELAY_SECONDS", 60)
    harness = Harness(5, slots=1)
    running = asyncio.create_task(harness.runner.run())
    await until(lambda: harness.describer.calls == 2, "a second call is made")
    assert harness.answered == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("trouble", [HostDownError("down"), HostBusyError("busy"), AccountError("no credit")])
async def test_host_error_returns_the_frame_without_counting_an_attempt(trouble: DescribeError) -> None:
    harness = Harness(3)
    harness.describer.script = [trouble]
    await harness.run(lambda: len(harness.answered) == 3, "all are answered")
    assert harness.failed == harness.refunded == []
    assert 0 in harness.items.returned
    assert HostState.BACKING_OFF in harness.states, "even if the next probe passes: it must not ask without a pause"


async def test_model_error_of_a_frame_is_followed_by_a_lone_retry() -> None:
    """The user may have installed the model again before the probe."""
    harness = Harness(6, slots=2)
    harness.describer.script = [ModelError("missing"), "text 1"]
    await harness.run(lambda: len(harness.answered) == 6, "all are answered")
    assert harness.failed == harness.refunded == []
    assert harness.describer.in_flight_at_calls[:3] == [1, 2, 1]
    assert HostState.BACKING_OFF in harness.states


async def test_frame_that_alone_gets_a_model_error_from_a_working_host_is_blamed() -> None:
    harness = Harness(6, slots=2)
    harness.describer.script = [ModelError("missing"), "text 1", ModelError("missing")]
    await harness.run(lambda: len(harness.answered) == 5, "the others are answered")
    assert harness.failed == [0]


async def test_host_is_blamed_for_a_lone_model_error_if_its_probe_fails() -> None:
    harness = Harness(6)
    harness.describer.script = [ModelError("missing")] * 3
    harness.describer.probes = [None, None, ModelError("missing"), None, ModelError("missing")]
    await harness.run(lambda: len(harness.answered) == 6, "all are answered")
    assert harness.failed == []
    assert harness.describer.probes == []


async def test_busy_host_backs_off_without_a_new_probe() -> None:
    harness = Harness(3)
    harness.describer.script = [HostBusyError("busy")]
    await harness.run(lambda: len(harness.answered) == 3, "all are answered")
    assert harness.describer.probe_count == 1
    assert HostState.BACKING_OFF in harness.states


async def test_host_without_its_model_backs_off_with_a_reason() -> None:
    harness = Harness(2)
    harness.describer.probes = [ModelError("run `ollama pull llava`")] * 3
    reasons: list[str | None] = []
    await harness.run(lambda: reasons.append(harness.runner.reason) or len(harness.answered) == 2, "all are answered")
    assert "run `ollama pull llava`" in reasons
    assert harness.describer.probe_count == 4
    assert harness.describer.calls == 2


@pytest.mark.parametrize("trouble", [CallFailedError("500"), CallTimeoutError("late")])
async def test_failure_streak_is_blamed_on_the_host_if_the_probe_fails(trouble: DescribeError) -> None:
    harness = Harness(6)
    harness.describer.probes = [None, CallFailedError("500")]
    harness.describer.script = [trouble] * failure_attribution.FAILURE_THRESHOLD
    await harness.run(lambda: len(harness.answered) == 3, "the others are answered")
    assert harness.failed == [0, 1, 2]
    assert harness.refunded == [0, 1, 2]


async def test_failure_streak_is_decided_by_lone_retries_if_the_probe_passes() -> None:
    """The host may have recovered between the third failure and the probe."""
    harness = Harness(6, claims_again=True)
    harness.describer.script = [CallFailedError("500")] * 3
    await harness.run(lambda: len(harness.answered) == 6, "all are answered")
    assert harness.failed == harness.refunded == [0, 1, 2]


async def test_frame_that_fails_alone_on_a_working_host_is_blamed() -> None:
    harness = Harness(6, claims_again=True)
    harness.describer.script = [CallFailedError("500")] * 3 + ["text 4", "text 5", "text 6", CallFailedError("500")]
    await harness.run(lambda: len(harness.answered) == 6, "all are answered")
    assert harness.failed[:3] == harness.refunded == [0, 1, 2]
    assert len(harness.failed) == 4


async def test_success_resets_the_failure_streak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "HANDOFF_DELAY_SECONDS", 0)
    harness = Harness(6)
    failure = CallFailedError("500")
    harness.describer.script = [failure, failure, "fine", failure, failure, "fine"]
    await harness.run(lambda: len(harness.answered) == 2, "two are answered")
    assert harness.describer.probe_count == 1
    assert len(harness.failed) == 4


CRASHES = [RunnerCrashedError("500"), ConnectionLostError("down")]


@pytest.mark.parametrize("crash", CRASHES)
async def test_frames_in_flight_of_a_crash_are_retried_alone(crash: DescribeError) -> None:
    harness = Harness(20, slots=4)
    harness.describer.script = [crash] * 4
    await harness.run(lambda: len(harness.answered) == 20, "all are answered")
    assert harness.failed == []
    assert harness.answered[:4] == [0, 1, 2, 3]
    assert harness.describer.in_flight_at_calls[4:8] == [1, 1, 1, 1]
    assert max(harness.describer.in_flight_at_calls[8:]) == 4


@pytest.mark.parametrize(("crash", "times"), [(CRASHES[0], 1), (CRASHES[1], 2)])
async def test_frame_that_takes_the_host_down_alone_is_blamed(crash: DescribeError, times: int) -> None:
    """Where the server itself went down, somebody may have restarted it: only from the second time on."""
    harness = Harness(5, slots=2)
    harness.describer.script = [crash, crash, *[crash] * times]  # both frames in flight, then one of them alone
    await harness.run(lambda: len(harness.answered) == 4, "the others are answered")
    assert harness.failed == [0]
    assert 0 not in harness.answered


async def test_outage_during_a_lone_retry_blames_no_frame() -> None:
    harness = Harness(3)
    harness.describer.script = [ConnectionLostError("down")] * 2
    harness.describer.probes = [None, None, HostDownError("down"), HostDownError("down")]
    await harness.run(lambda: len(harness.answered) == 3, "all are answered")
    assert harness.failed == []


async def test_frame_that_takes_a_slowly_restarting_host_down_is_blamed() -> None:
    harness = Harness(3)
    harness.describer.script = [ConnectionLostError("down")] * 3
    harness.describer.probes = [None, None, HostDownError("down"), None, HostDownError("down")]
    await harness.run(lambda: len(harness.answered) == 2, "the others are answered")
    assert harness.failed == [0]


async def test_backoff_grows_to_the_maximum_and_resets_after_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 60.0)
    pauses: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        pauses.append(seconds or 0.0)
        return timeout(0)

    monkeypatch.setattr(host_runner.asyncio, "timeout", noted)
    harness = Harness(2)
    harness.describer.probes = [HostDownError("down")] * 9
    harness.describer.script = ["fine", HostBusyError("busy")]
    running = asyncio.create_task(harness.runner.run())
    await until(lambda: len(harness.answered) == 2, "all are answered")
    harness.stopping.set()
    await running
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 1]


async def test_stop_finishes_requests_in_flight_and_keeps_the_rest_queued() -> None:
    harness = Harness(6, slots=2)
    held = asyncio.Event()
    harness.describer.script = [held, held]
    running = asyncio.create_task(harness.runner.run())
    await until(lambda: harness.describer.in_flight == 2, "two calls are in flight")
    harness.stopping.set()
    held.set()
    await asyncio.wait_for(running, 5)
    assert sorted(harness.answered) == [0, 1]
    assert harness.describer.calls == 2
    assert harness.items.ready.qsize() == 4


async def test_cancellation_returns_every_frame() -> None:
    harness = Harness(6, slots=2)
    harness.describer.script = [asyncio.Event(), asyncio.Event()]
    running = asyncio.create_task(harness.runner.run())
    await until(lambda: harness.describer.in_flight == 2, "two calls are in flight")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert harness.items.ready.qsize() == 6
    assert harness.answered == harness.failed == []


async def test_model_limit_of_one_request_at_a_time_is_respected() -> None:
    harness = Harness(10, slots=4)

    async def prepare(host: str) -> HostReport:
        return HostReport(host, "qwen3-vl", "digest", "ready", calls_at_once=1)

    harness.describer.prepare = prepare  # type: ignore[method-assign]
    await harness.run(lambda: len(harness.answered) == 10, "all are answered")
    assert harness.describer.most == 1
