"""A lane by itself: a describer that does as it is told, and a feed of plain items.

This shows a lane's decisions alone; test_worker and test_trouble show it among its real neighbours.
"""

import asyncio
from collections.abc import Callable, Coroutine
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
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import (
    CallFailedError,
    CallTimeoutError,
    DescribeError,
    HostBusyError,
    HostDownError,
    ModelError,
)
from enrich.worker import host_runner
from enrich.worker.host_health import HostHealth
from enrich.worker.host_runner import HostRunner, ResultHandlers
from enrich.worker.prefetch import PrefetchedFrame, Prefetcher
from tests.worker.workspace import until

HOST = "http://here:11434"
QUESTION = Question((Image(b"", 0.0),))


class Told:
    """A describer that answers each call with the next of its orders: an error, a text, or something to wait for."""

    name, model, fills, hosts, can_err = "told", "model", Pass.DEEP, (HOST,), True

    def __init__(self) -> None:
        self.orders: list[DescribeError | str | asyncio.Event] = []
        self.well: list[DescribeError | None] = []  # what preparing comes to, in turn; well after that
        self.prepared = 0
        self.in_flight = 0
        self.most = 0
        self.calls = 0

    async def check(self, host: str) -> None:
        pass

    async def prepare(self, host: str) -> HostReport:
        self.prepared += 1
        trouble = self.well.pop(0) if self.well else None
        if trouble is not None:
            raise trouble
        return HostReport(host, self.model, "digest", "ready")

    async def describe(self, question: Question, *, host: str) -> Call:
        del question
        self.calls += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            order = self.orders.pop(0) if self.orders else f"text {self.calls}"
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


class Items:
    """A feed of so many items, without a database; failed ones come back as the queue would give them back."""

    def __init__(self, count: int) -> None:
        self.ready: asyncio.Queue[PrefetchedFrame] = asyncio.Queue()
        for number in range(count):
            job = ClaimedTask(number, cast("Any", "describe"), "deep", 1, number, None, 0, 0, 0, "token")
            self.ready.put_nowait(PrefetchedFrame(job, cast("Any", Frame()), QUESTION))
        self.put_backs: list[int] = []

    async def take(self) -> PrefetchedFrame:
        return await self.ready.get()

    def return_item(self, item: PrefetchedFrame) -> None:
        self.put_backs.append(item.job.id)
        self.ready.put_nowait(item)


async def _no_frames_ahead() -> int:
    return 0


class Frame:
    dhash = "0"


class Scene:
    """A lane, what it is served with, and what it hands on."""

    def __init__(self, items: int, *, slots: int = 1) -> None:
        self.told = Told()
        self.items = Items(items)
        self.answered: list[int] = []
        self.failed: list[int] = []
        self.given_back: list[int] = []
        self.states: list[HostState] = []
        self.stopping = asyncio.Event()
        handlers = ResultHandlers(
            answered=self._answered, failed=self._failed, refund_attempts=self._give_back, changed=self._changed
        )
        self.lane = HostRunner(
            cast("Any", self.told),
            HOST,
            feed=cast("Prefetcher", self.items),
            guard=ReplyHistory(),
            health=HostHealth(_no_frames_ahead),
            slots=slots,
            handlers=handlers,
            stopping=self.stopping,
        )

    async def _answered(self, item: PrefetchedFrame, _: Answer) -> None:
        self.answered.append(item.job.id)

    async def _failed(self, item: PrefetchedFrame, _: DescribeError | None, __: Answer | None) -> None:
        self.failed.append(item.job.id)

    async def _give_back(self, items: list[PrefetchedFrame]) -> None:
        self.given_back += [item.job.id for item in items]

    def _changed(self) -> None:
        self.states.append(self.lane.state)

    async def run(self, happens: Callable[[], object], what: str) -> None:
        """Run the lane until something is so, and stop it."""
        running = asyncio.create_task(cast("Coroutine[Any, Any, None]", self.lane.run()))
        try:
            await until(lambda: happens() or running.done(), what, 5)
        finally:
            self.stopping.set()
            await asyncio.wait_for(running, 5)


async def test_no_more_calls_are_in_flight_than_there_are_slots() -> None:
    scene = Scene(50, slots=3)
    await scene.run(lambda: len(scene.answered) == 50, "all are answered")
    assert scene.told.most == 3
    assert sorted(scene.answered) == list(range(50))
    assert scene.states[0] is HostState.SERVING
    assert scene.lane.state is HostState.STOPPED


async def test_the_next_call_goes_out_before_the_last_reply_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_runner, "HANDOFF_DELAY_SECONDS", 60)
    scene = Scene(5, slots=1)
    running = asyncio.create_task(scene.lane.run())
    await until(lambda: scene.told.calls == 2, "a second call is made")
    assert scene.answered == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("trouble", [HostDownError("down"), HostBusyError("busy"), ModelError("missing")])
