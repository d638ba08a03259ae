"""The status of the worker and the library, shared by the terminal and the dashboard.

The worker reports its state in its row of the runs table; this module decides whether the row can be trusted. A worker
whose process is gone has crashed, one without a heartbeat is not responding, and one with a heartbeat but without
progress has stalled. A worker that cannot write its row, since the database is locked or its disk full, cannot say so
there: while the heartbeat is late, this module looks for the cause itself.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psutil
from sqlalchemy import Connection, Engine

from db import queries, runs
from db.counts import RecentWork, recent_work
from db.engine import reading, write_obstacle
from db.errors import DatabaseFullError, DatabaseLockedError
from db.models import DEEP, QUICK, EnrichmentStatus, ExtractionStatus, HostState, RunState
from db.runs import RunRow
from enrich.clock import Hours, parse_hours
from enrich.library.completion import Completion, completion_of, damaged_videos, is_damaged
from enrich.library.library import open_engine
from enrich.process import find_process, is_alive, is_local, is_process_alive, is_suspended
from enrich.schedule.forecast import elapsed_seconds
from enrich.settings import Settings
from enrich.wording import format_duration

LATE_SECONDS = 6.0  # without a heartbeat for this long, the database may not be writable
SILENT_SECONDS = 30.0  # without a heartbeat for this long, a live process is not responding
DECODING_SECONDS = 300.0  # without progress for this long, decoding has stalled
MARGIN_SECONDS = 30.0  # added to the worker's own timeouts before a request counts as stalled
RATE_SECONDS = 10.0  # window of the rolling rate
RATE_FRAMES = 20  # described in this window; it is longer for a slow model
TIMED_FRAMES = 5  # described by this run, before a time left is stated
CPU_SECONDS = 0.1  # sampling interval of the CPU usage
BASELINE = "baseline"  # the describer that is no model


class WorkerHealth(StrEnum):
    """Whether the worker is working, judged from outside."""

    NONE = "none"  # no worker is running
    WELL = "well"  # running normally
    STALLED = "stalled"  # heartbeat, but no progress
    SILENT = "silent"  # process alive, but no heartbeat
    CRASHED = "crashed"  # process gone without ending its run


@dataclass(frozen=True, slots=True)
class Stall:
    """A statement about work that makes no progress, and since when: `no frame finished since 10:32:01`."""

    what: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.what} since {self.since.astimezone():%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host as of the worker's last heartbeat. `reason`: why it is backing off; `warning`: a failed health check."""

    host: str
    state: str
    reason: str | None
    since: str
    slots: int
    calls: list[dict[str, Any]]
    warning: str | None


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """Resource usage of a local process; `cpu_percent` is relative to one core."""

    pid: int
    memory_bytes: int
    cpu_percent: float


@dataclass(frozen=True, slots=True)
class Status:
    """The worker and the progress of the library. Frames are kept frames."""

    health: WorkerHealth
    run: RunRow | None  # the last run, if any
    stalls: list[Stall]
    worker: ProcessStatus | None
    is_supervised: bool  # a supervisor would restart it
    hosts: list[HostStatus]
    video: str | None  # title of the video being extracted
    videos: int
    videos_decoded: int
    videos_failed: int  # that cannot be decoded
    videos_enriched: int  # without the damaged ones
    frames: int  # kept so far
    described: int
    failed: int
    completion: Completion
    left: int  # kept but not described yet
    rate: float  # frames described per second by this run, over the last `rate_seconds`
    rate_seconds: float | None  # None while no host describes
    seconds_left: float | None  # at that rate and in its working hours, for all frames to come; None without a basis
    failures: list[tuple[str, int]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)  # title and reason of videos that wait
    damaged: list[tuple[str, str]] = field(default_factory=list)  # title of videos, and how much can be read

    @property
    def videos_open(self) -> int:
        """How many videos are not fully decoded yet."""
        return self.videos - self.videos_decoded - self.videos_failed

    @property
    def is_running(self) -> bool:
        """Whether a worker process exists."""
        return self.health in (WorkerHealth.WELL, WorkerHealth.STALLED, WorkerHealth.SILENT)

    @property
    def is_stalled(self) -> bool:
        """Whether it has a heartbeat but makes no progress."""
        return self.health is WorkerHealth.STALLED

    @property
    def state(self) -> RunState | None:
        """The state of the worker, or of the last run if none is running."""
        if self.health is WorkerHealth.CRASHED:
            return RunState.CRASHED
        return self.run.state if self.run is not None else None

    @property
    def until(self) -> datetime | None:
        """The deadline of the worker, or of the last run; None if it has none."""
        deadline = self.run.options.get("until") if self.run is not None else None
        return datetime.fromisoformat(deadline) if deadline else None


