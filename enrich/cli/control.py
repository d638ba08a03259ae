"""Commands that control the background worker: start, pause, resume, stop, status."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.estimate import By, Within, end_of
from enrich.cli.options import AsJson, DescriberName, ModelName, settings_for
from enrich.cli.output import console, print_json, say
from enrich.clock import format_deadline
from enrich.errors import ControlError
from enrich.settings import load_settings
from enrich.wording import format_count, one_line, printable

if TYPE_CHECKING:
    from db.runs import RunRow
    from enrich.control.status import Status
    from enrich.settings import Settings

REFRESH_SECONDS = 1.0  # of `status --watch` in a terminal
BLOCK_SECONDS = 15.0  # of `status --watch` when stdout is not a terminal
POLL_SECONDS = 0.2
HOST_CHECK_SECONDS = 3.0  # how long `start` waits for the first host to respond

AtLogin = Annotated[
    bool | None,
    typer.Option("--at-login/--not-at-login", help="Start the worker automatically at login, or stop doing so."),
]


def start(
    within: Within = None,
    by: By = None,
    describer: DescriberName = None,
    model: ModelName = None,
    at_login: AtLogin = None,
) -> None:
    """Start the worker in the background.

    It extracts and describes everything in the library, keeps running after you close the terminal, restarts after a
    crash, and picks up videos you add later. With --within or --by it stops at that time.

    Example: everyframe start --by 07:00
    """
    from enrich.control.control import start as start_worker

    settings = settings_for(describer, model)
    now = datetime.now(UTC)
    end = end_of(within, by, now)
    if at_login is not None:
        if end is not None:
            raise typer.BadParameter(
                "cannot be combined with --within or --by: a worker started at login has no time limit",
                param_hint="--at-login",
            )
        _set_login(at_login, describer, model)
        if not at_login:
            return
    started = start_worker(settings, describer=describer, model=model, until=end)
    if started.was_running:
        if end is not None:
            had = started.run.options.get("until")
            limit = f"stops at {format_deadline(datetime.fromisoformat(had), now)}" if had else "has no time limit"
            raise ControlError(f"a worker is already running and {limit}: run `everyframe stop`, then start it again")
        say(f"The worker is already running: {_identify(started.run)}.")
        return
    say(f"Started the worker in the background: {_identify(started.run)}.")
    if end is not None:
        say(f"It stops at {format_deadline(end, now)}. {_plan(settings, (end - now).total_seconds())}")
    problem = _startup_problem()
    if problem:
        say(f"It is waiting: {problem}")
    say("Follow the progress: everyframe status --watch")


def pause() -> None:
    """Pause the worker.

    It finishes the current requests, then unloads the model to free GPU memory. Continue with `everyframe resume`.
    """
    from enrich.control.control import pause as pause_worker

    result = pause_worker(load_settings())
    if result.is_done:
        say("Paused. The model is unloaded. Continue with: everyframe resume")
    else:
        say("Pausing after the current requests. Continue with: everyframe resume")


def resume() -> None:
    """Resume a paused worker."""
    from enrich.control.control import resume as resume_worker

    result = resume_worker(load_settings())
    if not result.is_done:
        say("Resume requested, but the worker has not confirmed it yet. Check with: everyframe status")
    elif result.run.reason:
        say(f"Resumed. The worker is waiting: {result.run.reason}")
    else:
        say("Resumed.")


def stop() -> None:
    """Stop the worker.

    Current requests get a few seconds to finish. Finished descriptions are kept; `everyframe start` continues where it
    stopped.
    """
    from enrich.control.control import stop as stop_worker

    stopped = stop_worker(load_settings())
    if stopped is None:
        say("No worker is running.")
        return
    if stopped.was_killed:  # its counts are those of its last heartbeat
        say(
            "Stopped. It did not respond and was killed; only its unfinished requests are lost. "
            "Continue with: everyframe start"
        )
        return
    done = format_count(stopped.run.counts.get("frames_described", 0), "frame")
    verb = "measured" if stopped.run.options.get("describer") == "baseline" else "described"
    say(f"Stopped. {done} {verb} in this run. Continue with: everyframe start")


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh continuously. Press Ctrl-C to stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the worker is doing.

    Shows its state, the progress of the library, the speed, the time left, and any problems.

    Example: everyframe status --watch
    """
    from enrich.cli.status_lines import lines
    from enrich.control.status import read_status
    from enrich.library.library import open_engine

    engine = open_engine(load_settings())
    try:
        if as_json:
            print_json(_as_data(read_status(engine, now=datetime.now(UTC))))
        elif not watch:
            for line in lines(read_status(engine, now=datetime.now(UTC))):
                say(line)
        else:
            with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
                _watch(lambda: lines(read_status(engine, now=datetime.now(UTC))))
    finally:
        engine.dispose()


