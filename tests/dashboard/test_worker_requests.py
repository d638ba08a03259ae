"""Start, Pause, Resume and Stop: which are enabled, and what the page shows until the state follows."""

import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day

import pytest

from db import runs
from db.models import RunState
from enrich.control import control
from enrich.control.status import Stall, WorkerHealth, status
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts.inquiry import inquiries
from pages.parts.overview.controls import WorkerControl
from pages.parts.overview.requests import (
    KIND,
    RequestJob,
    WorkerRequest,
    failed_request,
    request_in_flight,
    send_request,
)
from pages.parts.overview.state import available_requests, page_state, state_text, worker_controls
from pages.parts.overview.status import OverviewStatus
from tests.cli.terminal import ask
from tests.dashboard.conftest import answered, badge, buttons, changed, enabled, press, rerun_until, said
from tests.waiting import wait_until

CONTROLS = {"Start", "Pause", "Resume", "Stop"}


@pytest.fixture
def ended(home):
    """Stops the worker that the test has started."""
    yield
    wait_until(lambda: not any(job.is_running for job in jobs.jobs(load_settings(), KIND)), "requests have ended")
    control.stop(load_settings(), grace_seconds=5)


def _with(found, *, state=None, **changes):
    run = found.run if state is None else replace(found.run, state=state)
    return replace(found, run=run, **changes)


def test_crashed_worker_can_be_started(launch, working):
    changed(working, "UPDATE runs SET pid = 1, process_created_at = 1 WHERE state = 'running'")
    app = launch()
    assert "The worker process has ended. Press Start to continue." in said(app)
    assert "Start" in buttons(app)


@pytest.mark.parametrize(
    ("state", "requested", "expected", "sentence"),
    [
        ("paused", None, {"Resume", "Stop"}, "The model is unloaded"),
        ("running", "pause", {"Resume", "Stop"}, "Finishing current frames, then pausing."),
        ("paused", "resume", {"Pause", "Stop"}, "The worker is resuming."),
        ("waiting", None, {"Pause", "Stop"}, "Ollama does not answer"),
        ("starting", None, {"Pause", "Stop"}, "The worker is starting."),
        ("stopping", None, set(), "Finishing current frames, then stopping."),
        ("running", "stop", set(), "Finishing current frames, then stopping."),
    ],
)
def test_controls_follow_state_changed_elsewhere(launch, working, state, requested, expected, sentence):
    app = launch()
    assert {"Pause", "Stop"} <= buttons(app)
    values = (state, requested, "Ollama does not answer" if state == "waiting" else None)
    changed(working, "UPDATE runs SET state = ?, requested = ?, reason = ? WHERE state = 'running'", *values)
    app = launch()
    assert enabled(app) - {"Retry"} == expected
    assert "Stop" in buttons(app)
    assert sentence in said(app)


def test_failed_pause_shows_its_error_in_every_tab_until_dismissed(launch, working):
    app = launch()
    changed(working, "UPDATE runs SET state = 'stopped' WHERE state = 'running'")
    press(app, "Pause")
    assert not app.exception
    app = rerun_until(launch, lambda app: "Pause failed" in said(app))
    assert "o worker is running" in said(app)
    assert "Start" in enabled(app)
    assert "Pause failed" not in said(press(app, "Dismiss"))


@pytest.mark.slow
def test_worker_is_started_paused_resumed_and_stopped(launch, home, filled, answering, ended):
    shutil.copytree(filled, home)
    answering.behave(delay=0.5)
    app = press(launch(), "Start")
    assert not app.exception
    assert badge(app) == "Starting…"
    assert "Start" in buttons(app)
    assert not enabled(app) & CONTROLS
    app = rerun_until(launch, lambda app: {"Pause", "Stop"} <= enabled(app))
    app = press(app, "Pause")
    assert badge(app) == "Pausing…"
    app = rerun_until(launch, lambda app: badge(app) == "Paused")
    assert {"Resume", "Stop"} <= enabled(app)
    app = press(app, "Resume")
    assert badge(app) == "Resuming…"
    app = rerun_until(launch, lambda app: {"Pause", "Stop"} <= enabled(app))
    wait_until(
        lambda: ask(home, "SELECT count(*) FROM frames WHERE local_description IS NOT NULL")[0][0] > 4, "it works"
    )
    app = press(app, "Stop")
    assert badge(app) == "Stopping…"
    assert {"Pause", "Stop"} <= buttons(app)
    assert not enabled(app) & CONTROLS
    rerun_until(launch, lambda app: "Start" in enabled(app))
    assert ask(home, "SELECT state FROM runs ORDER BY id DESC LIMIT 1") == [("stopped",)]


