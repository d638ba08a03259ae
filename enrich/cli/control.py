"""Commands for the worker in the background: start, pause, resume, stop, status."""

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
from enrich.clock import said_end
from enrich.errors import ControlError
from enrich.settings import load_settings
from enrich.wording import counted, first_line, printable

if TYPE_CHECKING:
    from db.runs import RunRow
    from enrich.control.status import Status
    from enrich.settings import Settings

WATCH_SECONDS = 1.0
BLOCK_SECONDS = 15.0  # between two blocks where nobody looks
LOOK_SECONDS = 0.2
FIRST_LOOK_SECONDS = 3.0  # how long a start waits to see whether the hosts answer

AtLogin = Annotated[
    bool | None,
    typer.Option("--at-login/--not-at-login", help="From now on, start the worker whenever you log in, or no more."),
]


def start(
    within: Within = None,
    by: By = None,
    describer: DescriberName = None,
    model: ModelName = None,
    at_login: AtLogin = None,
) -> None:
    """Work in the background.

    The worker goes on when this terminal is closed, is started again after a crash, and waits for more work. With
    --within or --by it takes up no new work after that time, and ends.
    """
    from enrich.control.control import start as start_worker

    settings = settings_for(describer, model)
    now = datetime.now(UTC)
    end = end_of(within, by, now)
    if at_login is not None:
        if end is not None:
            raise typer.BadParameter("a worker that starts at every login has no end", param_hint="--at-login")
        _set_login(at_login, describer, model)
        if not at_login:
            return
    started = start_worker(settings, describer=describer, model=model, until=end)
    if started.was_running:
        if end is not None:
            had = started.run.options.get("until")
            ends = f"ends by {said_end(datetime.fromisoformat(had), now)}" if had else "has no end"
            raise ControlError(f"a worker is running already and {ends}: `everyframe stop` it first, then start anew")
        say(f"A worker is running already: {_who(started.run)}.")
        return
    say(f"The worker runs in the background: {_who(started.run)}.")
    if end is not None:
        say(f"It ends by {said_end(end, now)}. {_plan(settings, (end - now).total_seconds())}")
    trouble = _first_trouble()
    if trouble:
        say(f"It waits: {trouble}")
    say("See how it gets on with: everyframe status --watch")


def pause() -> None:
    """Let the worker pause.

    Calls in flight are let end, and the model's memory is freed, until `everyframe resume`.
    """
    from enrich.control.control import pause as pause_worker

    asked = pause_worker(load_settings())
    if asked.is_done:
        say("The worker is paused, and the model's memory is free. Go on with: everyframe resume")
    else:
        say("The worker will pause as soon as the calls in flight have ended. Go on with: everyframe resume")


def resume() -> None:
    """Let a paused worker go on."""
    from enrich.control.control import resume as resume_worker

    asked = resume_worker(load_settings())
    if not asked.is_done:
        say("The worker was asked to go on, and has not said yet that it does.")
    elif asked.run.reason:
        say(f"The worker goes on; it waits: {asked.run.reason}")
    else:
        say("The worker goes on.")


def stop() -> None:
    """Stop the worker in the background.

    Calls in flight get some seconds to end. What is described stays; `everyframe start` goes on.
    """
    from enrich.control.control import stop as stop_worker

    stopped = stop_worker(load_settings())
    if stopped is None:
        say("No worker is running.")
        return
    how = "had to be killed; nothing is lost but the calls it made" if stopped.was_killed else "has stopped"
    described = stopped.run.counts.get("frames_described", 0)
    say(f"The worker {how}. It described {counted(described, 'frame')}. Go on with: everyframe start")


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what the worker is doing.

    Its state and the reason for it, how far the library is, how fast, and what is in the way.
    """
    from enrich.cli.status_lines import lines
    from enrich.control.status import read_status
    from enrich.library.library import open_engine

    engine = open_engine(load_settings())
    try:
        if as_json:
            print_json(_as_data(read_status(engine, now=datetime.now(UTC))))
        elif not watch:
            say("\n".join(lines(read_status(engine, now=datetime.now(UTC)))))
        else:
            with suppress(KeyboardInterrupt):  # its usual end
                _watch(lambda: lines(read_status(engine, now=datetime.now(UTC))))
    finally:
        engine.dispose()


def _watch(look: Callable[[], list[str]]) -> None:
    """Show the same lines anew: in place in a terminal, else a block now and then, when something has changed."""
    screen = console()
    if screen.is_terminal:
        from rich.live import Live
        from rich.text import Text

        with Live(console=screen, auto_refresh=False, transient=False) as live:
            while True:
                live.update(Text(printable("\n".join(look()))), refresh=True)
                time.sleep(WATCH_SECONDS)
    last: list[str] = []
    while True:
        now = look()
        if now != last:
            say("\n".join([*now, ""]))
            sys.stdout.flush()
            last = now
        time.sleep(BLOCK_SECONDS)


def _plan(settings: "Settings", seconds: float) -> str:
    from enrich.cli.estimate import planned
    from enrich.library.library import Library

    text = planned(Library.open(settings), None, seconds=seconds)
    return f"Plan: {text}" if text else "What it will reach is known after the first frames: everyframe plan"


def _first_trouble() -> str | None:
    """What a new worker waits for, if it says so within some seconds."""
    from db.models import HostState, RunState
    from enrich.control.status import status

    end = time.monotonic() + FIRST_LOOK_SECONDS
    settings = load_settings()
    while time.monotonic() < end:
        found = status(settings)
        if found.state is RunState.WAITING and found.run is not None:
            return first_line(found.run.reason, 300)
        if any(host.state == HostState.SERVING for host in found.hosts):
            return None
        time.sleep(LOOK_SECONDS)
    return None


def _who(run: "RunRow") -> str:
    """A worker, for people."""
    since = f"{run.started_at.astimezone():%Y-%m-%d %H:%M}"
    log = f", log {run.log_path}" if run.log_path else ""
    return f"process {run.process.pid} on {run.process.hostname}, since {since}{log}"


def _set_login(is_wanted: bool, describer: str | None, model: str | None) -> None:
    from enrich.control.autostart import install, uninstall
    from enrich.control.control import supervisor_command

    if is_wanted:
        say(f"The worker starts whenever you log in from now on ({install(supervisor_command(describer, model))}).")
    else:
        say("It is started at login no more." if uninstall() else "It was not started at login.")


def _as_data(found: "Status") -> dict[str, object]:
    """A status as JSON: its fields, the run's columns among them."""
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
        "frames": found.frames,
        "described": found.described,
        "failed": found.failed,
        "covered": found.covered,
        "source_frames": found.source_frames,
        "left": found.left,
        "rate": found.rate,
        "seconds_left": found.seconds_left,
        "failures": [{"error": error, "count": count} for error, count in found.failures],
        "waiting": [{"title": title, "error": error} for title, error in found.waiting],
    }
