"""Frames suspected of bringing a host down: which host retries them."""

import asyncio
from typing import Any, cast

import pytest

from db.queue import ClaimedTask
from enrich.worker import failure_attribution
from enrich.worker.failure_attribution import HostSuspects
from enrich.worker.prefetch import PrefetchedFrame

HERE, THERE = "http://here:11434", "http://there:11434"


def frame(number: int) -> PrefetchedFrame:
    task = ClaimedTask(number, cast("Any", "describe"), "deep", 1, number, None, 0, 0, 0, "token")
    return PrefetchedFrame(task, cast("Any", None), cast("Any", None))


def test_suspect_stays_with_its_host() -> None:
    suspects = HostSuspects()
    suspects.hold(frame(1), HERE)
    assert suspects.take(THERE) is None
    assert suspects.take(HERE) == frame(1)
    assert suspects.is_suspect(frame(1))
    suspects.hold(frame(1))  # claimed again, by any host
    assert suspects.take(THERE) is None
    assert suspects.take(HERE) == frame(1)
    suspects.clear(frame(1))
    assert not suspects.is_suspect(frame(1))


def test_other_hosts_get_the_suspects_of_a_host_that_stays_down() -> None:
    suspects = HostSuspects()
    suspects.hold(frame(1), HERE)
    suspects.hold(frame(2), HERE)
    suspects.release(HERE)
    assert suspects.count(THERE) == 2
    assert suspects.take(HERE) is None


def test_frame_that_brought_a_host_down_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    suspects = HostSuspects()
    suspects.hold(frame(1), HERE)
    suspects.take(HERE)
    suspects.brought_down(frame(1))
    suspects.hold(frame(1))
    suspects.release(HERE)
    assert suspects.take(THERE) is None
    monkeypatch.setattr(failure_attribution, "RECOVERY_SECONDS", 0)
    suspects.release(HERE)
    assert suspects.take(THERE) == frame(1)


async def test_frame_that_a_serving_host_refused_is_left_to_others() -> None:
    suspects = HostSuspects()
    wait = asyncio.create_task(suspects.wait(HERE))
    await asyncio.sleep(0)
    suspects.refuse(frame(1), HERE)
    await asyncio.sleep(0)
    assert suspects.take(THERE) == frame(1)
    suspects.clear(frame(1))
    suspects.refuse(frame(2), HERE)
    await asyncio.sleep(0)
    assert not wait.done()
    assert suspects.take(HERE) == frame(2), "its probe passed before another host was free"
    wait.cancel()
    await asyncio.gather(wait, return_exceptions=True)


def test_frames_that_failed_in_a_row_are_suspects_when_claimed_again() -> None:
    suspects = HostSuspects()
    suspects.mark([frame(1)], HERE)
    assert suspects.take(HERE) is None
    assert suspects.is_suspect(frame(1))
    suspects.hold(frame(1))
    assert suspects.take(HERE) == frame(1)


async def test_one_host_is_woken_for_released_suspects() -> None:
    suspects = HostSuspects()
    waits = [asyncio.create_task(suspects.wait(host)) for host in (HERE, THERE)]
    await asyncio.sleep(0)
    suspects.hold(frame(1), "http://gone:11434")
    suspects.release("http://gone:11434")
    done, pending = await asyncio.wait(waits, timeout=0.1)
    assert (len(done), len(pending)) == (1, 1)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def test_held_frames_are_given_back_when_the_pipeline_ends() -> None:
    suspects = HostSuspects()
    suspects.hold(frame(1), HERE)
    suspects.mark([frame(2)], HERE)
    assert suspects.take_all() == [frame(1)]
    assert not suspects.is_suspect(frame(1))