def test_failed_start_shows_its_reason(launch, finished, monkeypatch):
    settings = load_settings()
    with monkeypatch.context() as patch:
        patch.setenv("EVERYFRAME_CONCURRENCY", "many")
        send_request(settings, WorkerRequest.START)
    app = rerun_until(launch, lambda app: "Start failed" in said(app))
    assert not app.exception
    assert "EVERYFRAME\\_CONCURRENCY" in said(app)
    assert "Start" in enabled(app)


def test_start_until_another_time_names_the_running_worker(launch, working):
    send_request(load_settings(), WorkerRequest.START, stop_at=time_of_day(7, 0))
    app = rerun_until(launch, lambda app: "Start failed" in said(app))
    assert "already" in said(app)
    assert {"Pause", "Stop"} <= enabled(app)


def test_request_returns_at_once_and_a_double_click_sends_it_once(launch, working):
    """The worker of this library is a process that sleeps: it never obeys."""
    settings = load_settings()
    began = time.perf_counter()
    send_request(settings, WorkerRequest.STOP)
    send_request(settings, WorkerRequest.STOP)
    assert time.perf_counter() - began < 1
    [job] = jobs.jobs(settings, KIND)
    assert job.is_running
    app = launch()
    assert badge(app) == "Stopping…"
    assert {"Pause", "Stop"} <= buttons(app)
    assert not enabled(app) & CONTROLS
    jobs.stop_job(settings, job.id)


