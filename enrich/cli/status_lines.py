"""The output of `everyframe status`: a `Status` as lines of text."""

from datetime import UTC, datetime

from db.models import HostState, RunState
from enrich.clock import format_deadline
from enrich.control.status import HostStatus, Status, WorkerHealth
from enrich.control.status_wording import (
    DAMAGED_STEP,
    checking_text,
    covered_text,
    frames_text,
    is_finished,
    time_left_text,
)
from enrich.wording import format_bytes, format_count, format_duration, one_line

SHOWN_REASONS = 5
LABEL_WIDTH = 11  # characters
UNRESPONSIVE_STEP = "End it with: everyframe stop"


def lines(found: Status) -> list[str]:
    """A status as lines, most important first."""
    shown = [_line("Worker", _worker(found))]
    shown += [_line("Stalled", str(stall)) for stall in found.stalls]
    if found.is_running:
        shown += [_line("Time limit", _limit(found.until))] if found.until is not None else []
        shown += [_line("Process", _process(found))]
        shown += [_line("Host", _host(host)) for host in found.hosts if host.state != HostState.STOPPED]
        shown += [_line("Warning", host.warning) for host in found.hosts if host.warning]
    if found.video is not None:
        shown.append(_line("Extracting", _extracting(found)))
    shown += [_line("Described", _described(found)), _line("Speed", _speed(found))]
    shown += [_line("Waiting", f"{title}: {one_line(why)}") for title, why in found.waiting[:SHOWN_REASONS]]
    shown += [_line("Damaged", f"{title}: {how}") for title, how in found.damaged[:SHOWN_REASONS]]
    if found.damaged:
        shown.append(_line("", DAMAGED_STEP))
    shown += [_line("Failed", f"{count:,} × {one_line(why)}") for why, count in found.failures[:SHOWN_REASONS]]
    if found.failures:
        shown.append(_line("", "Retry with: everyframe retry"))
    if found.run is not None and found.run.log_path:
        shown.append(_line("Log", found.run.log_path))
    return shown


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{text}".rstrip()


def _worker(found: Status) -> str:
    run = found.run
    match found.health:
        case WorkerHealth.NONE:
            if run is None:
                return "never started. Start it with: everyframe start"
            is_time_up = run.state is RunState.FINISHED and found.until is not None and run.heartbeat_at >= found.until
            ending = "reached its time limit" if is_time_up else run.state
            last = f"last run {ending} at {_local(run.heartbeat_at)}"
            return f"not running, {last}{_because(run.error)}. Start it with: everyframe start"
        case WorkerHealth.CRASHED:
            remedy = "Restarting shortly" if found.is_supervised else "Restart it with: everyframe start"
            error = run.error if run is not None and run.error else "the process is gone"
            return f"crashed: {one_line(error)}. {remedy}"
        case WorkerHealth.SILENT:
            last_heartbeat = _local(run.heartbeat_at) if run is not None else "?"
            return f"not responding: last heartbeat at {last_heartbeat}. {UNRESPONSIVE_STEP}"
        case WorkerHealth.STALLED:
            return f"stalled: running, but making no progress. {UNRESPONSIVE_STEP}"
        case WorkerHealth.WELL:
            return _state(found)


def _state(found: Status) -> str:
    checking = checking_text(found) if found.state is RunState.RUNNING else None
    if checking is not None:
        return f"{found.state}, {checking[:1].lower()}{checking[1:].rstrip('.')}"
    return f"{found.state}{_because(found.run.reason if found.run is not None else None)}"


def _limit(end: datetime) -> str:
    now = datetime.now(UTC)
    return f"stops at {format_deadline(end, now)}" if end > now else "time limit reached, stopping"


def _because(reason: str | None) -> str:
    return f": {one_line(reason, 300)}" if reason else ""


def _process(found: Status) -> str:
    run = found.run
    if run is None:
        return ""
    parts = [f"{run.process.pid} on {run.process.hostname}, started {_local(run.started_at)}"]
    if found.worker is not None:
        parts.append(f"{format_bytes(found.worker.memory_bytes)}, {found.worker.cpu_percent:.0f} % CPU")
    elif run.activity.get("memory_bytes"):
        parts.append(format_bytes(run.activity["memory_bytes"]))
    if not found.is_supervised:
        parts.append("does not restart after a crash")
    if run.activity.get("kept_awake"):
        parts.append("keeping the computer awake")
    if run.activity.get("hours"):
        parts.append(f"working hours {run.activity['hours']}")
    return ", ".join(parts)


def _host(host: HostStatus) -> str:
    if host.state == HostState.PROBING:
        return f"{host.host} loading and checking the model"
    if host.state != HostState.SERVING:
        return f"{host.host} {host.state}{_because(host.reason)}"
    # A frame is in progress until its reply is saved: there may be more of them than requests.
    frames, requests = format_count(len(host.calls), "frame"), format_count(host.slots, "request")
    return f"{host.host} {frames} in progress, at most {requests} at a time"


def _extracting(found: Status) -> str:
    decoding = (found.run.activity.get("extracting") if found.run is not None else None) or {}
    of = f" of about {decoding['total']:,}" if decoding.get("total") else ""
    return f"{found.video}: frame {decoding.get('decoded', 0):,}{of}"


def _described(found: Status) -> str:
    done = found.completion
    percent = "" if done.percent is None or not found.videos else f" ({done.percent} %)"
    failed = f", {found.failed:,} failed" if found.failed else ""
    damaged = f", {len(found.damaged):,} damaged" if found.damaged else ""
    videos = f"{found.videos_decoded:,} of {format_count(found.videos, 'video')} extracted{damaged}"
    return f"{_frames(found)}{failed}; representing {covered_text(found)}{percent}; {videos}"


def _frames(found: Status) -> str:
    if not found.completion.is_counted and found.completion.frames_expected is None:
        return f"{format_count(found.described, 'frame')}, estimating the total"
    return f"{frames_text(found)} frames"


def _speed(found: Status) -> str:
    left = time_left_text(found, datetime.now().astimezone())
    if found.rate:
        speed = f"{found.rate:.2f} frames/s"
    elif not found.is_running or is_finished(found):
        speed = "idle"
    elif found.rate_seconds is None:
        speed = "not measured"
    else:
        speed = f"nothing described in the last {format_duration(found.rate_seconds)}"
    return f"{speed}; {left}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
