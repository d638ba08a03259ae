"""What the worker is doing, and how far the library is: the truth for the terminal and the dashboard.

The worker's own row says it; whether to believe the row is judged here. A process that is gone, or a heart that has
stopped, is no running worker; and a heart that beats over work that gets on no more is a stalled one.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psutil
from sqlalchemy import Engine

from db import queries, runs
from db.counts import frames_per_second
from db.engine import reading
from db.models import DEEP, EnrichmentStatus, ExtractionStatus, HostState, RunState
from db.runs import RunRow
from enrich.library.library import open_engine
from enrich.process import find, is_alive, is_here, lives
from enrich.settings import Settings

SILENT_SECONDS = 30.0  # without a heartbeat, a process that is there does not respond
DECODING_SECONDS = 300.0  # decoding that has not got on for so long has stalled
MARGIN_SECONDS = 30.0  # beyond a limit of the worker's own, which it would have kept
RATE_SECONDS = 300.0  # the rate is that of the last minutes
CPU_SECONDS = 0.1  # over which the processor is looked at


class WorkerHealth(StrEnum):
    """Whether a worker can be believed to be at work."""

    NONE = "none"  # no worker is running
    WELL = "well"  # it does what its state says
    STALLED = "stalled"  # its heart beats, and it gets on no more
    SILENT = "silent"  # its process is there, and its heart does not beat
    CRASHED = "crashed"  # its process is gone without a word


@dataclass(frozen=True, slots=True)
class Stall:
    """What a worker does not get on with, and since when."""

    what: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.what} since {self.since.astimezone():%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host as the worker's last heartbeat has it; `reason`: why it rests; `warning`: what its canary says."""

    host: str
    state: str
    reason: str | None
    since: str
    slots: int
    calls: list[dict[str, Any]]
    warning: str | None


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process of this machine; `cpu_percent` of one processor."""

    pid: int
    memory_bytes: int
    cpu_percent: float


@dataclass(frozen=True, slots=True)
class Status:
    """The worker, and where the library stands. Frames are kept frames, *covered* counts source frames."""

    health: WorkerHealth
    run: RunRow | None  # the last one, if there was any
    stalls: list[Stall]
    worker: ProcessStatus | None
    is_supervised: bool  # somebody would start it again
    hosts: list[HostStatus]
    video: str | None  # the title of the one that is being decoded
    videos: int
    videos_decoded: int
    videos_enriched: int
    frames: int  # kept so far
    described: int
    failed: int
    covered: int
    source_frames: int | None  # None: not known of every video
    left: int  # to describe of what is kept so far
    rate: float  # frames described a second, over the last minutes
    seconds_left: float | None  # at that rate, for what is kept so far and what is expected of the rest
    failures: list[tuple[str, int]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)  # videos that wait, and why

    @property
    def is_running(self) -> bool:
        """Whether a worker is there."""
        return self.health in (WorkerHealth.WELL, WorkerHealth.STALLED, WorkerHealth.SILENT)

    @property
    def is_stalled(self) -> bool:
        """Whether it beats and gets on no more."""
        return self.health is WorkerHealth.STALLED

    @property
    def state(self) -> RunState | None:
        """The state the worker is in; that of the last one if none is running."""
        if self.health is WorkerHealth.CRASHED:
            return RunState.CRASHED
        return self.run.state if self.run is not None else None

    @property
    def until(self) -> datetime | None:
        """When the worker takes up no new work and ends by itself, or the last one did; None: it stays."""
        told = self.run.options.get("until") if self.run is not None else None
        return datetime.fromisoformat(told) if told else None


def status(settings: Settings, *, now: datetime | None = None) -> Status:
    """How things stand. Raises LibraryError."""
    engine = open_engine(settings)
    try:
        return read_status(engine, now=now or datetime.now(UTC))
    finally:
        engine.dispose()


def read_status(engine: Engine, *, now: datetime, measures: bool = True) -> Status:
    """How things stand, for who looks again and again over one engine.

    `measures`: its process too, which takes a tenth of a second.
    """
    with reading(engine) as connection:
        run = runs.last_run(connection)
        videos = queries.videos(connection)
        frames = queries.progress(connection, DEEP)
        coming = _coming(connection, videos)
        failures = queries.failures(connection)
        health, stalls = judge(run, now) if run is not None else (WorkerHealth.NONE, [])
        rate = 0.0
        if run is not None and health in (WorkerHealth.WELL, WorkerHealth.STALLED) and run.state is RunState.RUNNING:
            since = min(RATE_SECONDS, max(1.0, (now - run.started_at).total_seconds()))
            rate = frames_per_second(connection, now=now, seconds=since)
    left = frames.left + coming
    activity = run.activity if run is not None else {}
    decoding = (activity.get("extracting") or {}).get("video_id")
    totals = [video.frame_count for video in videos]
    return Status(
        health=health,
        run=run,
        stalls=stalls,
        worker=_process(run) if measures and run is not None and health is not WorkerHealth.NONE else None,
        is_supervised=run is not None and run.supervisor is not None and lives(run.supervisor),
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
        seconds_left=left / rate if rate and left else None,
        failures=failures,
        waiting=[
            (video.title, video.error)
            for video in videos
            if video.error and video.extraction_status is not ExtractionStatus.FAILED
        ],
    )


def judge(run: RunRow, now: datetime) -> tuple[WorkerHealth, list[Stall]]:
    """Whether a run's row is to be believed, and what its worker does not get on with."""
    if run.has_ended:
        return WorkerHealth.CRASHED if run.state is RunState.CRASHED else WorkerHealth.NONE, []
    if not is_alive(run):
        return WorkerHealth.CRASHED, []
    if (now - run.heartbeat_at).total_seconds() > SILENT_SECONDS:
        return WorkerHealth.SILENT, []
    found = stalls(run, now)
    return (WorkerHealth.STALLED if found else WorkerHealth.WELL), found