async def test_a_frame_is_put_back_uncounted_when_its_host_is_to_blame(trouble: DescribeError) -> None:
    scene = Scene(3)
    scene.told.orders = [trouble]
    await scene.run(lambda: len(scene.answered) == 3, "all are answered in the end")
    assert scene.failed == scene.given_back == []
    assert 0 in scene.items.put_backs


async def test_a_busy_host_is_not_bothered_with_the_test_card() -> None:
    scene = Scene(3)
    scene.told.orders = [HostBusyError("busy")]
    await scene.run(lambda: len(scene.answered) == 3, "all are answered in the end")
    assert scene.told.prepared == 1
    assert HostState.BACKING_OFF in scene.states


async def test_a_host_without_its_model_rests_and_says_why() -> None:
    scene = Scene(2)
    scene.told.well = [ModelError("run `ollama pull llava`")] * 3
    reasons: list[str | None] = []
    await scene.run(lambda: reasons.append(scene.lane.reason) or len(scene.answered) == 2, "all are answered")
    assert "run `ollama pull llava`" in reasons
    assert scene.told.prepared == 4
    assert scene.told.calls == 2


@pytest.mark.parametrize("trouble", [CallFailedError("500"), CallTimeoutError("late")])
async def test_failures_in_a_row_are_the_hosts_fault_if_the_test_card_fails_too(trouble: DescribeError) -> None:
    scene = Scene(6)
    scene.told.well = [None, CallFailedError("500")]
    scene.told.orders = [trouble] * host_runner.FAILURE_THRESHOLD
    await scene.run(lambda: len(scene.answered) == 3, "the others are answered")
    assert scene.failed == [0, 1, 2]
    assert scene.given_back == [0, 1, 2]


async def test_failures_in_a_row_are_the_frames_fault_if_the_test_card_passes() -> None:
    scene = Scene(6)
    scene.told.orders = [CallFailedError("500")] * 3
    await scene.run(lambda: len(scene.answered) == 3, "the others are answered")
    assert scene.told.prepared == 2
    assert scene.failed == [0, 1, 2]
    assert scene.given_back == []


async def test_an_answer_in_between_ends_the_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_runner, "HANDOFF_DELAY_SECONDS", 0)
    scene = Scene(6)
    failure = CallFailedError("500")
    scene.told.orders = [failure, failure, "fine", failure, failure, "fine"]
    await scene.run(lambda: len(scene.answered) == 2, "two are answered")
    assert scene.told.prepared == 1
    assert len(scene.failed) == 4


async def test_a_frame_that_brings_the_host_down_again_and_again_is_to_blame_itself() -> None:
    scene = Scene(1)
    scene.told.orders = [HostDownError("down")] * host_runner.FAILURE_THRESHOLD
    await scene.run(lambda: scene.failed, "it counts")
    assert scene.failed == [0]


async def test_rests_grow_up_to_the_longest_and_begin_anew_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 60.0)
    rests: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        rests.append(seconds or 0.0)
        return timeout(0)

    monkeypatch.setattr(host_runner.asyncio, "timeout", noted)
    scene = Scene(2)
    scene.told.well = [HostDownError("down")] * 9
    scene.told.orders = ["fine", HostBusyError("busy")]
    running = asyncio.create_task(scene.lane.run())
    await until(lambda: len(scene.answered) == 2, "all are answered")
    scene.stopping.set()
    await running
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, 1]


async def test_told_to_stop_it_brings_calls_in_flight_to_their_end_and_gives_the_rest_back() -> None:
    scene = Scene(6, slots=2)
    held = asyncio.Event()
    scene.told.orders = [held, held]
    running = asyncio.create_task(scene.lane.run())
    await until(lambda: scene.told.in_flight == 2, "two calls are in flight")
    scene.stopping.set()
    held.set()
    await asyncio.wait_for(running, 5)
    assert sorted(scene.answered) == [0, 1]
    assert scene.told.calls == 2
    assert scene.items.ready.qsize() == 4


async def test_cancelled_it_puts_everything_back() -> None:
    scene = Scene(6, slots=2)
    scene.told.orders = [asyncio.Event(), asyncio.Event()]
    running = asyncio.create_task(scene.lane.run())
    await until(lambda: scene.told.in_flight == 2, "two calls are in flight")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert scene.items.ready.qsize() == 6
    assert scene.answered == scene.failed == []


async def test_a_model_that_takes_one_picture_at_a_time_is_given_one_at_a_time() -> None:
    scene = Scene(10, slots=4)

    async def prepare(host: str) -> HostReport:
        return HostReport(host, "qwen3-vl", "digest", "ready", calls_at_once=1)

    scene.told.prepare = prepare  # type: ignore[method-assign]
    await scene.run(lambda: len(scene.answered) == 10, "all are answered")
    assert scene.told.most == 1