def status(settings: Settings, *, now: datetime | None = None) -> Status:
    """The current status. Raises LibraryError."""
    engine = open_engine(settings)
    try:
        return read_status(engine, now=now or datetime.now(UTC))
    finally:
        engine.dispose()


def read_status(
    engine: Engine, *, now: datetime, measures: bool = True, video_ids: Collection[int] | None = None
) -> Status:
    """The current status, for callers that poll with one engine; its counts are of all videos, or of `video_ids`.

    `measures` includes the process's CPU usage and memory, which takes 0.1 s.
    """
    with reading(engine) as connection:
        run = runs.last_run(connection)
        waits_for = _waits_for(engine, run, now) if run is not None else None
        if run is not None and waits_for is not None:
            run = replace(run, state=RunState.WAITING, reason=waits_for)
        health, stalls = judge(run, now) if run is not None else (WorkerHealth.NONE, [])
        if waits_for is not None:
            health = WorkerHealth.WELL
        is_running = run is not None and health in (WorkerHealth.WELL, WorkerHealth.STALLED)
        library = queries.videos(connection)
        # The baseline describes nothing for the deep pass, whose frames remain to be described by a model.
        pass_ = QUICK if is_running and run is not None and run.options.get("describer") == BASELINE else DEEP
        chosen = None if video_ids is None else frozenset(video_ids)
        counts = _counts(connection, library, chosen, pass_)
        failures = queries.failures(connection, chosen)
        work = _recent_work(connection, run, now) if is_running and run is not None else None
        to_do = None
        if work is not None and run is not None and work.frames >= TIMED_FRAMES and health is WorkerHealth.WELL:
            limit = run.options.get("videos")
            of_run = None if limit is None else frozenset(limit)
            to_do = (counts if of_run == chosen else _counts(connection, library, of_run, pass_)).to_do
    videos = counts.videos
    activity = run.activity if run is not None else {}
    decoding = (activity.get("extracting") or {}).get("video_id")
    statuses = [video.extraction_status for video in videos]
    return Status(
        health=health,
        run=run,
        stalls=stalls,
        worker=_process(run) if measures and run is not None and health is not WorkerHealth.NONE else None,
        is_supervised=run is not None and run.supervisor is not None and is_process_alive(run.supervisor),
        hosts=_hosts(activity),
        video=next((video.title for video in library if video.id == decoding), None),
        videos=len(videos),
        videos_decoded=statuses.count(ExtractionStatus.EXTRACTED),
        videos_failed=statuses.count(ExtractionStatus.FAILED),
        videos_enriched=sum(
            video.enrichment_status is EnrichmentStatus.ENRICHED and not is_damaged(video) for video in videos
        ),
        frames=sum(video.kept for video in videos),
        described=sum(video.described for video in videos),
        failed=counts.tasks.failed,
        completion=counts.completion,
        left=counts.tasks.left,
        rate=work.rate if work is not None else 0.0,
        rate_seconds=work.seconds if work is not None else None,
        seconds_left=elapsed_seconds(
            to_do / work.rate if work is not None and to_do else None, _hours(activity), now=now
        ),
        failures=failures,
        waiting=[
            (video.title, video.error)
            for video in videos
            if video.error and video.extraction_status is not ExtractionStatus.FAILED
        ],
        damaged=damaged_videos(videos),
    )


def _recent_work(connection: Connection, run: RunRow, now: datetime) -> RecentWork | None:
    """What a run described since its hosts serve; None while none serves: it waits, is paused, or checks them."""
    if run.state is not RunState.RUNNING:
        return None
    serving = [_since(host) for host in run.activity.get("hosts", []) if host["state"] == HostState.SERVING]
    if not serving:
        return None
    since = max(run.started_at, min(serving))
    return recent_work(connection, run.id, since=since, now=now, seconds=RATE_SECONDS, frames=RATE_FRAMES)


@dataclass(frozen=True, slots=True)
class _Counts:
    """How far some videos are."""

    videos: list[queries.VideoRow]
    completion: Completion
    tasks: queries.Progress

    @property
    def to_do(self) -> int | None:
        """How many frames are still to describe, expected ones included; None: it cannot be estimated yet."""
        expected = self.completion.frames_expected
        if expected is None:
            return None
        return self.tasks.left + max(0, expected - sum(video.kept for video in self.videos))


