"""The status of workers that work, stall, hang, or are gone."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from db import runs
from db.engine import writing
from db.models import RunState
from db.runs import ProcessIdentity, RunRow
from enrich.control import control
from enrich.control.status import (
    DECODING_SECONDS,
    MARGIN_SECONDS,
    SILENT_SECONDS,
    WorkerHealth,
    judge,
    read_status,
    status,
)
from enrich.describe.describer import Call, HostReport, Pass, Question
from enrich.process import identity_of, this_process
from enrich.settings import Settings
from enrich.worker import heartbeat
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker
from tests.control.background import Background
from tests.standin import StandIn
from tests.waiting import until, wait_until
from tests.worker.workspace import Workspace

NOW = datetime.now(UTC)
HOST = "http://here:11434"
CALL_SECONDS, LOAD_SECONDS = 10, 60


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def host(state: str = "serving", *, since: float = 1000, calls: tuple[float, ...] = ()) -> dict[str, Any]:
    """A host entry in the activity. `calls`: seconds that each request has been in flight."""
    requests = [
        {"frame_id": number, "video_id": 7, "timestamp": 1.5, "since": ago(age).isoformat()}
        for number, age in enumerate(calls)
    ]
    return {
        "host": HOST,
        "state": state,
        "reason": None,
        "since": ago(since).isoformat(),
        "slots": 2,
        "calls": requests,
    }


def run(activity: dict[str, Any] | None = None, **changes: Any) -> RunRow:
    """A run of the current process that has just made progress."""
    values: dict[str, Any] = {
        "id": 1,
        "process": this_process(),
        "supervisor": None,
        "started_at": ago(5000),
        "heartbeat_at": ago(1),
        "progress_at": ago(1),
        "state": RunState.RUNNING,
        "reason": None,
        "requested": None,
        "options": {"call_seconds": CALL_SECONDS, "load_seconds": LOAD_SECONDS},
        "counts": {},
        "activity": activity or {},
        "error": None,
        "log_path": None,
    }
    return RunRow(**(values | changes))


def test_worker_with_heartbeat_and_progress_is_well() -> None:
    assert judge(run({"hosts": [host(calls=(1, 5))], "extracting": None}), NOW) == (WorkerHealth.WELL, [])


def test_overdue_request_is_a_stall_with_frame_and_host() -> None:
    limit = LOAD_SECONDS + CALL_SECONDS + MARGIN_SECONDS
    assert judge(run({"hosts": [host(calls=(limit - 1,))]}), NOW)[0] is WorkerHealth.WELL

    health, [stall] = judge(run({"hosts": [host(calls=(1, limit + 1))]}), NOW)

    assert health is WorkerHealth.STALLED
    assert stall.what == f"still describing frame 1 (video 7, 1.500 s) at {HOST}"
    assert stall.since == ago(limit + 1)


def test_requests_without_finished_frames_are_a_stall() -> None:
    late = LOAD_SECONDS + 2 * CALL_SECONDS + MARGIN_SECONDS + 1
    busy = {"hosts": [host(calls=(1, 2))]}
    assert judge(run(busy, progress_at=ago(late - 2)), NOW)[0] is WorkerHealth.WELL
    health, [stall] = judge(run(busy, progress_at=ago(late)), NOW)
    assert (health, stall.what) == (WorkerHealth.STALLED, "no frame finished")
    assert judge(run({"hosts": [host(since=5, calls=(1,))]}, progress_at=ago(late)), NOW)[0] is WorkerHealth.WELL, (
        "its host has only just come back"
    )


def test_endless_model_load_is_a_stall() -> None:
    health, [stall] = judge(run({"hosts": [host("probing", since=LOAD_SECONDS + MARGIN_SECONDS + 1)]}), NOW)
    assert (health, stall.what) == (WorkerHealth.STALLED, f"still loading the model at {HOST}")


def test_decoding_without_progress_is_a_stall() -> None:
    decoding = {"video_id": 7, "decoded": 412, "total": 900, "since": ago(DECODING_SECONDS + 1).isoformat()}
    health, [stall] = judge(run({"extracting": decoding}), NOW)
    assert (health, stall.what) == (WorkerHealth.STALLED, "still decoding frame 412 of video 7")


def test_skim_without_progress_is_a_stall() -> None:
    skim = {"video_id": 7, "since": ago(DECODING_SECONDS + 1).isoformat()}
    health, [stall] = judge(run({"skimming": [skim]}), NOW)
    assert health is WorkerHealth.STALLED
    assert str(stall) == f"still previewing video 7 since {stall.since.astimezone():%H:%M:%S}"


def test_idle_worker_is_not_stalled() -> None:
    assert judge(run({"hosts": [host()]}, progress_at=ago(50_000)), NOW) == (WorkerHealth.WELL, [])


@pytest.mark.parametrize("state", [RunState.WAITING, RunState.PAUSED, RunState.STOPPING])
def test_waiting_or_paused_worker_is_not_stalled(state: RunState) -> None:
    assert judge(run({"hosts": [host(calls=(9999,))]}, state=state), NOW)[0] is WorkerHealth.WELL


def test_missing_heartbeat_is_silent() -> None:
    assert judge(run(heartbeat_at=ago(SILENT_SECONDS + 1)), NOW)[0] is WorkerHealth.SILENT


def test_missing_process_has_crashed() -> None:
    gone = ProcessIdentity(this_process().hostname, this_process().pid, this_process().created_at - 3600)
    assert judge(run(process=gone), NOW)[0] is WorkerHealth.CRASHED, "the id belongs to another process now"
    assert judge(run(state=RunState.STOPPED, process=gone), NOW)[0] is WorkerHealth.NONE


def test_remote_worker_is_judged_by_its_heartbeat() -> None:
    remote, now = ProcessIdentity("another machine", 1, 1.0), datetime.now(UTC)
    for seconds, health in (
        (1, WorkerHealth.WELL),
        (SILENT_SECONDS + 1, WorkerHealth.SILENT),
        (3600, WorkerHealth.CRASHED),
    ):
        remote_run = run(process=remote, heartbeat_at=now - timedelta(seconds=seconds), progress_at=now)
        assert judge(remote_run, now)[0] is health


def test_empty_library_has_no_worker(settings: Settings) -> None:
    found = status(settings)
    assert (found.health, found.run, found.videos, found.seconds_left) == (WorkerHealth.NONE, None, 0, None)
    assert not found.is_running


def test_status_of_a_running_worker(
    settings: Settings, workspace: Workspace, standin: StandIn, clip: Path, background: Background
) -> None:
    standin.behave(delay=0.5)
    workspace.add(clip)
    control.start(settings)
    background.until(lambda: any(shown.calls for shown in status(settings).hosts), "requests are shown")
    background.until_described(4)
    background.until(lambda: status(settings).seconds_left is not None, "the time left is known")

    found = status(settings)

    assert (found.health, found.state) == (WorkerHealth.WELL, RunState.RUNNING)
    assert found.worker is not None
    assert found.worker.pid == background.run().process.pid
    assert found.worker.memory_bytes > 10_000_000
    assert found.is_supervised
    [shown] = found.hosts
    assert (shown.host, shown.state, shown.slots) == (standin.address, "serving", 2)
    assert {call["video_id"] for call in shown.calls} <= {1}
    assert (found.videos, found.frames, found.completion.source_frames) == (1, 30, 30)
    assert found.completion.covered == found.described
    assert 0 < found.rate < 10
    assert found.seconds_left is not None
    assert found.seconds_left == pytest.approx(found.left / found.rate)
    assert background.run().log_path == str(settings.home / "logs" / "worker.log")
    assert Path(str(background.run().log_path)).stat().st_size > 0
    background.worker().kill()
    background.supervisor().kill()
    background.until(lambda: status(settings).health is WorkerHealth.CRASHED, "the crash is noticed")


class HangingDescriber:
    """A describer that never replies and has no timeout of its own."""

    name, model, target_pass, hosts, is_model = "hanging", "model", Pass.DEEP, (HOST,), True

    async def check(self, host: str) -> None:
        pass

    async def prepare(self, host: str) -> HostReport:
        return HostReport(host, self.model, "digest", "ready")

    async def describe(self, question: Question, *, host: str) -> Call:
        await asyncio.Event().wait()
        raise AssertionError(question, host)

    def read(self, question: Question, call: Call) -> Any:
        raise AssertionError(question, call)

    async def unload(self, host: str) -> None:
        pass

    async def close(self) -> None:
        pass


async def test_worker_with_hanging_requests_is_stalled(
    settings: Settings, workspace: Workspace, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr("enrich.worker.worker.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("enrich.control.status.MARGIN_SECONDS", 0.5)
    workspace.add(clip)
    impatient = workspace.with_settings(call_seconds=0.2, load_seconds=0.2)
    worker = Worker(impatient.library, HangingDescriber(), RunOptions(until_idle=False))  # type: ignore[arg-type]  # a minimal fake
    running = asyncio.create_task(worker.run())
    engine = workspace.library.engine

    def stalled() -> bool:
        return read_status(engine, now=datetime.now(UTC)).is_stalled

    assert not await asyncio.to_thread(stalled)
    await asyncio.to_thread(wait_until, stalled, "it is stalled")
    found = await asyncio.to_thread(read_status, engine, now=datetime.now(UTC))
    assert f"at {HOST}" in found.stalls[-1].what
    assert "describing frame" in found.stalls[-1].what
    await until(lambda: workspace.video().extraction_status == "extracted", "extraction continued meanwhile")
    worker.stop()
    await running


def test_reused_process_id_is_not_the_worker(
    settings: Settings, workspace: Workspace, idle_process: psutil.Process
) -> None:
    old = replace(identity_of(idle_process), created_at=identity_of(idle_process).created_at - 3600)
    with writing(workspace.library.engine) as connection:
        run_id, _ = runs.begin(connection, old, options={}, is_alive=lambda _: False, now=NOW)
        runs.set_state(connection, run_id, RunState.RUNNING)
    found = status(settings)
    assert (found.health, found.state, found.worker, found.is_supervised) == (
        WorkerHealth.CRASHED,
        RunState.CRASHED,
        None,
        False,
    )