def _watch(read_lines: Callable[[], list[str]]) -> None:
    """Keep printing the lines: refreshed in place in a terminal, otherwise as a new block when they change."""
    screen = console()
    if screen.is_terminal:
        from rich.live import Live
        from rich.text import Text

        with Live(console=screen, auto_refresh=False, transient=False) as live:
            while True:
                live.update(Text("\n".join(printable(line).replace("\n", " ") for line in read_lines())), refresh=True)
                time.sleep(REFRESH_SECONDS)
    last: list[str] = []
    while True:
        current = read_lines()
        if current != last:
            for line in [*current, ""]:
                say(line)
            sys.stdout.flush()
            last = current
        time.sleep(BLOCK_SECONDS)


def _plan(settings: "Settings", seconds: float) -> str:
    from enrich.cli.estimate import planned
    from enrich.library.library import Library

    text = planned(Library.open(settings), None, seconds=seconds, keeps_hours=True)
    return f"Plan: {text}" if text else "A forecast is available after the first frames: everyframe plan"


def _startup_problem() -> str | None:
    """What a new worker is waiting for; None if a host responds, or if nothing is known within a few seconds."""
    from db.models import HostState, RunState
    from enrich.control.status import status

    end = time.monotonic() + HOST_CHECK_SECONDS
    settings = load_settings()
    while time.monotonic() < end:
        found = status(settings)
        if found.state is RunState.WAITING and found.run is not None:
            return one_line(found.run.reason, 300)
        if any(host.state == HostState.SERVING for host in found.hosts):
            return None
        time.sleep(POLL_SECONDS)
    return None


def _identify(run: "RunRow") -> str:
    """A worker's process, start time and log file."""
    since = f"{run.started_at.astimezone():%Y-%m-%d %H:%M}"
    log = f", log {run.log_path}" if run.log_path else ""
    return f"process {run.process.pid} on {run.process.hostname}, started {since}{log}"


def _set_login(is_wanted: bool, describer: str | None, model: str | None) -> None:
    from enrich.control.autostart import install, uninstall
    from enrich.control.control import supervisor_command

    if is_wanted:
        say(f"The worker will start at login ({install(supervisor_command(describer, model))}).")
    else:
        say("The worker will no longer start at login." if uninstall() else "The worker was not set to start at login.")


def _as_data(found: "Status") -> dict[str, object]:
    """A status as JSON: its fields, and the columns of the run."""
    run = found.run
    return {
        "health": found.health,
        "state": found.state,
        "reason": run.reason if run else None,
        "until": found.until,
        "is_running": found.is_running,
        "stalls": [{"what": stall.what, "since": stall.since} for stall in found.stalls],
        "run": None
        if run is None
        else {
            "id": run.id,
            "hostname": run.process.hostname,
            "pid": run.process.pid,
            "started_at": run.started_at,
            "heartbeat_at": run.heartbeat_at,
            "progress_at": run.progress_at,
            "requested": run.requested,
            "options": run.options,
            "counts": run.counts,
            "activity": run.activity,
            "error": run.error,
            "log_path": run.log_path,
            "supervisor": run.supervisor,
        },
        "is_supervised": found.is_supervised,
        "worker": found.worker,
        "hosts": found.hosts,
        "video": found.video,
        "videos": found.videos,
        "videos_decoded": found.videos_decoded,
        "videos_failed": found.videos_failed,
        "videos_enriched": found.videos_enriched,
        "frames": found.frames,
        "described": found.described,
        "failed": found.failed,
        "frames_expected": found.completion.frames_expected,
        "covered": found.completion.covered,
        "source_frames": found.completion.source_frames,
        "share": found.completion.share,
        "left": found.left,
        "rate": found.rate,
        "seconds_left": found.seconds_left,
        "failures": [{"error": error, "count": count} for error, count in found.failures],
        "waiting": [{"title": title, "error": error} for title, error in found.waiting],
        "damaged": [{"title": title, "readable": readable} for title, readable in found.damaged],
    }