def test_request_from_two_tabs_at_once_is_sent_once(working, monkeypatch):
    settings, python_command = load_settings(), jobs.python_command
    both = threading.Barrier(2)

    def meet(*words):
        with suppress(threading.BrokenBarrierError):  # only one of them starts a process
            both.wait(1)
        return python_command(*words)

    monkeypatch.setattr(jobs, "python_command", meet)
    tabs = [threading.Thread(target=send_request, args=[settings, WorkerRequest.STOP]) for _ in range(2)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    [job] = jobs.jobs(settings, KIND)
    jobs.stop_job(settings, job.id)


def test_failed_stop_is_shown_until_the_worker_has_stopped(working):
    found = status(load_settings())
    began = found.run.started_at + timedelta(seconds=1)
    job = RequestJob("1", WorkerRequest.STOP, began, is_running=False, error="it does not react")
    stopped = _with(found, health=WorkerHealth.NONE, state=RunState.STOPPED)
    assert failed_request(found, job) is job
    assert failed_request(replace(stopped, is_supervised=True), job) is not None
    assert failed_request(stopped, job) is None
    assert failed_request(stopped, replace(job, request=WorkerRequest.PAUSE)) is not None


def test_stop_is_in_flight_until_the_run_of_a_terminated_worker_is_closed(working):
    """Otherwise the page would call it crashed for a moment."""
    found = status(load_settings())
    job = RequestJob("1", WorkerRequest.STOP, found.run.started_at + timedelta(seconds=1), is_running=True, error="")
    gone = _with(found, health=WorkerHealth.CRASHED)
    assert request_in_flight(gone, job) is WorkerRequest.STOP
    assert request_in_flight(gone, replace(job, is_running=False)) is None
    closed = replace(gone, health=WorkerHealth.NONE, run=replace(found.run, state=RunState.STOPPED))
    assert request_in_flight(closed, job) is None


def test_page_is_drawn_again_once_a_pausing_worker_is_paused(working):
    """Its cards refresh less often than its state: they would show fewer frames than were described."""
    found = status(load_settings())
    finishing, paused = (
        replace(found, run=replace(found.run, state=RunState.PAUSED, requested=requested))
        for requested in (runs.PAUSE, None)
    )
    states = [page_state(OverviewStatus(each, None, None)) for each in (finishing, paused)]
    assert [each.name for each in states] == ["Pausing…", "Paused"]
    assert states[0] != states[1]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_hanging_worker_is_ended_after_stop(launch, working):
    press(launch(), "Stop")
    wait_until(lambda: not status(load_settings()).is_running, "its process has ended")
    app = rerun_until(launch, lambda app: "Start" in enabled(app))
    assert badge(app) == "Stopped"
    assert "The worker did not stop in time and was terminated." in said(app)


@pytest.mark.parametrize("request_", list(WorkerRequest))
def test_request_is_in_flight_until_the_state_shows_it(working, request_):
    """Derived from the job and the state alone, so every tab and a restarted dashboard agree."""
    found = status(load_settings())
    began = found.run.started_at + timedelta(seconds=1)
    job = RequestJob("1", request_, began, is_running=True, error="")
    stopped = _with(found, health=WorkerHealth.NONE, state=RunState.STOPPED)
    paused = _with(found, state=RunState.PAUSED)
    before, after = {
        WorkerRequest.START: (stopped, found),
        WorkerRequest.STOP: (found, stopped),
        WorkerRequest.PAUSE: (found, paused),
        WorkerRequest.RESUME: (paused, found),
    }[request_]
    assert request_in_flight(before, job) is request_
    assert request_in_flight(after, job) is None
    assert request_in_flight(before, None) is None
    assert not any(one.is_enabled for one in worker_controls(before, request_))


def test_stop_at_shows_a_forecast_and_starts_until_then(launch, home, filled, answering, ended):
    shutil.copytree(filled, home)
    app = launch()
    app.time_input[0].set_value(time_of_day(7, 0)).run()
    answered("plan", "--by", "07:00")
    app.run()
    assert "by " in said(app)
    assert "calculated at" in said(app)
    app = press(app, next(label for label in buttons(app) if label.startswith("Start until ")))
    assert not app.exception
    wait_until(lambda: "Stops at" in said(launch()), "it has started, and shows when it stops")
    [run] = ask(home, "SELECT json_extract(options, '$.until') FROM runs ORDER BY id DESC LIMIT 1")
    assert datetime.fromisoformat(run[0]).astimezone().strftime("%H:%M") == "07:00"


def test_forecast_is_hidden_while_it_is_calculated_again(launch, finished, monkeypatch):
    question, settings = ("plan", "--by", "07:00"), load_settings()
    may_end, asked = threading.Event(), []

    def run_command(_settings, *words, seconds):
        asked.append(words)
        may_end.wait(60)
        return CommandResult(1, None, "no forecast")

    app = launch()
    app.time_input[0].set_value(time_of_day(7, 0)).run()
    answered(*question)
    assert "calculated at" in said(app.run())
    monkeypatch.setattr("pages.parts.inquiry.run_command", run_command)
    inquiries().forget()  # as after a change of the settings
    assert "Calculating how much" in said(app.run())
    assert "calculated at" not in said(app)
    may_end.set()
    answered(*question)
    assert "No forecast" in said(app.run())
    monkeypatch.setattr("pages.parts.overview.controls.BAD_SECONDS", 0.0)
    app.run()
    wait_until(lambda: asked.count(question) >= 2, "a failed forecast is calculated again")
    wait_until(lambda: not inquiries().is_asking(settings, *question), "it has its result")


def test_every_state_has_text_and_controls(working):
    found = status(load_settings())
    for health in WorkerHealth:
        for state in RunState:
            changed = _with(found, health=health, state=state)
            if health is WorkerHealth.STALLED:
                changed = _with(changed, stalls=[Stall("no frame finished", datetime.now(UTC))])
                assert re.fullmatch(
                    r"No frame finished since [\d:]{8}\. Press Stop, then Start\.", state_text(changed).sentence
                )
            assert state_text(changed).sentence
            assert len(set(available_requests(changed))) == len(available_requests(changed))
            assert worker_controls(changed, None)
    assert available_requests(_with(found, health=WorkerHealth.SILENT)) == (WorkerRequest.STOP,)


@pytest.mark.parametrize("health", [WorkerHealth.SILENT, WorkerHealth.STALLED])
@pytest.mark.parametrize(("state", "requested"), [(RunState.STOPPING, None), (RunState.RUNNING, "stop")])
def test_worker_that_hangs_while_stopping_can_be_stopped(working, health, state, requested):
    found = status(load_settings())
    stalls = [Stall("finishing any frame", datetime.now(UTC))]
    run = replace(found.run, state=state, requested=requested)
    hung = replace(found, health=health, run=run, stalls=stalls)
    assert "Press Stop, then Start." in state_text(hung).sentence
    assert worker_controls(hung, None) == (WorkerControl(WorkerRequest.STOP, is_enabled=True),)
    assert worker_controls(hung, WorkerRequest.STOP) == (WorkerControl(WorkerRequest.STOP, is_enabled=False),)
