"""The status of the worker and the library, shared by the terminal and the dashboard.

The worker reports its state in its row of the runs table; this module decides whether the row can be trusted. A worker
whose process is gone has crashed, one without a heartbeat is not responding, and one with a heartbeat but without
progress has stalled. A worker that cannot write its row, since the database is locked or its disk full, cannot say so
there: while the heartbeat is late, this module looks for the cause itself.
"""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psutil
from sqlalchemy import Engine

from db import queries, runs
from db.counts import frames_per_second
from db.engine import reading, write_obstacle
from db.errors import DatabaseFullError, DatabaseLockedError
from db.models import DEEP, EnrichmentStatus, ExtractionStatus, HostState, RunState
from db.runs import RunRow
from enrich.library.library import open_engine
from enrich.process import find_process, is_alive, is_local, is_process_alive
from enrich.settings import Settings
from enrich.wording import format_duration

LATE_SECONDS = 6.0  # without a heartbeat for this long, the database may not be writable
SILENT_SECONDS = 30.0  # without a heartbeat for this long, a live process is not responding
DECODING_SECONDS = 300.0  # without progress for this long, decoding has stalled
MARGIN_SECONDS = 30.0  # added to the worker's own timeouts before a request counts as stalled
RATE_SECONDS = 300.0  # window of the rolling rate
CPU_SECONDS = 0.1  # sampling interval of the CPU usage


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
    """The worker and the progress of the library. Frames are kept frames; `covered` counts source frames."""

    health: WorkerHealth
    run: RunRow | None  # the last run, if any
    stalls: list[Stall]
    worker: ProcessStatus | None
    is_supervised: bool  # a supervisor would restart it
    hosts: list[HostStatus]
    video: str | None  # title of the video being extracted
    videos: int
    videos_decoded: int
    videos_enriched: int
    frames: int  # kept so far
    described: int
    failed: int
    covered: int
    source_frames: int | None  # None if unknown for any video
    left: int  # kept but not described yet
    rate: float  # frames described per second, over the last `rate_seconds`
    rate_seconds: float | None  # at most RATE_SECONDS; None while the worker is not working
    seconds_left: float | None  # at that rate, for kept frames and those still expected
    failures: list[tuple[str, int]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)  # title and reason of videos that wait

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


def read_status(engine: Engine, *, now: datetime, measures: bool = True) -> Status:
    """The current status, for callers that poll with one engine.

    `measures` includes the process's CPU usage and memory, which takes 0.1 s.
    """
    with reading(engine) as connection:
        run = runs.last_run(connection)
        waits_for = _waits_for(engine, run, now) if run is not None else None
        if run is not None and waits_for is not None:
            run = replace(run, state=RunState.WAITING, reason=waits_for)
        videos = queries.videos(connection)
        frames = queries.progress(connection, DEEP)
        coming = _coming(connection, videos)
        failures = queries.failures(connection)
        health, stalls = judge(run, now) if run is not None else (WorkerHealth.NONE, [])
        if waits_for is not None:
            health = WorkerHealth.WELL
        rate, rate_seconds = 0.0, None
        if run is not None and health in (WorkerHealth.WELL, WorkerHealth.STALLED) and run.state is RunState.RUNNING:
            rate_seconds = min(RATE_SECONDS, max(1.0, (now - run.started_at).total_seconds()))
            rate = frames_per_second(connection, now=now, seconds=rate_seconds)
    left = frames.left + coming
    activity = run.activity if run is not None else {}
    decoding = (activity.get("extracting") or {}).get("video_id")
    totals = [video.frame_count for video in videos]
    return Status(
        health=health,
        run=run,
        stalls=stalls,
        worker=_process(run) if measures and run is not None and health is not WorkerHealth.NONE else None,
        is_supervised=run is not None and run.supervisor is not None and is_process_alive(run.supervisor),
        hosts=_hosts(activity),
        video=next((video.title for video in videos if video.id == decoding), None),
        videos=len(videos),
        videos_decoded=sum(video.extraction_status is ExtractionStatus.EXTRACTED for video in videos),
        videos_enriched=sum(video.enrichment_status is EnrichmentStatus.ENRICHED for video in videos),
        frames=sum(video.kept for video in videos),
        described=sum(video.described for video in videos),
        failed=frames.failed,
        covered=sum(video.covered for video in videos),
        source_frames=None if None in totals else sum(total or 0 for total in totals),
        left=frames.left,
        rate=rate,
        rate_seconds=rate_seconds,
        seconds_left=left / rate if rate and left else None,
        failures=failures,
        waiting=[
            (video.title, video.error)
            for video in videos
            if video.error and video.extraction_status is not ExtractionStatus.FAILED
        ],
    )


def judge(run: RunRow, now: datetime) -> tuple[WorkerHealth, list[Stall]]:
    """Whether the run's row can be trusted, and what makes no progress."""
    if run.has_ended:
        return WorkerHealth.CRASHED if run.state is RunState.CRASHED else WorkerHealth.NONE, []
    if not is_alive(run):
        return WorkerHealth.CRASHED, []
    if (now - run.heartbeat_at).total_seconds() > SILENT_SECONDS or is_suspended(run):
        return WorkerHealth.SILENT, []
    found = stalls(run, now)
    return (WorkerHealth.STALLED if found else WorkerHealth.WELL), found


def is_suspended(run: RunRow) -> bool:
    """Whether the run's process is on this machine and was suspended, for example with SIGSTOP."""
    try:
        found = find_process(run.process)
        return found is not None and found.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _waits_for(engine: Engine, run: RunRow, now: datetime) -> str | None:
    """Why a live worker cannot write its heartbeat; None if it can, or if the cause is another one."""
    late = (now - run.heartbeat_at).total_seconds()
    if late < LATE_SECONDS or run.has_ended or not is_alive(run) or is_suspended(run):
        return None
    match write_obstacle(engine):
        case DatabaseLockedError():
            return f"the database is locked by another process ({format_duration(late)}); retrying"
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


def _coming(connection: Any, videos: list[queries.VideoRow]) -> int:
    """How many more frames to expect from videos that are not fully extracted; 0 for sampling without history."""
    coming = 0.0
    for video in videos:
        if video.extraction_status in (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED) or not video.frame_count:
            continue
        share = queries.kept_share(connection, video.sampling)
        if share is not None:
            coming += max(0.0, video.frame_count * share - video.kept)
    return round(coming)