def _counts(
    connection: Connection, library: Sequence[queries.VideoRow], video_ids: Collection[int] | None, pass_: str
) -> _Counts:
    """The counts of `video_ids`, or of the whole library."""
    videos = [video for video in library if video_ids is None or video.id in video_ids]
    completion = completion_of(connection, library, videos)
    return _Counts(videos, completion, queries.progress(connection, pass_, video_ids))


def judge(run: RunRow, now: datetime) -> tuple[WorkerHealth, list[Stall]]:
    """Whether the run's row can be trusted, and what makes no progress."""
    if run.has_ended:
        return WorkerHealth.CRASHED if run.state is RunState.CRASHED else WorkerHealth.NONE, []
    if not is_alive(run):
        return WorkerHealth.CRASHED, []
    if (now - run.heartbeat_at).total_seconds() > SILENT_SECONDS or is_suspended(run.process):
        return WorkerHealth.SILENT, []
    found = stalls(run, now)
    return (WorkerHealth.STALLED if found else WorkerHealth.WELL), found


def _waits_for(engine: Engine, run: RunRow, now: datetime) -> str | None:
    """Why a live worker cannot write its heartbeat; None if it can, or if the cause is another one."""
    late = (now - run.heartbeat_at).total_seconds()
    if late < LATE_SECONDS or run.has_ended or not is_alive(run) or is_suspended(run.process):
        return None
    match write_obstacle(engine):
        case DatabaseLockedError():
            return f"the database is locked by another process ({format_duration(late)}): close that program; retrying"
        case DatabaseFullError() as error:
            return str(error)
        case _:
            return None


def stalls(run: RunRow, now: datetime) -> list[Stall]:
    """What a running worker makes no progress with, for longer than its own timeouts allow."""
    if run.state is not RunState.RUNNING:
        return []
    call = float(run.options.get("call_seconds", 0))
    load = max(call, float(run.options.get("load_seconds", 0)))
    found = []
    busy = [host for host in run.activity.get("hosts", []) if host["calls"]]
    last_progress_at = max([run.progress_at or run.started_at, *(_since(host) for host in busy)])
    if busy and (now - last_progress_at).total_seconds() > load + 2 * call + MARGIN_SECONDS:
        found.append(Stall("no frame finished", last_progress_at))
    for host in run.activity.get("hosts", []):
        if host["state"] == HostState.PROBING and _age(host, now) > load + MARGIN_SECONDS:
            found.append(Stall(f"still loading the model at {host['host']}", _since(host)))
        for request in host["calls"]:  # sent twice at most, and the first one may load the model
            if _age(request, now) > load + call + MARGIN_SECONDS:
                frame = f"frame {request['frame_id']} (video {request['video_id']}, {request['timestamp']:.3f} s)"
                found.append(Stall(f"still describing {frame} at {host['host']}", _since(request)))
    decoding = run.activity.get("extracting")
    if decoding is not None and _age(decoding, now) > DECODING_SECONDS:
        frame = f"frame {decoding['decoded']} of video {decoding['video_id']}"
        found.append(Stall(f"still decoding {frame}", _since(decoding)))
    found += [
        Stall(f"still previewing video {skim['video_id']}", _since(skim))
        for skim in run.activity.get("skimming", [])
        if _age(skim, now) > DECODING_SECONDS
    ]
    return found


def _since(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["since"])


def _age(entry: dict[str, Any], now: datetime) -> float:
    return (now - _since(entry)).total_seconds()


def _hours(activity: dict[str, Any]) -> Hours:
    """The working hours that the worker keeps."""
    return parse_hours(activity.get("hours") or "")


def _hosts(activity: dict[str, Any]) -> list[HostStatus]:
    warnings = {entry["host"]: entry["sentence"] for entry in activity.get("canary", [])}
    return [HostStatus(**host, warning=warnings.get(host["host"])) for host in activity.get("hosts", [])]


def _process(run: RunRow) -> ProcessStatus | None:
    if not is_local(run.process):
        return None
    try:
        found = find_process(run.process)
        if found is None:
            return None
        found.cpu_percent()
        time.sleep(CPU_SECONDS)
        return ProcessStatus(found.pid, found.memory_info().rss, found.cpu_percent())
    except psutil.Error:
        return None