def stalls(run: RunRow, now: datetime) -> list[Stall]:
    """What a worker whose heart beats does not get on with: longer than its own limits would allow."""
    if run.state is not RunState.RUNNING:
        return []
    call = float(run.options.get("call_seconds", 0))
    load = max(call, float(run.options.get("load_seconds", 0)))
    found = []
    busy = [host for host in run.activity.get("hosts", []) if host["calls"]]
    last_progress_at = max([run.progress_at or run.started_at, *(_since(host) for host in busy)])
    if busy and (now - last_progress_at).total_seconds() > load + 2 * call + MARGIN_SECONDS:
        found.append(Stall("finishing any frame", last_progress_at))
    for host in run.activity.get("hosts", []):
        if host["state"] == HostState.PROBING and _age(host, now) > load + MARGIN_SECONDS:
            found.append(Stall(f"loading the model at {host['host']}", _since(host)))
        for in_hand in host["calls"]:  # asked twice at the most; the first time the model may have to be loaded
            if _age(in_hand, now) > load + call + MARGIN_SECONDS:
                frame = f"frame {in_hand['frame_id']} (video {in_hand['video_id']}, {in_hand['timestamp']:.3f} s)"
                found.append(Stall(f"describing {frame} at {host['host']}", _since(in_hand)))
    decoding = run.activity.get("extracting")
    if decoding is not None and _age(decoding, now) > DECODING_SECONDS:
        found.append(Stall(f"decoding video {decoding['video_id']} at frame {decoding['decoded']}", _since(decoding)))
    found += [
        Stall(f"looking at video {skim['video_id']}", _since(skim))
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
    if not is_here(run.process):
        return None
    try:
        found = find(run.process)
        if found is None:
            return None
        found.cpu_percent()
        time.sleep(CPU_SECONDS)
        return ProcessStatus(found.pid, found.memory_info().rss, found.cpu_percent())
    except psutil.Error:
        return None


def _coming(connection: Any, videos: list[queries.VideoRow]) -> int:
    """How many frames more will be kept of videos that are not decoded to their end; of unknown kinds none."""
    coming = 0.0
    for video in videos:
        if video.extraction_status in (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED) or not video.frame_count:
            continue
        share = queries.kept_share(connection, video.sampling)
        if share is not None:
            coming += max(0.0, video.frame_count * share - video.kept)
    return round(coming)
