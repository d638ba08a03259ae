"""How things stand, in lines for a terminal."""

from datetime import UTC, datetime

from db.models import HostState, RunState
from enrich.clock import said_end
from enrich.control.status import HostStatus, Status, WorkerHealth
from enrich.wording import counted, first_line, size, span

SHOWN_REASONS = 5
WIDTH = 11  # of the first column


def lines(found: Status) -> list[str]:
    """A status, the most important first."""
    shown = [_line("Worker", _worker(found))]
    shown += [_line("Stalled", str(stall)) for stall in found.stalls]
    if found.is_running:
        shown += [_line("Until", _until(found.until))] if found.until is not None else []
        shown += [_line("Process", _process(found))]
        shown += [_line("Host", _host(host)) for host in found.hosts if host.state != HostState.STOPPED]
        shown += [_line("Warning", host.warning) for host in found.hosts if host.warning]
    if found.video is not None:
        shown.append(_line("Decoding", _decoding(found)))
    shown += [_line("Described", _described(found)), _line("Speed", _speed(found))]
    shown += [_line("Waiting", f"{title}: {first_line(why)}") for title, why in found.waiting[:SHOWN_REASONS]]
    shown += [_line("Failed", f"{count:,} × {first_line(why)}") for why, count in found.failures[:SHOWN_REASONS]]
    if found.failures:
        shown.append(_line("", "`everyframe retry` puts what failed back"))
    if found.run is not None and found.run.log_path:
        shown.append(_line("Log", found.run.log_path))
    return shown


def _line(heading: str, text: str) -> str:
    return f"{heading:<{WIDTH}}{text}".rstrip()


def _worker(found: Status) -> str:
    run = found.run
    match found.health:
        case WorkerHealth.NONE:
            if run is None:
                return "none has run yet: everyframe start"
            is_up = run.state is RunState.FINISHED and found.until is not None and run.heartbeat_at >= found.until
            how = "ended with its time" if is_up else run.state
            ended = f"the last one {how} at {_clock(run.heartbeat_at)}"
            return f"none is running, {ended}{_because(run.error)}; go on with: everyframe start"
        case WorkerHealth.CRASHED:
            again = "it is about to be started again" if found.is_supervised else "go on with: everyframe start"
            error = run.error if run is not None and run.error else "its process is gone"
            return f"crashed: {first_line(error)}; {again}"
        case WorkerHealth.SILENT:
            beat = _clock(run.heartbeat_at) if run is not None else "?"
            return f"does not respond: no heartbeat since {beat}"
        case WorkerHealth.STALLED:
            return "stalled: it lives and does not get on"
        case WorkerHealth.WELL:
            return f"{run.state}{_because(run.reason)}" if run is not None else ""


def _until(end: datetime) -> str:
    now = datetime.now(UTC)
    return f"{said_end(end, now)}; then it ends by itself" if end > now else "its time is over: it ends"


def _because(reason: str | None) -> str:
    return f": {first_line(reason, 300)}" if reason else ""


def _process(found: Status) -> str:
    run = found.run
    if run is None:
        return ""
    parts = [f"{run.process.pid} on {run.process.hostname}, since {_clock(run.started_at)}"]
    if found.worker is not None:
        parts.append(f"{size(found.worker.memory_bytes)}, {found.worker.cpu_percent:.0f} % CPU")
    elif run.activity.get("memory_bytes"):
        parts.append(size(run.activity["memory_bytes"]))
    if not found.is_supervised:
        parts.append("nobody starts it again after a crash")
    if run.activity.get("kept_awake"):
        parts.append("the computer is kept awake")
    if run.activity.get("hours"):
        parts.append(f"works {run.activity['hours']}")
    return ", ".join(parts)


def _host(host: HostStatus) -> str:
    if host.state != HostState.SERVING:
        return f"{host.host} {host.state}{_because(host.reason)}"
    return f"{host.host} {counted(len(host.calls), 'frame')} in hand, {counted(host.slots, 'call')} at once"


def _decoding(found: Status) -> str:
    decoding = (found.run.activity.get("extracting") if found.run is not None else None) or {}
    of = f" of about {decoding['total']:,}" if decoding.get("total") else ""
    return f"{found.video}: frame {decoding.get('decoded', 0):,}{of}"


def _described(found: Status) -> str:
    of = "" if found.source_frames is None else f" of {found.source_frames:,}"
    kept = f"{found.described:,} of {counted(found.frames, 'frame')} kept so far"
    videos = f"{found.videos_decoded:,} of {counted(found.videos, 'video')} decoded"
    failed = f", {found.failed:,} failed" if found.failed else ""
    return f"{kept}{failed}; they cover {found.covered:,}{of} source frames; {videos}"


def _speed(found: Status) -> str:
    rate = f"{found.rate:.2f} frames/s, " if found.rate else ""
    if found.seconds_left is not None:
        return f"{rate}{span(found.seconds_left)} left"
    if found.left:
        return f"nothing was described lately; {counted(found.left, 'frame')} left"
    if found.videos_decoded < found.videos:
        return rate.rstrip(", ") or "nothing was described lately"
    return f"{rate}nothing is left to describe"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
